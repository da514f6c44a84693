//! Invites, and what their subjects make of them.

use coffer_crds::VaultMemberStatus;

use super::*;

/// C4: only the invitee accepts, once, forward only.
#[test]
fn only_the_subject_accepts_declines_and_changes_its_key() {
    let vault = team();
    let subjects = [
        (json!({"user": {"name": "bob"}}), user("bob")),
        (json!({"group": {"name": "devs"}}), user_of("eve", &["devs"])),
        (json!({"serviceAccount": {"name": "web"}}), account("team", "web", "u1")),
    ];
    for (subject, caller) in subjects {
        let (old, invited) = invite(subject);
        let members = [view("alice", "owner"), invited];
        let view = in_vault(&vault, &members);
        let accepted = change(&old, json!({"acceptance": {"publicKey": "k", "proof": "p"}}));
        let declined = change(&old, json!({"declined": true}));
        for new in [&accepted, &declined] {
            assert_eq!(told(member(&caller, &view, Some(&old), Some(new))), Ok(()), "{:?}", old.spec.subject);
            for other in [user("alice"), user("mallory"), user_of("bob2", &["dev"]), user("")] {
                assert!(member(&other, &view, Some(&old), Some(new)).is_err(), "{other:?}");
            }
        }
        // Once.
        let again = change(&accepted, json!({"acceptance": {"publicKey": "other", "proof": "p"}}));
        assert!(member(&caller, &view, Some(&accepted), Some(&again)).is_err());
        // A challenge is answered for the key that was challenged, by the subject, until the operator asks no more.
        let asked = change(&old, json!({"acceptance": {"publicKey": "k"}}));
        let answer = |acceptance: Value| change(&asked, json!({"acceptance": acceptance}));
        let answered = answer(json!({"publicKey": "k", "proof": "a"}));
        assert_eq!(told(member(&caller, &view, Some(&asked), Some(&answered))), Ok(()));
        assert!(member(&user("mallory"), &view, Some(&asked), Some(&answered)).is_err());
        for other in [json!({"publicKey": "k2", "proof": "a"}), json!({"publicKey": "k2"}), json!({})] {
            assert!(member(&caller, &view, Some(&asked), Some(&answer(other.clone()))).is_err(), "{other}");
        }
        let twice = change(&answered, json!({"acceptance": {"publicKey": "k", "proof": "b"}}));
        assert!(member(&caller, &view, Some(&answered), Some(&twice)).is_err());
        let mut wrong = answered.clone();
        wrong.status = Some(VaultMemberStatus { challenge: Some("c".to_owned()), ..Default::default() });
        assert_eq!(told(member(&caller, &view, Some(&wrong), Some(&twice))), Ok(()));
        assert!(member(&user("mallory"), &view, Some(&wrong), Some(&twice)).is_err());
        let other = change(&wrong, json!({"acceptance": {"publicKey": "other", "proof": "b"}}));
        assert!(member(&caller, &view, Some(&wrong), Some(&other)).is_err());
        assert!(
            member(&caller, &view, Some(&accepted), Some(&change(&accepted, json!({"declined": true}))))
                .is_err()
        );
        assert!(
            member(&caller, &view, Some(&declined), Some(&change(&declined, json!({"declined": false}))))
                .is_err()
        );
        // The subject grants itself nothing on the way.
        let greedy = change(&accepted, json!({"role": "admin"}));
        assert!(member(&caller, &view, Some(&old), Some(&greedy)).is_err());
        let key = change(&accepted, json!({"keyChange": {"publicKey": "k2", "proof": "p"}}));
        assert!(member(&caller, &view, Some(&accepted), Some(&key)).is_err(), "not Active yet");
    }
}

#[test]
fn a_key_is_changed_by_the_active_member_itself() {
    let vault = team();
    let members = [view("alice", "owner"), view("bob", "member")];
    let old = object("bob", json!({"acceptance": {"publicKey": "k", "proof": "p"}}));
    let new = change(&old, json!({"keyChange": {"publicKey": "k2", "proof": "p", "oldProof": "o"}}));
    let by = |name: &str| member(&user(name), &in_vault(&vault, &members), Some(&old), Some(&new)).is_ok();
    assert!(by("bob") && !by("alice"));
}

