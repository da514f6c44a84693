//! Whoever can write custom resources but holds no key: every change of a Keyring, an Envelope or a wrapped vault key
//! is noticed by everyone who opens it. T1, T2, T22.
#![allow(clippy::unwrap_used, reason = "a story that cannot be told fails its test")]

mod story;

use coffer_crds::{EnvelopeSpec, KeyringSpec, RegisteredMember, WrappedVaultKey};
use coffer_envelope::{
    EnvelopeError, OpenedItems, Place, SelfMember, open_as_brokered, open_as_self, verify_keyring,
};
use coffer_keys::OpenError;
use coffer_keys::intake::InputContext;
use coffer_keys::signature::CheckedSignatures;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;
use story::{Scope, Vault, connection, uid};

/// Every value that differs from `value` in one leaf, one list element or one field.
fn changes(value: &Value) -> Vec<(String, Value)> {
    let mut changed = Vec::new();
    match value {
        Value::Null => {}
        Value::Bool(flag) => changed.push((String::new(), json!(!flag))),
        Value::Number(number) => {
            let number = number.as_i64().unwrap();
            changed.extend([number + 1, number - 1, -1].map(|other| (format!("={other}"), json!(other))));
        }
        Value::String(text) => {
            changed.extend(other_texts(text).map(|other| (format!("={other}"), json!(other))))
        }
        Value::Array(list) => {
            for (at, element) in list.iter().enumerate() {
                for (path, other) in changes(element) {
                    let mut list = list.clone();
                    list[at] = other;
                    changed.push((format!("[{at}]{path}"), Value::Array(list)));
                }
                let mut without = list.clone();
                without.remove(at);
                changed.push((format!("[{at}] gone"), Value::Array(without)));
                let mut twice = list.clone();
                twice.push(element.clone());
                changed.push((format!("[{at}] twice"), Value::Array(twice)));
            }
            let mut turned = list.clone();
            turned.reverse();
            if turned != *list {
                changed.push((" turned round".into(), Value::Array(turned)));
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                for (path, other) in changes(field) {
                    let mut fields = fields.clone();
                    fields.insert(name.clone(), other);
                    changed.push((format!(".{name}{path}"), Value::Object(fields)));
                }
                let mut without: Map<_, _> = fields.clone();
                without.remove(name);
                changed.push((format!(".{name} gone"), Value::Object(without)));
            }
        }
    }
    changed
}

/// Other texts of the same kind: a base64 value with another first or last byte, a name with another letter.
fn other_texts(text: &str) -> impl Iterator<Item = String> {
    let another = |c: char| match c {
        'a' => 'b',
        '0'..='8' => char::from(c as u8 + 1),
        '9' => '0',
        _ => 'a',
    };
    let first = text.chars().next();
    let at_start = first.map(|first| text.replacen(first, &another(first).to_string(), 1));
    let middle = text.chars().nth(text.len() / 2);
    let at_middle = middle.map(|middle| {
        let mut chars: Vec<char> = text.chars().collect();
        chars[text.len() / 2] = another(middle);
        chars.into_iter().collect()
    });
    [at_start, at_middle, Some(format!("{text}a")), Some(format!("{text}="))]
        .into_iter()
        .flatten()
        .filter({
            let text = text.to_owned();
            move |other| *other != text
        })
        .collect::<Vec<_>>()
        .into_iter()
}

fn as_member(vault: &Vault, name: &str, spec: &EnvelopeSpec) -> Result<OpenedItems, EnvelopeError> {
    let at = connection("github");
    let place = vault.place(&at, vault.keyring.public_key());
    opened(
        vault,
        vault.keyring.member(name).unwrap(),
        &vault.wrapped.get(name).cloned().unwrap_or_default(),
        &place,
        spec,
    )
}

/// One memory for all: what it knows of the untouched objects must vouch for none that was changed.
static CHECKED: LazyLock<CheckedSignatures> = LazyLock::new(CheckedSignatures::default);

fn opened(
    vault: &Vault,
    member: &RegisteredMember,
    wrapped: &[WrappedVaultKey],
    place: &Place<'_>,
    spec: &EnvelopeSpec,
) -> Result<OpenedItems, EnvelopeError> {
    match vault.secrets.get(&member.name) {
        None => open_as_brokered(vault.custodian.branches(), member, wrapped, place, spec, None, &CHECKED),
        Some(secret) => {
            let member = SelfMember { name: &member.name, uid: &member.uid, key: &secret.key };
            open_as_self(&member, wrapped, place, spec, None)
        }
    }
}

