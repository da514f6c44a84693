//! Break glass at the people's door: what the broker can open, for people of a named group, on record.

use crate::{
    hall::{Hall, all_of, asking},
    world::{World, user},
};
use coffer_broker::audit::{Decision, Entry};
use coffer_broker_api::people::{Answer, Delivered};
use coffer_crds::Sharing;
use coffer_keys::member_key::{MemberKeyKind, MemberSecretKey};

/// A vault of alice, who has no key: everything here is open to the broker.
fn hall() -> Hall {
    let mut world = World::new();
    world.member("bob", user("bob"), "member");
    world.connection("github", &["*"], "hunter2");
    world.connection("deploy", &[], "hunter3");
    Hall::new(world, 1)
}

/// The answer to `by` as one of these groups.
async fn ask(hall: &Hall, by: &str, groups: &[&str], connection: &str) -> Answer {
    let pending = asking("main", vec![all_of(connection)]);
    hall.create(&pending, by, |release| {
        release.spec.requester.as_mut().unwrap().groups = groups.iter().map(|g| (*g).to_owned()).collect();
    });
    pending.open(&hall.finished(&pending).await).ok().unwrap()
}

fn token(answer: Answer) -> String {
    match answer.granted().ok().unwrap().into_iter().next().unwrap() {
        Delivered::Items(connection) => {
            String::from_utf8(connection.items["token"].expose().to_vec()).unwrap()
        }
        Delivered::Wrapped(_) => panic!("nobody here has a key"),
    }
}

async fn last(hall: &Hall) -> Entry {
    hall.world.records().await.pop().unwrap().entry
}

/// DESIGN §6: each use is audited, by the group that may, and an event is on the Connection.
#[tokio::test]
async fn whoever_may_break_glass_reads_what_no_membership_allows_and_it_is_on_record() {
    let mut hall = hall();
    hall.world.vault.spec.sharing = Sharing::Owner;
    hall.world.apply_vault();
    assert_eq!(token(ask(&hall, "eve", &["devs", "oncall"], "deploy").await), "hunter3");
    let entry = last(&hall).await;
    assert_eq!((entry.decision, entry.break_glass.as_deref()), (Decision::Allowed, Some("oncall")));
    assert_eq!((entry.actor.name.as_deref(), entry.member.as_deref()), (Some("eve"), None));
    assert_eq!((entry.connection.as_deref(), entry.owner.as_deref()), (Some("team-a/deploy"), Some("alice")));
    assert_eq!(entry.purpose.as_deref(), Some("on call"));
    let told = hall.world.witnessed.lock().unwrap().clone();
    assert_eq!(told.len(), 1);
    assert!(told[0].0 == "deploy" && told[0].1.contains("'eve' of group 'oncall'"), "{told:?}");
    // A member that lacks the right has it by break glass, and one that has it needs none.
    assert_eq!(token(ask(&hall, "bob", &["oncall"], "deploy").await), "hunter3");
    assert_eq!(last(&hall).await.break_glass.as_deref(), Some("oncall"));
    assert_eq!(token(ask(&hall, "bob", &["oncall"], "github").await), "hunter2");
    let entry = last(&hall).await;
    assert_eq!((entry.break_glass, entry.member.as_deref()), (None, Some("bob")));
    assert_eq!(hall.world.witnessed.lock().unwrap().len(), 2);
}

/// T28: everybody else gets the answer of an absent one, cluster administrators too.
#[tokio::test]
async fn nobody_else_breaks_glass_and_what_is_not_there_is_not_there() {
    let hall = hall();
    for (by, groups) in
        [("root", ["system:masters"]), ("oncall", ["devs"]), ("system:serviceaccount:team-a:bot", ["oncall"])]
    {
        let denied = ask(&hall, by, &groups, "github").await.granted().err().unwrap();
        assert_eq!((denied.code, denied.message.as_str()), (404, "Credential 'github' not found"), "{by}");
        assert_eq!(last(&hall).await.break_glass, None, "{by}");
    }
    let denied = ask(&hall, "eve", &["oncall"], "nothing").await.granted().err().unwrap();
    assert_eq!((denied.code, denied.message.as_str()), (404, "Credential 'nothing' not found"));
    assert_eq!(last(&hall).await.decision, Decision::Denied);
    assert!(hall.world.witnessed.lock().unwrap().is_empty());
}

/// Self custody holds against break glass too: the broker has nothing that opens.
#[tokio::test]
async fn what_only_its_members_own_keys_open_stays_closed_and_says_so() {
    let mut world = World::bare();
    let key = MemberSecretKey::generate(MemberKeyKind::Ed25519, &mut crate::world::rng());
    world.own_member("alice", user("alice"), "owner", key.public());
    world.connection("github", &["*"], "hunter2");
    let hall = Hall::new(world, 1);
    let denied = ask(&hall, "eve", &["oncall"], "github").await.granted().err().unwrap();
    assert_eq!(denied.code, 403);
    assert!(denied.message.contains("own keys only"), "{}", denied.message);
    let entry = last(&hall).await;
    assert_eq!((entry.decision, entry.reason.as_deref()), (Decision::Denied, Some("OnlyOwnKeys")));
    assert_eq!(entry.break_glass.as_deref(), Some("oncall"));
    assert!(hall.world.witnessed.lock().unwrap().is_empty());
}
