use super::*;
use crate::fixtures::vault;
use proptest::prelude::*;
use serde_json::{Value, json};

fn spec(value: Value) -> VaultSpec {
    vault(value).spec
}

fn verbs(role: &Role) -> String {
    ALL_VERBS.iter().filter(|v| role.allows(**v)).map(|v| verb_name(*v)).collect::<Vec<_>>().join(" ")
}

/// DESIGN §6.
#[test]
fn built_in_roles_allow_what_the_design_says() {
    let vault = spec(json!({}));
    let all = "list use read write share invite audit rotate";
    let table = [(OWNER, all), (ADMIN, all), (MEMBER, "list use read")];
    for (name, expected) in table {
        let role = role(&vault, name).expect("built in");
        assert_eq!(verbs(&role), expected, "{name}");
        assert!(role.covers_all() && role.opens());
    }
    let member = |sharing| role(&spec(json!({"sharing": sharing})), MEMBER).expect("built in");
    assert!(member("Owner").allows_own(Verb::Write) && member("Owner").allows_own(Verb::Share));
    assert!(!member("Owner").allows(Verb::Write) && !member("All").allows_own(Verb::Write));
}

#[test]
fn a_custom_role_is_what_the_vault_says_and_a_malformed_one_is_none() {
    let vault = spec(json!({"roles": [
        {"name": "ci", "verbs": ["list", "use"], "connections": ["gh-*"], "rateLimit": "30/60s", "maxConnections": 20},
        {"name": "odd", "verbs": ["use"], "rateLimit": "plenty"},
        {"name": "owner", "verbs": ["list"]},
    ]}));
    let ci = role(&vault, "ci").expect("the vault's own");
    assert_eq!(verbs(&ci), "list use");
    assert_eq!(
        (ci.rate_limit().map(|l| l.to_string()), ci.max_connections()),
        (Some("30/60s".to_owned()), Some(20))
    );
    assert!(ci.covers("gh-a") && !ci.covers("slack") && !ci.covers_all());
    assert_eq!(role(&vault, "odd"), None);
    assert_eq!(role(&vault, "none"), None);
    assert!(role(&vault, OWNER).is_some_and(|r| r.is_owner()), "a built-in role cannot be redefined");
}

#[test]
fn no_globs_and_a_star_cover_all_and_an_empty_list_nothing() {
    let with = |globs: Value| {
        let mut custom = json!({"name": "r", "verbs": ["use"]});
        if !globs.is_null() {
            custom["connections"] = globs;
        }
        role(&spec(json!({"roles": [custom]})), "r").expect("the vault's own")
    };
    assert!(with(Value::Null).covers_all() && with(Value::Null).covers("x"));
    assert!(with(json!(["a", "*"])).covers_all());
    assert!(!with(json!(["a*"])).covers_all());
    assert!(!with(json!([])).covers_all() && !with(json!([])).covers("x"));
}

#[test]
fn globs_match_whole_names() {
    let table = [
        ("gh-*", "gh-a", true),
        ("gh-*", "gh-", true),
        ("gh-*", "xgh-a", false),
        ("*", "", true),
        ("*", "a", true),
        ("a", "a", true),
        ("a", "ab", false),
        ("", "", true),
        ("", "a", false),
        ("*-prod", "a-b-prod", true),
        ("*-prod", "a-prod-b", false),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "acb", false),
        ("**", "abc", true),
    ];
    for (glob, name, expected) in table {
        assert_eq!(glob_matches(glob, name), expected, "{glob} {name}");
    }
}

/// Nobody grants more than they hold.
#[test]
fn a_role_holds_what_is_within_it() {
    let vault = spec(json!({"roles": [
        {"name": "use", "verbs": ["use"]},
        {"name": "use-gh", "verbs": ["use"], "connections": ["gh-*"]},
        {"name": "use-gh-a", "verbs": ["use"], "connections": ["gh-a-*", "gh-b"]},
        {"name": "use-slow", "verbs": ["use"], "rateLimit": "30/60s"},
        {"name": "use-slower", "verbs": ["use"], "rateLimit": "10/60s"},
        {"name": "use-burst", "verbs": ["use"], "rateLimit": "60/120s"},
        {"name": "use-few", "verbs": ["use"], "maxConnections": 2},
        {"name": "all-verbs", "verbs": ["list", "use", "read", "write", "share", "invite", "audit", "rotate"]},
        {"name": "inviter", "verbs": ["list", "use", "read", "invite"]},
    ]}));
    let role = |name: &str| role(&vault, name).expect("known");
    let holds = [
        ("owner", "owner"),
        ("owner", "admin"),
        ("admin", "admin"),
        ("admin", "member"),
        ("admin", "all-verbs"),
        ("member", "member"),
        ("use", "use-gh"),
        ("use-gh", "use-gh"),
        ("use-gh", "use-gh-a"),
        ("use", "use-slow"),
        ("use-slow", "use-slower"),
        ("use", "use-few"),
        ("inviter", "member"),
    ];
    for (a, b) in holds {
        assert!(role(a).holds(&role(b)), "{a} holds {b}");
    }
    let lacks = [
        ("admin", "owner"),
        ("all-verbs", "owner"),
        ("all-verbs", "admin"),
        ("member", "admin"),
        ("use", "member"),
        ("use-gh", "use"),
        ("use-gh-a", "use-gh"),
        ("use-slow", "use"),
        ("use-slower", "use-slow"),
        ("use-slow", "use-burst"),
        ("use-few", "use"),
        ("inviter", "all-verbs"),
    ];
    for (a, b) in lacks {
        assert!(!role(a).holds(&role(b)), "{a} does not hold {b}");
    }
}

proptest! {
    /// A glob that is held matches nothing that its holder does not.
    #[test]
    fn held_globs_are_within(outer in "[ab*-]{0,5}", inner in "[ab*-]{0,5}", name in "[ab-]{0,6}") {
        if glob_matches(&outer, &inner) && glob_matches(&inner, &name) {
            prop_assert!(glob_matches(&outer, &name), "{} ⊇ {} ∋ {}", outer, inner, name);
        }
    }

    /// T44: no bytes make it panic or run away.
    #[test]
    fn matching_ends(glob in "\\PC{0,40}", name in "\\PC{0,80}") {
        let _ = glob_matches(&glob, &name);
    }
}
