//! What lies in etcd and Git: keys, sealed input, Envelopes, Keyrings, the custodian's Secrets.

use std::{collections::BTreeMap, sync::LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_crds::{EnvelopeSpec, KeyringSpec, Wrap, WrappedVaultKey};
use coffer_envelope::{
    Branches, Custodian, OpenKeyring, Place,
    custody::{BROKERED_SECRET, CUSTODIAN_SECRET, RootOfTrust, open_branch, open_custodian},
    open_as_brokered, verify_keyring,
};
use coffer_keys::{
    Kid, SecretKey, Suite, VaultId,
    acceptance::{Acceptance, decode_challenge},
    answer::AnswerPublicKey,
    hierarchy::SubjectRef,
    intake::{InputContext, IntakePublicKey, sealed_to},
    member_key::{MemberKeyKind, MemberPublicKey, MemberSecretKey, public_half},
    signature::{CheckedSignatures, VaultPublicKey},
};
use serde::Deserialize;

type Data = BTreeMap<String, Vec<u8>>;

/// The committed vault, so that a corpus stays worth something: what is not altered opens.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vector {
    root: BTreeMap<String, String>,
    custody_secrets: BTreeMap<String, BTreeMap<String, Wrap>>,
    custodian_key: String,
    keyring: KeyringSpec,
    wrapped_keys: BTreeMap<String, Vec<WrappedVaultKey>>,
}

#[derive(Deserialize)]
struct File {
    vault: Vector,
}

struct Vault {
    root: RootOfTrust,
    custodian: Custodian,
    branches: Branches,
    keys: OpenKeyring,
    public: VaultPublicKey,
    keyring: KeyringSpec,
    wrapped_keys: BTreeMap<String, Vec<WrappedVaultKey>>,
    brokered: Data,
}

static VAULT: LazyLock<Vault> = LazyLock::new(|| {
    let file: File = serde_json::from_str(include_str!("../../../keys/vectors/rust-vault.json"))
        .expect("the committed vector is JSON");
    let vector = file.vault;
    let root: Data = vector
        .root
        .iter()
        .map(|(name, key)| (name.clone(), STANDARD.decode(key).expect("a key in base64")))
        .collect();
    let secret = |name: &str| -> Data {
        let wraps = vector.custody_secrets[name].iter();
        wraps.map(|(key, wrap)| (key.clone(), serde_json::to_vec(wrap).expect("JSON encodes"))).collect()
    };
    let (custodian, brokered) = (secret(CUSTODIAN_SECRET), secret(BROKERED_SECRET));
    let root = RootOfTrust::from_local_secret(entries(&root)).expect("the committed vector opens");
    let opened =
        open_custodian(&root, entries(&custodian), entries(&brokered)).expect("the committed vector opens");
    Vault {
        branches: open_branch(&root, entries(&brokered)).expect("the committed vector opens"),
        keys: opened.open_keyring(&vector.keyring).expect("the committed vector opens"),
        public: VaultPublicKey::parse(&vector.custodian_key).expect("the committed vector opens"),
        custodian: opened,
        keyring: vector.keyring,
        wrapped_keys: vector.wrapped_keys,
        root,
        brokered,
    }
});

fn entries(data: &Data) -> impl Iterator<Item = (&str, &[u8])> {
    data.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
}

/// Private keys as they lie on people's machines. No passphrase: how long deriving a key takes is the file's to say.
pub(crate) fn key_file(data: &[u8]) {
    let key = MemberSecretKey::from_file(data, None);
    let public = public_half(data);
    if let (Ok(key), Ok(public)) = (key, public) {
        assert!(*key.public() == public, "both are of one key");
    }
}

