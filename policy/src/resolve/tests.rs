use super::*;
use crate::fixtures::{connection, group_subject, user, user_of, vault, view, view_of};
use crate::identity::MemberState;
use proptest::prelude::*;
use serde_json::json;

fn candidate(namespace: &str, name: &str, alias: &str, relation: Relation) -> Candidate {
    Candidate {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        alias: alias.to_owned(),
        owner: "alice".to_owned(),
        relation,
    }
}

fn refs(text: &str, view: &[Candidate]) -> Result<Vec<String>, String> {
    let resolved = connection_refs(text, view).map_err(|e| e.to_string())?;
    Ok(resolved.iter().map(|r| r.key.to_string()).collect())
}

#[test]
fn words_mean_aliases_then_names_and_qualified_words_one_object() {
    use Relation::InScope;
    let view = [
        candidate("team", "gh-1", "github", InScope),
        candidate("team", "slack", "slack", InScope),
        candidate("other", "slack", "chat", InScope),
        candidate("team", "github", "git", InScope),
    ];
    assert_eq!(
        refs("github, other/slack ,slack", &view),
        Ok(vec!["team/gh-1".into(), "other/slack".into(), "team/slack".into()])
    );
    assert_eq!(refs("git", &view), Ok(vec!["team/github".into()]));
    assert_eq!(refs("gh-1,github", &view), Ok(vec!["team/gh-1".into()]), "each once");
    assert_eq!(refs("", &view), Ok(vec![]));
    assert_eq!(refs("team/chat", &view), Err("Credential 'team/chat' not found".to_owned()));
}

/// C12: one's own first, then what is shared; T10: never a guess.
#[test]
fn ones_own_goes_first_and_ambiguity_is_refused_with_the_candidates() {
    let own = candidate("team", "a", "github", Relation::Own);
    let shared = candidate("team", "b", "github", Relation::InScope);
    let other = candidate("else", "c", "github", Relation::InScope);
    let closed = candidate("team", "d", "github", Relation::OutOfScope);
    assert_eq!(refs("github", &[shared.clone(), own.clone(), other.clone()]), Ok(vec!["team/a".into()]));
    assert_eq!(
        refs("github", &[shared.clone(), other, closed.clone()]),
        Err("Credential 'github' is ambiguous. Name one of: else/c (owner alice), team/b (owner alice)"
            .to_owned())
    );
    assert_eq!(refs("github", &[closed.clone(), shared]), Ok(vec!["team/b".into()]));
    // Found, so that the decision can say who is allowed.
    assert_eq!(refs("github", &[closed]), Ok(vec!["team/d".into()]));
}

#[test]
fn what_is_no_name_is_refused_with_the_accepted_form() {
    for text in ["a b", "a/b/c", "/a", "a/", ",", ",a", "../x", "a\u{0}", "{{a}}"] {
        let refused = refs(text, &[]);
        assert!(refused.as_ref().is_err_and(|m| m.contains("github, team-a/slack")), "{text}: {refused:?}");
    }
}

/// C14: the same text as the decision's.
#[test]
fn an_unknown_word_is_told_what_an_absent_credential_is() {
    assert_eq!(refs("github", &[]), Err(crate::release::not_found("github").to_string()));
}

#[test]
fn the_view_holds_what_the_caller_may_know_of() {
    let shared = |name: &str, owner: &str, members: serde_json::Value| {
        connection(name, json!({"owner": owner, "members": members}))
    };
    let all = [
        shared("mine", "web", json!([])),
        shared("open", "alice", json!(["*"])),
        shared("listed", "alice", json!(["web"])),
        shared("closed", "alice", json!([])),
        shared("others", "alice", json!(["api"])),
    ];
    let seen = |caller: &Caller, sharing: &str, members: &[MemberView]| {
        let vault = vault(json!({"sharing": sharing}));
        candidates(caller, &vault, members, &all)
            .into_iter()
            .map(|c| format!("{}:{:?}", c.name, c.relation))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let web = [view("web", "member"), view("api", "member")];
    let known = "mine:Own open:InScope listed:InScope";
    assert_eq!(seen(&user("web"), "All", &web), format!("{known} closed:OutOfScope others:OutOfScope"));
    assert_eq!(seen(&user("web"), "Owner", &web), format!("{known} others:OutOfScope"));
    assert_eq!(seen(&user("stranger"), "All", &web), "");
    let suspended = MemberView { state: MemberState::Suspended, ..view("web", "member") };
    let group = view_of("grp", "member", group_subject("devs"));
    assert_eq!(
        seen(&user_of("web", &["devs"]), "All", &[suspended, group]),
        "",
        "a suspended direct one denies"
    );
}

proptest! {
    /// T44
    #[test]
    fn any_text_is_read_without_a_panic(text in "\\PC{0,120}") {
        let view = [candidate("team", "a", "a", Relation::Own)];
        let _ = connection_refs(&text, &view);
    }
}
