//! Whole vaults as the API holds them: `keys/vectors/rust-vault.json` is made here and opened by the Go program in
//! `keys/interop`, `go-vault.json` is made there and opened here.
#![allow(clippy::unwrap_used, reason = "a vector that cannot be read fails its test")]

mod story;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use coffer_crds::{Custody, EnvelopeSpec, IntakeKey, KeyringSpec, Wrap, WrappedVaultKey};
use coffer_envelope::custody::{BROKERED_SECRET, CUSTODIAN_SECRET, RootOfTrust, open_branch, open_custodian};
use coffer_envelope::{
    Branches, Custodian, OpenedItems, Place, SelfMember, intake_public_key, open_as_brokered, open_as_self,
};
use coffer_keys::intake::InputContext;
use coffer_keys::signature::{CheckedSignatures, VaultPublicKey};
use coffer_keys::{SecretKey, VaultId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    made_by: String,
    vault: VaultFile,
}

/// An installation with one vault, and what each member must be able to open.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VaultFile {
    root: BTreeMap<String, String>,
    custody_secrets: BTreeMap<String, BTreeMap<String, Wrap>>,
    custodian_key: String,
    intake_key: IntakeKey,
    keyring: KeyringSpec,
    member_keys: BTreeMap<String, MemberSecret>,
    wrapped_keys: BTreeMap<String, Vec<WrappedVaultKey>>,
    envelopes: Vec<Sealed>,
    sealed_data: Vec<Input>,
}