#[test]
fn any_change_of_an_envelope_is_noticed_by_operator_broker_and_member() {
    let mut vault = Vault::new("tampered envelopes");
    for (scope, slots) in [
        (Scope::All, vec!["carol", "ci"]),
        (Scope::Listed(&["alice", "carol", "ci", "web"]), vec!["alice", "carol", "ci", "web"]),
    ] {
        let spec = vault.seal("github", scope, &slots);
        for name in ["alice", "carol", "ci", "web"] {
            assert!(as_member(&vault, name, &spec).is_ok(), "{name}");
        }
        let changes = changes(&serde_json::to_value(&spec).unwrap());
        assert!(changes.len() > 200, "{}", changes.len());
        let mut judged = 0;
        for (path, changed) in changes {
            let Ok(changed) = serde_json::from_value::<EnvelopeSpec>(changed) else { continue };
            if changed == spec {
                continue;
            }
            judged += 1;
            assert!(vault.keyring.open_envelope("team-a", "github", &changed).is_err(), "operator: {path}");
            for name in ["alice", "carol", "ci", "web"] {
                assert!(as_member(&vault, name, &changed).is_err(), "{name}: {path}");
            }
        }
        assert!(judged > 150, "{judged}");
    }
}

#[test]
fn any_change_of_a_keyring_is_noticed() {
    let mut vault = Vault::new("tampered keyrings");
    vault.turn_over();
    let spec = vault.keyring.to_spec();
    assert!(vault.custodian.open_keyring(&spec).is_ok());
    assert!(verify_keyring(&spec, vault.keyring.public_key()).is_ok());
    let mut judged = 0;
    for (path, changed) in changes(&serde_json::to_value(&spec).unwrap()) {
        let Ok(changed) = serde_json::from_value::<KeyringSpec>(changed) else { continue };
        if changed == spec {
            continue;
        }
        judged += 1;
        assert!(vault.custodian.open_keyring(&changed).is_err(), "operator: {path}");
        assert!(verify_keyring(&changed, vault.keyring.public_key()).is_err(), "broker: {path}");
    }
    assert!(judged > 150, "{judged}");
}

#[test]
fn any_change_of_a_wrapped_vault_key_is_noticed() {
    let mut vault = Vault::new("tampered vault keys");
    let spec = vault.seal("github", Scope::All, &[]);
    let at = connection("github");
    for name in ["alice", "bob", "web"] {
        let member = vault.keyring.member(name).unwrap().clone();
        let wrapped = vault.wrapped[name][0].clone();
        assert!(vault.keyring.is_wrapped(&member, &wrapped));
        for (path, changed) in changes(&serde_json::to_value(&wrapped).unwrap()) {
            let Ok(changed) = serde_json::from_value::<WrappedVaultKey>(changed) else { continue };
            if changed == wrapped {
                continue;
            }
            assert!(!vault.keyring.is_wrapped(&member, &changed), "operator: {name}{path}");
            let place = vault.place(&at, vault.keyring.public_key());
            assert!(opened(&vault, &member, &[changed], &place, &spec).is_err(), "{name}{path}");
        }
    }
}

/// T2: the parts of two Envelopes of the same vault, swapped one by one.
#[test]
fn nothing_of_one_envelope_opens_in_another() {
    let mut vault = Vault::new("spliced envelopes");
    let github = vault.seal("github", Scope::All, &["ci"]);
    let slack = vault.seal("slack", Scope::All, &["ci"]);
    let (ours, theirs) = (serde_json::to_value(&github).unwrap(), serde_json::to_value(&slack).unwrap());
    for field in ours.as_object().unwrap().keys() {
        let mut spliced = ours.clone();
        spliced[field] = theirs[field].clone();
        if spliced == ours {
            continue;
        }
        let spliced: EnvelopeSpec = serde_json::from_value(spliced).unwrap();
        for name in ["alice", "ci", "web"] {
            assert!(as_member(&vault, name, &spliced).is_err(), "{name}: {field}");
        }
    }
    // The whole of it, laid beside another Connection.
    assert_eq!(as_member(&vault, "web", &slack).err(), Some(EnvelopeError::Displaced));
    assert_eq!(vault.keyring.open_envelope("team-a", "github", &slack).err(), Some(EnvelopeError::Displaced));
}

