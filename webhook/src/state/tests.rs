use serde_json::json;

use super::*;
use crate::fixtures::{account, connection, member, put, vault};

fn directory(lag: u64, making: u64) -> Directory {
    Directory::new(Patience { lag: Duration::from_millis(lag), making: Duration::from_millis(making) })
}

fn has_vault(tables: &Tables) -> Look<bool> {
    match tables.vault(&Key::new("a", "team")) {
        Some(_) => Look::Settled(true),
        None => Look::Until(false),
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_the_object_that_makes_it_final() {
    let directory = directory(1, 5_000);
    let writer = directory.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(2)).await;
        put(&writer, vault("a", "other", json!({}), json!({})));
        tokio::time::sleep(Duration::from_secs(2)).await;
        put(&writer, vault("a", "team", json!({}), json!({})));
    });
    let start = Instant::now();
    assert!(directory.wait(has_vault).await);
    assert_eq!(start.elapsed(), Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn patience_ends_after_its_time_however_much_else_changes() {
    let directory = directory(1, 5_000);
    let writer = directory.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(700)).await;
            put(&writer, vault("a", "other", json!({}), json!({})));
        }
    });
    let start = Instant::now();
    assert!(!directory.wait(has_vault).await);
    assert_eq!(start.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn what_may_be_on_its_way_is_waited_for_only_as_long_as_a_watch_lags() {
    let start = Instant::now();
    let answer = directory(500, 5_000).wait(|_| Look::Unless("no")).await;
    assert_eq!((answer, start.elapsed()), ("no", Duration::from_millis(500)));
}

#[test]
fn members_and_connections_are_found_by_what_they_refer_to() {
    let directory = directory(0, 0);
    put(&directory, member("a", "web", account("team", "web", "member"), "Active"));
    let foreign = json!({"vault": "v", "role": "member", "subject": {"serviceAccount": {"name": "web", "namespace": "a"}}});
    put(&directory, member("b", "web", foreign, "Active"));
    put(&directory, connection("a", "one", json!({"vault": {"name": "team"}})));
    put(&directory, connection("b", "two", json!({"vault": {"name": "team", "namespace": "a"}})));
    put(&directory, connection("b", "three", json!({"vault": {"name": "team"}})));
    let found = |tables: &Tables| {
        let account: Vec<String> = tables
            .members_of_account(&Key::new("a", "web"))
            .map(|found| Key::of(&**found).to_string())
            .collect();
        let vault: Vec<String> = tables
            .connections_of(&Key::new("a", "team"))
            .map(|found| Key::of(&**found).to_string())
            .collect();
        (account, vault)
    };
    let (account, vault) = directory.look(found);
    assert_eq!(account, ["a/web", "b/web"]);
    assert_eq!(vault, ["a/one", "b/two"]);

    directory.change(Change::NoMember(Key::new("b", "web")));
    put(&directory, connection("a", "one", json!({"vault": {"name": "other"}})));
    let (account, vault) = directory.look(found);
    assert_eq!(account, ["a/web"]);
    assert_eq!(vault, ["b/two"]);

    directory.change(Change::Members(Vec::new()));
    directory.change(Change::Connections(Vec::new()));
    let (account, vault) = directory.look(found);
    assert!(account.is_empty() && vault.is_empty());
}

#[test]
fn claims_are_found_until_their_connection_gives_them_up() {
    let directory = directory(0, 0);
    let team = Key::new("a", "team");
    let spec = |alias: &str, provider: Option<&str>| json!({"vault": {"name": "team"}, "owner": "alice", "alias": alias, "provider": provider});
    let alias = |alias: &str| Claim::Alias { vault: team.clone(), alias: alias.into() };
    let github = Claim::Provider {
        vault: team.clone(),
        owner: "alice".into(),
        provider: "github".into(),
        name: "default".into(),
    };
    let claiming = |claim: &Claim| {
        let mut names: Vec<String> = directory
            .look(|tables| tables.claiming(claim).map(|found| Key::of(&**found).to_string()).collect());
        names.sort();
        names
    };
    put(&directory, connection("a", "one", spec("token", Some("github"))));
    put(&directory, connection("a", "two", spec("token", None)));
    put(&directory, connection("a", "three", json!({"vault": {"name": "other"}, "alias": "token"})));
    assert_eq!(claiming(&alias("token")), ["a/one", "a/two"]);
    assert_eq!(claiming(&github), ["a/one"]);

    put(&directory, connection("a", "one", spec("pat", None)));
    assert_eq!(claiming(&alias("token")), ["a/two"]);
    assert_eq!(claiming(&alias("pat")), ["a/one"]);
    assert!(claiming(&github).is_empty());

    directory.change(Change::NoConnection(Key::new("a", "two")));
    assert!(claiming(&alias("token")).is_empty());
    directory.change(Change::Connections(Vec::new()));
    assert!(claiming(&alias("pat")).is_empty());
}