#[test]
fn an_expired_invite_is_accepted_no_more() {
    let vault = team();
    let (old, invited) = invite(json!({"user": {"name": "bob"}}));
    for (state, word) in [
        (MemberState::Expired, "expired"),
        (MemberState::Suspended, "suspended"),
        (MemberState::Declined, "declined"),
    ] {
        let members = [view("alice", "owner"), MemberView { state, ..invited.clone() }];
        let new = change(&old, json!({"acceptance": {}}));
        let refused = told(member(&user("bob"), &in_vault(&vault, &members), Some(&old), Some(&new)));
        assert!(refused.as_ref().is_err_and(|(_, m)| m.contains(word)), "{refused:?}");
    }
}

/// DESIGN §6: with a pinned key anyone may deliver the proof; without, an external subject has nobody to say it.
#[test]
fn an_external_invite_is_accepted_by_whoever_brings_the_proof_of_the_pinned_key() {
    let vault = team();
    for (pin, expected) in [(json!("SHA256:x"), true), (json!(null), false)] {
        let old = object("laptop", json!({"subject": {"external": {}}, "keyFingerprint": pin}));
        let members = [view("alice", "owner")];
        let new = change(&old, json!({"acceptance": {"publicKey": "k", "proof": "p"}}));
        let ok = member(&user("anyone"), &in_vault(&vault, &members), Some(&old), Some(&new)).is_ok();
        assert_eq!(ok, expected);
    }
}

#[test]
fn an_invite_comes_without_an_answer_and_for_a_subject_that_is_no_member() {
    let vault = team();
    let members = [view("alice", "owner"), view("bob", "member")];
    let refused = |new: &VaultMember| {
        told(member(&user("alice"), &in_vault(&vault, &members), None, Some(new))).map_err(|(field, _)| field)
    };
    let dora = |more: Value| object("dora", more);
    assert_eq!(refused(&dora(json!({}))), Ok(()));
    assert_eq!(refused(&dora(json!({"acceptance": {}}))), Err("spec.acceptance".to_owned()));
    assert_eq!(refused(&dora(json!({"declined": true}))), Err("spec.declined".to_owned()));
    assert_eq!(
        refused(&dora(json!({"keyChange": {"publicKey": "k", "proof": "p"}}))),
        Err("spec.keyChange".to_owned())
    );
    assert_eq!(refused(&dora(json!({"role": "king"}))), Err("spec.role".to_owned()));
    assert_eq!(
        refused(&object("bob2", json!({"subject": {"user": {"name": "bob"}}}))),
        Err("spec.subject".to_owned())
    );
    // External subjects have no name to collide by.
    let external = [
        view("alice", "owner"),
        view_of("ext", "member", coffer_crds::Subject::External(coffer_crds::ExternalSubject {})),
    ];
    let another = object("ext2", json!({"subject": {"external": {}}}));
    assert!(member(&user("alice"), &in_vault(&vault, &external), None, Some(&another)).is_ok());
}

#[test]
fn a_self_only_vault_takes_no_one_without_a_key() {
    let vault = vault(json!({"custody": "SelfOnly"}));
    let (old, invited) = invite(json!({"user": {"name": "bob"}}));
    let members = [view("alice", "owner"), invited];
    let view = in_vault(&vault, &members);
    for subject in [json!({"serviceAccount": {"name": "web"}}), json!({"group": {"name": "devs"}})] {
        let new = object("x", json!({"subject": subject}));
        assert!(
            told(member(&user("alice"), &view, None, Some(&new)))
                .is_err_and(|(field, _)| field == "spec.subject")
        );
    }
    assert!(member(&user("alice"), &view, None, Some(&object("dora", json!({})))).is_ok());
    let accept = |acceptance: Value| {
        member(&user("bob"), &view, Some(&old), Some(&change(&old, json!({"acceptance": acceptance}))))
            .is_ok()
    };
    assert!(accept(json!({"publicKey": "k", "proof": "p"})) && !accept(json!({})));
}