/// Public keys, ids, suites, challenges and proofs, as people and clients write them.
pub(crate) fn key_texts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(key) = MemberPublicKey::parse(text) {
        let bytes = key.as_bytes();
        let again = match key.kind() {
            MemberKeyKind::Ed25519 => MemberPublicKey::ed25519(bytes),
            MemberKeyKind::X25519 => MemberPublicKey::x25519(bytes),
            MemberKeyKind::XWing => MemberPublicKey::xwing(bytes),
        };
        assert!(again.is_ok_and(|again| again == key), "a key is its bytes");
    }
    if let Ok(id) = VaultId::parse(text) {
        assert_eq!(id.to_string(), text, "one form only");
    }
    if let Ok(kid) = Kid::parse(text) {
        assert_eq!(kid.to_string(), text, "one form only");
    }
    let _ = Suite::parse(text);
    let _ = VaultPublicKey::parse(text);
    let _ = AnswerPublicKey::parse(text);
    let _ = IntakePublicKey::parse("intake/1/1", text);
    let _ = IntakePublicKey::parse(text, "");
    let _ = decode_challenge(text);
    let seed = SecretKey::from_bytes(&[7; 32]);
    let key = MemberSecretKey::from_seed(MemberKeyKind::Ed25519, seed);
    let accepted = Acceptance {
        vault_id: VAULT.keys.vault_id(),
        namespace: "a",
        name: "n",
        uid: "u",
        subject: SubjectRef::User("alice"),
        public_key: key.public(),
    };
    let _ = accepted.verify(text);
}

/// `Connection.spec.sealedData`, decoded.
pub(crate) fn sealed_input(data: &[u8]) {
    let context = InputContext {
        vault_id: VAULT.keys.vault_id(),
        namespace: "team-a",
        connection: "listed",
        owner: "alice",
        item: "token",
    };
    let named = sealed_to(data);
    let opened = VAULT.keys.open_sealed(&context, data);
    assert!(opened.is_err() || named.is_ok(), "what opens names its key");
}

/// `Envelope.spec`: as the operator reads it, and as the broker does for each of its members.
pub(crate) fn envelope(data: &[u8]) {
    let Ok(spec) = serde_json::from_slice::<EnvelopeSpec>(data) else { return };
    let connection = spec.connection.clone();
    if let Ok(open) = VAULT.keys.open_envelope(&connection.namespace, &connection.name, &spec) {
        assert!(open.items().is_ok(), "what is signed was sealed whole");
    }
    for member in &VAULT.keyring.members {
        let place =
            Place { vault_id: VAULT.keys.vault_id(), custodian_key: &VAULT.public, connection: &connection };
        let wrapped = VAULT.wrapped_keys.get(&member.name).map(Vec::as_slice).unwrap_or_default();
        let _ = open_as_brokered(
            &VAULT.branches,
            member,
            wrapped,
            &place,
            &spec,
            None,
            &CheckedSignatures::default(),
        );
    }
}

/// `Keyring.spec`, register included.
pub(crate) fn keyring(data: &[u8]) {
    let Ok(spec) = serde_json::from_slice::<KeyringSpec>(data) else { return };
    let opened = VAULT.custodian.open_keyring(&spec);
    let verified = verify_keyring(&spec, &VAULT.public);
    assert!(opened.is_ok() || verified.is_err() || spec != VAULT.keyring, "the committed one opens");
    if let Ok(keys) = opened {
        for member in keys.members() {
            let wrapped = VAULT.wrapped_keys.get(&member.name).map(Vec::as_slice).unwrap_or_default();
            for key in wrapped {
                let _ = keys.is_wrapped(member, key);
            }
        }
    }
}

/// The data of the Secrets `coffer-root` and `coffer-custodian`, as `{"root": {…}, "custodian": {…}}` with base64.
pub(crate) fn custody(data: &[u8]) {
    let Ok(secrets) = serde_json::from_slice::<BTreeMap<String, BTreeMap<String, String>>>(data) else {
        return;
    };
    let decoded = |name: &str| -> Data {
        let data = secrets.get(name).into_iter().flatten();
        data.map(|(key, text)| (key.clone(), STANDARD.decode(text).unwrap_or_default())).collect()
    };
    let (root, custodian) = (decoded("root"), decoded("custodian"));
    let _ = open_custodian(&VAULT.root, entries(&custodian), entries(&VAULT.brokered));
    if let Ok(root) = RootOfTrust::from_local_secret(entries(&root)) {
        let _ = open_custodian(&root, entries(&custodian), entries(&VAULT.brokered));
    }
}
