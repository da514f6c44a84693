use std::collections::BTreeSet;

use kube::CustomResourceExt as _;
use proptest::prelude::*;
use proptest::string::string_regex;
use serde_json::json;

use super::*;
use crate::{AccessToken, Connection, Vault, VaultMember};

fn spec_schema(crd: impl serde::Serialize) -> Value {
    let crd = serde_json::to_value(crd).expect("a CRD is JSON");
    crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").cloned().expect("a spec")
}

fn told(schema: &Value, spec: Value) -> Option<String> {
    misfit(schema, "spec", &spec, None).map(|misfit| format!("{}: {}", misfit.field, misfit.problem))
}

/// C17, C18, C19: field, problem, accepted form; never what was written.
#[test]
fn each_misfit_names_its_field_and_the_accepted_form() {
    let (vault, member, connection) =
        (spec_schema(Vault::crd()), spec_schema(VaultMember::crd()), spec_schema(Connection::crd()));
    let invite = |more: Value| {
        let mut spec = json!({"vault": "v", "role": "member", "subject": {"user": {"name": "u"}}});
        spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        spec
    };
    let label = "must be a name of 1 to 63 lower-case letters, digits or '-' that begins and ends with a letter or digit";
    let duration =
        "must be a whole number above 0 and h, d, w or m (m is 30 days), such as 24h, 90d, 12w or 6m";
    let role = |more: Value| {
        let mut role = json!({"name": "ci", "verbs": ["list"]});
        role.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!({ "roles": [role] })
    };
    for (schema, spec, field, problem) in [
        (&vault, json!({"sharing": "all"}), "spec.sharing", "must be one of All, Owner"),
        (&vault, json!({"custody": true}), "spec.custody", "must be a string, not true or false"),
        (&vault, json!({"owners": {"user": "x"}}), "spec.owners", "must be a list, not an object"),
        (&vault, json!({"owners": ["alice"]}), "spec.owners[0]", "must be an object, not a string"),
        (&vault, json!({"owners": [null]}), "spec.owners[0]", "must not be null: leave it out"),
        (
            &vault,
            json!({"owners": [{"usr": {"name": "alice"}}]}),
            "spec.owners[0]",
            "must be exactly one of serviceAccount, user, group, external",
        ),
        (&vault, json!({"owners": [{"user": {}}]}), "spec.owners[0].user.name", "is missing"),
        (
            &vault,
            json!({"owners": [{"user": {"name": ""}}]}),
            "spec.owners[0].user.name",
            "must not be empty",
        ),
        (&vault, json!({"memberTTL": "-90d"}), "spec.memberTTL", duration),
        (&vault, json!({"memberTTL": 90}), "spec.memberTTL", "must be a string, not a number"),
        (&vault, json!({"rotation": {"interval": "monthly"}}), "spec.rotation.interval", duration),
        (&vault, json!({"allowSync": "yes"}), "spec.allowSync", "must be true or false, not a string"),
        (
            &vault,
            role(json!({"verbs": ["list", "Use"]})),
            "spec.roles[0].verbs[1]",
            "must be one of list, use, read, write, share, invite, audit, rotate",
        ),
        (&vault, role(json!({"verbs": []})), "spec.roles[0].verbs", "must list at least 1"),
        (
            &vault,
            role(json!({"connections": ["GH_[a-z]"]})),
            "spec.roles[0].connections[0]",
            "must be 1 to 63 lower-case letters, digits, '-' or '*' (any run of characters), such as gh-*",
        ),
        (
            &vault,
            role(json!({"rateLimit": "30/1m"})),
            "spec.roles[0].rateLimit",
            "must be requests per seconds as N/Ws, such as 30/60s",
        ),
        (
            &vault,
            role(json!({"maxConnections": 0})),
            "spec.roles[0].maxConnections",
            "must be a whole number from 1 to 10000",
        ),
        (
            &vault,
            role(json!({"maxConnections": 1.5})),
            "spec.roles[0].maxConnections",
            "must be a whole number from 1 to 10000",
        ),
        (&member, json!({"vault": "v", "role": "member"}), "spec.subject", "is missing"),
        (&member, invite(json!({"role": "Admin"})), "spec.role", label),
        (&member, invite(json!({"ttl": "90 days"})), "spec.ttl", duration),
        (&member, invite(json!({"inviteTTL": "0h"})), "spec.inviteTTL", duration),
        (
            &member,
            invite(json!({"expiresAt": "tomorrow"})),
            "spec.expiresAt",
            "must be a time such as 2026-01-31T00:00:00Z",
        ),
        (
            &member,
            invite(json!({"subject": {"user": {"name": "u"}, "group": {"name": "g"}}})),
            "spec.subject",
            "must be exactly one of serviceAccount, user, group, external",
        ),
        (
            &connection,
            json!({"type": "apikey"}),
            "spec.type",
            "must be one of opaque, api-key, access-token, password, basic-auth, git-token, ssh, tls, oauth2, docker",
        ),
        (&connection, json!({"vault": "team"}), "spec.vault", "must be an object, not a string"),
        (&connection, json!({"vault": {"name": "Team_A"}}), "spec.vault.name", label),
        (&connection, json!({"alias": "a.b"}), "spec.alias", "must be 1 to 64 letters, digits, '_' or '-'"),
        (
            &connection,
            json!({"members": ["web", "Bob"]}),
            "spec.members[1]",
            "must be the name of a VaultMember (1 to 63 lower-case letters, digits or '-'), or '*' alone",
        ),
        (&connection, json!({"members": vec!["m"; 257]}), "spec.members", "lists 257 entries; at most 256"),
        (
            &connection,
            json!({"provider": "p".repeat(65)}),
            "spec.provider",
            "is 65 characters long; at most 64",
        ),
        (
            &connection,
            json!({"inject": {"env": {"variables": {"TOKEN": "a b"}}}}),
            "spec.inject.env.variables.TOKEN",
            "must be the key of an item: 1 to 253 letters, digits, '.', '_' or '-'",
        ),
        (&connection, json!({"sync": {}}), "spec.sync.secretName", "is missing"),
        (&connection, json!([]), "spec", "must be an object, not a list"),
    ] {
        assert_eq!(told(schema, spec), Some(format!("{field}: {problem}")));
    }
    assert_eq!(told(&member, invite(json!({"ttl": "90d", "keyChange": null}))), None);
}

