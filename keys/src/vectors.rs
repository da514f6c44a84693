//! The committed vectors: `vectors/rust.json` is made here and opened by the Go program in `interop/`,
//! `vectors/go.json` is made there and opened here. Neither side needs the other to run its half.
#![allow(clippy::unwrap_used, reason = "a vector that cannot be read fails its test")]

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

mod check;
mod make;

/// A file of vectors.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    made_by: String,
    cases: Vec<Case>,
}

/// One vector. Bytes are hexadecimal, public keys and proofs as the API writes them.
#[derive(Serialize, Deserialize)]
#[serde(tag = "case", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
enum Case {
    /// A derivation of the hierarchy.
    Derive {
        label: String,
        key: String,
        vault_id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        generation: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        member: Option<Member>,
        derived: String,
    },
    /// A wrap and what opens it: a symmetric key, or the secret of a member's key.
    Wrap {
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        secret: Option<Secret>,
        context: Box<Context>,
        wrap: Wrap,
        plaintext: String,
    },
    /// The commitment to a data key.
    Commitment { data_key: String, commitment: String },
    /// An item under a data key.
    Item { data_key: String, context: Box<Context>, ct: String, plaintext: String },
    /// The digest of a scope; no list is `*`.
    Digest {
        #[serde(skip_serializing_if = "Option::is_none")]
        members: Option<Vec<(String, String)>>,
        digest: String,
    },
    /// A signature over values.
    Signature {
        kind: String,
        seed: String,
        public_key: String,
        values: Vec<Value>,
        message: String,
        signature: String,
    },
    /// Sealed input, and the intake key's seed.
    Input { seed: String, public_key: String, context: Box<Context>, sealed: String, plaintext: String },
    /// An answer, and the seed of the request's one-time key.
    Answer { seed: String, public_key: String, context: Box<Context>, sealed: String, plaintext: String },
    /// A member's public key as it may be written; without bytes it is refused.
    PublicKey {
        text: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        kind: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        bytes: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        fingerprint: Option<String>,
    },
    /// An acceptance, signed or answered.
    Acceptance {
        vault_id: String,
        namespace: String,
        member: Member,
        secret: Secret,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        custodian_key: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        challenge: Option<String>,
        proof: String,
    },
}

/// A member as keys and proofs are derived from it. The subject is its kind and the kind's fields.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Member {
    name: String,
    uid: String,
    subject: Vec<String>,
    #[serde(default)]
    subject_uid: String,
}

/// A member's private key.
#[derive(Serialize, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Secret {
    kind: String,
    seed: String,
}

/// A wrap with its bytes in hexadecimal.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrap {
    v: u64,
    suite: String,
    kid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enc: Option<String>,
    ct: String,
}

/// A value of a signed message.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Value {
    Bytes(String),
    Text(String),
    Number(u64),
    Time(i64),
    /// Optional bytes; absent is `null`.
    Optional(Option<String>),
    Wrap(Wrap),
}

/// The fields of a context; which there are follows from the purpose.
#[derive(Serialize, Deserialize, Clone, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Context {
    purpose: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    vault_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    members_digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commitment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    door: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_sha256: Option<String>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "hexadecimal digits come in pairs");
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name)
}

/// The formats are frozen: what is made today is what was committed. `COFFER_WRITE_VECTORS=1` writes the file anew.
#[test]
fn the_committed_vectors_of_rust_are_what_is_made_today() {
    let made =
        serde_json::to_string_pretty(&File { made_by: "coffer-keys (Rust)".into(), cases: make::cases() })
            .unwrap()
            + "\n";
    if std::env::var_os("COFFER_WRITE_VECTORS").is_some() {
        std::fs::write(path("rust.json"), &made).unwrap();
    }
    let committed = std::fs::read_to_string(path("rust.json")).unwrap();
    assert!(made == committed, "a format changed: nothing that is stored anywhere would open any more");
}

#[test]
fn rust_opens_its_own_vectors() {
    check_file("rust.json");
}

/// Made by the independent implementation in Go.
#[test]
fn rust_opens_the_vectors_made_by_go() {
    check_file("go.json");
}

fn check_file(name: &str) {
    let file: File = serde_json::from_str(&std::fs::read_to_string(path(name)).unwrap()).unwrap();
    let mut kinds = std::collections::BTreeSet::new();
    for (number, case) in file.cases.iter().enumerate() {
        kinds.insert(check::case(case, &format!("{name}, case {number}")));
    }
    assert_eq!(kinds.len(), 10, "{name} has vectors of every kind: {kinds:?}");
}