#[derive(Serialize, Deserialize)]
struct MemberSecret {
    kind: String,
    seed: String,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    spec: EnvelopeSpec,
    items: BTreeMap<String, String>,
    opens: Vec<String>,
    refuses: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Input {
    namespace: String,
    connection: String,
    owner: String,
    item: String,
    sealed: String,
    plaintext: String,
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../keys/vectors").join(name)
}

/// The formats are frozen: what is made today is what was committed. `COFFER_WRITE_VECTORS=1` writes the file anew.
#[test]
fn the_committed_vault_of_rust_is_what_is_made_today() {
    let made = serde_json::to_string_pretty(&make()).unwrap() + "\n";
    if std::env::var_os("COFFER_WRITE_VECTORS").is_some() {
        std::fs::write(path("rust-vault.json"), &made).unwrap();
    }
    let committed = std::fs::read_to_string(path("rust-vault.json")).unwrap();
    assert!(made == committed, "a format changed: nothing that is stored anywhere would open any more");
}

#[test]
fn rust_opens_its_own_vault() {
    check(make().vault);
}

/// Made by the independent implementation in Go.
#[test]
fn rust_opens_the_vault_made_by_go() {
    let file: File = serde_json::from_str(&std::fs::read_to_string(path("go-vault.json")).unwrap()).unwrap();
    check(file.vault);
}

fn check(file: VaultFile) {
    let (custodian, branches) = open_custody(&file);
    let keyring = custodian.open_keyring(&file.keyring).unwrap();
    assert_eq!(keyring.custodian_key(), file.custodian_key);
    let public = VaultPublicKey::parse(&file.custodian_key).unwrap();
    let intake = intake_public_key(&keyring.vault_id(), &public, &file.intake_key).unwrap();
    assert_eq!(keyring.intake_key().unwrap(), file.intake_key);

    for input in &file.sealed_data {
        let context = InputContext {
            vault_id: keyring.vault_id(),
            namespace: &input.namespace,
            connection: &input.connection,
            owner: &input.owner,
            item: &input.item,
        };
        let sealed = STANDARD.decode(&input.sealed).unwrap();
        assert_eq!(coffer_keys::intake::sealed_to(&sealed).unwrap(), *intake.kid());
        let opened = keyring.open_sealed(&context, &sealed).unwrap();
        assert_eq!(STANDARD.encode(opened.expose()), input.plaintext);
    }
    for (name, keys) in &file.wrapped_keys {
        let member = keyring.member(name).unwrap();
        assert!(keys.iter().all(|key| keyring.is_wrapped(member, key)), "{name}'s keys are of this vault");
    }
    for sealed in &file.envelopes {
        let at = &sealed.spec.connection;
        let open = keyring.open_envelope(&at.namespace, &at.name, &sealed.spec).unwrap();
        assert_eq!(printed(&open.items().unwrap()), sealed.items, "{} as custodian", at.name);
        for name in &sealed.opens {
            let opened = open_as(&file, &branches, &public, name, &sealed.spec)
                .unwrap_or_else(|| panic!("{name} opens {}", at.name));
            assert_eq!(printed(&opened), sealed.items, "{} as {name}", at.name);
        }
        for name in &sealed.refuses {
            let opened = open_as(&file, &branches, &public, name, &sealed.spec);
            assert!(opened.is_none(), "{name} does not open {}", at.name);
        }
        assert_eq!(sealed.opens.len() + sealed.refuses.len(), file.keyring.members.len());
    }
    assert_eq!(file.envelopes.len(), 3);
}

fn open_custody(file: &VaultFile) -> (Custodian, Branches) {
    let root: BTreeMap<_, _> =
        file.root.iter().map(|(name, key)| (name.clone(), STANDARD.decode(key).unwrap())).collect();
    let secret = |name: &str| -> BTreeMap<String, Vec<u8>> {
        file.custody_secrets[name]
            .iter()
            .map(|(key, wrap)| (key.clone(), serde_json::to_vec(wrap).unwrap()))
            .collect()
    };
    let (custodian, brokered) = (secret(CUSTODIAN_SECRET), secret(BROKERED_SECRET));
    let root_of_trust = RootOfTrust::from_local_secret(story::data(&root)).unwrap();
    let opened = open_custodian(&root_of_trust, story::data(&custodian), story::data(&brokered)).unwrap();

    // The broker has only the part of the root that opens its branch.
    let brokers =
        RootOfTrust::from_local_secret(story::data(&root).filter(|(name, _)| *name == "brokered")).unwrap();
    assert!(open_custodian(&brokers, story::data(&custodian), story::data(&brokered)).is_err());
    (opened, open_branch(&brokers, story::data(&brokered)).unwrap())
}

fn open_as(
    file: &VaultFile,
    branches: &Branches,
    custodian_key: &VaultPublicKey,
    name: &str,
    spec: &EnvelopeSpec,
) -> Option<OpenedItems> {
    let place = Place {
        vault_id: VaultId::parse(&file.keyring.vault_id).unwrap(),
        custodian_key,
        connection: &spec.connection,
    };
    let member = file.keyring.members.iter().find(|member| member.name == name).unwrap();
    let wrapped = file.wrapped_keys.get(name).map(Vec::as_slice).unwrap_or_default();
    match member.custody {
        Custody::Brokered => {
            open_as_brokered(branches, member, wrapped, &place, spec, None, &CheckedSignatures::default())
                .ok()
        }
        Custody::Own => {
            let secret = &file.member_keys[name];
            let seed = SecretKey::from_slice(&story::unhex(&secret.seed)).unwrap();
            let key = story::secret(&secret.kind, seed);
            let member = SelfMember { name, uid: &member.uid, key: &key };
            open_as_self(&member, wrapped, &place, spec, None).ok()
        }
    }
}

fn printed(items: &OpenedItems) -> BTreeMap<String, String> {
    items.iter().map(|(name, value)| (name.clone(), STANDARD.encode(value.expose()))).collect()
}

/// The same vault each time, from repeatable bytes.
fn make() -> File {
    let mut vault = story::Vault::new("coffer vault vectors 1");
    let listed =
        vault.seal("listed", story::Scope::Listed(&["alice", "carol", "web"]), &["alice", "carol", "web"]);
    let unshared = vault.seal("unshared", story::Scope::All, &["ci"]);
    vault.restore();
    let shared = vault.seal("shared", story::Scope::All, &["carol", "ci"]);
    let input = vault.input("listed", "alice", "token", b"sealed in Rust");
    let (root, custody_secrets) = vault.custody_secrets();
    let expected = [
        (listed, vec!["alice", "carol", "web"]),
        (shared, vec!["alice", "bob", "carol", "ci", "web"]),
        (unshared, vec!["alice", "bob", "ci", "intern", "web"]),
    ];
    let envelopes = expected.into_iter().map(|(spec, opens)| Sealed {
        items: story::values(&spec.connection.name),
        opens: opens.iter().map(ToString::to_string).collect(),
        refuses: story::EVERYBODY
            .iter()
            .filter(|name| !opens.contains(name))
            .map(ToString::to_string)
            .collect(),
        spec,
    });
    let member_keys = vault.secrets.iter().map(|(name, secret)| {
        let kind = secret.key.public().kind().as_str().to_owned();
        (name.clone(), MemberSecret { kind, seed: secret.seed.clone() })
    });
    File {
        made_by: "coffer-envelope (Rust)".into(),
        vault: VaultFile {
            custodian_key: vault.keyring.custodian_key(),
            intake_key: vault.keyring.intake_key().unwrap(),
            keyring: vault.keyring.to_spec(),
            member_keys: member_keys.collect(),
            wrapped_keys: vault.wrapped.clone(),
            envelopes: envelopes.collect(),
            sealed_data: vec![Input {
                namespace: "team-a".into(),
                connection: "listed".into(),
                owner: "alice".into(),
                item: "token".into(),
                sealed: STANDARD.encode(input),
                plaintext: STANDARD.encode("sealed in Rust"),
            }],
            root,
            custody_secrets: custody_secrets
                .into_iter()
                .map(|(name, data)| {
                    let wraps = data
                        .into_iter()
                        .map(|(key, wrap)| (key, serde_json::from_slice(&wrap).unwrap()))
                        .collect();
                    (name, wraps)
                })
                .collect(),
        },
    }
}