/// T1: a member of vault A with everything in etcd opens nothing of vault B, even under the same names and uids.
#[test]
fn a_member_of_one_vault_opens_nothing_of_another() {
    let mut ours = Vault::new("vault A");
    let mut theirs = Vault::new("vault B");
    let at = connection("github");
    for (scope, slots) in
        [(Scope::All, vec!["ci"]), (Scope::Listed(&["alice", "ci", "web"]), vec!["alice", "ci", "web"])]
    {
        let own = ours.seal("github", scope, &slots);
        let foreign = theirs.seal("github", scope, &slots);
        for name in ["alice", "ci", "web"] {
            assert!(as_member(&ours, name, &own).is_ok(), "{name}");
            let member = ours.keyring.member(name).unwrap();
            let keys = [ours.wrapped.get(name).cloned(), theirs.wrapped.get(name).cloned()].concat_flat();
            for vault_id in [ours.keyring.vault_id(), theirs.keyring.vault_id()] {
                for custodian_key in [ours.keyring.public_key(), theirs.keyring.public_key()] {
                    let place = Place { vault_id, custodian_key, connection: &at };
                    assert!(opened(&ours, member, &keys, &place, &foreign).is_err(), "{name}");
                }
            }
        }
        assert!(ours.keyring.open_envelope("team-a", "github", &foreign).is_err());
    }
    assert!(ours.custodian.open_keyring(&theirs.keyring.to_spec()).is_err());
}

trait ConcatFlat<T> {
    fn concat_flat(self) -> Vec<T>;
}

impl<T> ConcatFlat<T> for [Option<Vec<T>>; 2] {
    fn concat_flat(self) -> Vec<T> {
        self.into_iter().flatten().flatten().collect()
    }
}

/// A Self member knows the vault key, so it can make a vault slot, an Envelope around it and a signature of its own;
/// the broker takes the signing key from what only operator and broker could have wrapped, and so notices.
#[test]
fn a_member_with_the_vault_key_cannot_pass_off_an_envelope_of_its_own() {
    let vault = Vault::new("honest vault");
    let mut forger = Vault::new("forged vault");
    let forged = forger.seal("github", Scope::All, &[]);
    let at = connection("github");
    let web = vault.keyring.member("web").unwrap();
    let claims = Place {
        vault_id: vault.keyring.vault_id(),
        custodian_key: forger.keyring.public_key(),
        connection: &at,
    };
    let mut relabelled = forged;
    relabelled.vault_id = vault.keyring.vault_id().to_string();
    assert_eq!(
        opened(&vault, web, &vault.wrapped["web"], &claims, &relabelled).err(),
        Some(EnvelopeError::Open(OpenError))
    );
    // The claim alone, with the honest Envelope, does not hold either.
    let mut vault = vault;
    let honest = vault.seal("github", Scope::All, &[]);
    let web = vault.keyring.member("web").unwrap();
    assert!(opened(&vault, web, &vault.wrapped["web"], &claims, &honest).is_err());
}

/// T26 and re-used names: another uid of the member, or of its ServiceAccount, is a stranger.
#[test]
fn a_member_made_again_under_the_same_name_opens_nothing() {
    let mut vault = Vault::new("strangers");
    let at = connection("github");
    for (scope, slots) in
        [(Scope::All, vec!["ci"]), (Scope::Listed(&["alice", "ci", "web"]), vec!["ci", "web"])]
    {
        let spec = vault.seal("github", scope, &slots);
        let place = vault.place(&at, vault.keyring.public_key());
        for name in ["ci", "web"] {
            let member = vault.keyring.member(name).unwrap();
            let wrapped = vault.wrapped.get(name).cloned().unwrap_or_default();
            assert!(opened(&vault, member, &wrapped, &place, &spec).is_ok());
            let again = RegisteredMember { uid: uid("made again"), ..member.clone() };
            assert!(opened(&vault, &again, &wrapped, &place, &spec).is_err());
            let account_again = RegisteredMember { subject_uid: Some(uid("made again")), ..member.clone() };
            assert!(opened(&vault, &account_again, &wrapped, &place, &spec).is_err());
            let other_role = RegisteredMember { role: "admin".into(), ..member.clone() };
            assert!(opened(&vault, &other_role, &wrapped, &place, &spec).is_ok(), "a role is no key");
        }
    }
}

/// Sealed bytes copied to another Connection, owner or item do not open there.
#[test]
fn copied_sealed_input_does_not_open_elsewhere() {
    let mut vault = Vault::new("copied input");
    let sealed = vault.input("github", "alice", "token", b"s3cr3t");
    let here = InputContext {
        vault_id: vault.keyring.vault_id(),
        namespace: "team-a",
        connection: "github",
        owner: "alice",
        item: "token",
    };
    assert_eq!(vault.keyring.open_sealed(&here, &sealed).unwrap().expose(), b"s3cr3t");
    let elsewhere = [
        InputContext { namespace: "team-b", ..here },
        InputContext { connection: "stolen", ..here },
        InputContext { owner: "mallory", ..here },
        InputContext { item: "other", ..here },
        InputContext { vault_id: Vault::new("other").keyring.vault_id(), ..here },
    ];
    for elsewhere in elsewhere {
        assert!(vault.keyring.open_sealed(&elsewhere, &sealed).is_err());
    }
    assert!(Vault::new("other").keyring.open_sealed(&here, &sealed).is_err());
}