/// As the API server does: what was stored under another schema does not stop a change of something else.
#[test]
fn what_did_not_change_is_not_looked_at() {
    let schema = spec_schema(Connection::crd());
    let stored = json!({"alias": "a.b", "members": ["Bob"]});
    let mut new = stored.clone();
    new["ttl"] = "90d".into();
    assert_eq!(misfit(&schema, "spec", &new, Some(&stored)), None);
    new["members"] = json!(["Bob", "Carol"]);
    assert_eq!(misfit(&schema, "spec", &new, Some(&stored)).map(|m| m.field), Some("spec.members[1]".into()));
}

fn patterns(schema: &Value, found: &mut BTreeSet<String>) {
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        found.insert(pattern.to_owned());
    }
    match schema {
        Value::Object(fields) => fields.values().for_each(|value| patterns(value, found)),
        Value::Array(entries) => entries.iter().for_each(|value| patterns(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_pattern_that_users_meet_has_words() {
    let mut found = BTreeSet::new();
    for kind in [Vault::crd(), VaultMember::crd(), Connection::crd(), AccessToken::crd()] {
        patterns(&spec_schema(kind), &mut found);
    }
    let worded: BTreeSet<String> = FORMS.iter().map(|form| form.pattern.to_owned()).collect();
    assert_eq!(found, worded);
}

fn any_json() -> impl Strategy<Value = Value> {
    let names = proptest::sample::select(vec![
        "vault",
        "name",
        "members",
        "roles",
        "verbs",
        "owners",
        "user",
        "subject",
        "ttl",
        "sealedData",
        "x",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,70}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((names.clone(), inner), 0..4).prop_map(|fields| fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect::<Map<_, _>>()
                .into()),
        ]
    })
}

proptest! {
    /// The words and the pattern must mean the same.
    #[test]
    fn what_a_pattern_matches_is_accepted(
        samples in FORMS.iter().map(|form| string_regex(form.pattern.trim_matches(['^', '$'])).expect("a pattern")).collect::<Vec<_>>()
    ) {
        for (form, sample) in FORMS.iter().zip(samples) {
            prop_assert!((form.accepts)(&sample), "{} {sample}", form.pattern);
        }
    }

    /// T44: no value makes a panic, and what fits can be read as the type.
    #[test]
    fn what_has_the_form_of_the_schema_can_be_read(spec in any_json()) {
        if misfit(&spec_schema(Connection::crd()), "spec", &spec, None).is_none() && spec.is_object() {
            prop_assert!(serde_json::from_value::<crate::ConnectionSpec>(spec).is_ok());
        }
    }
}
