//! One vault that tests share: three members with keys of their own, three Brokered ones; two of the six are
//! restricted by the globs of their role.
#![allow(dead_code, reason = "each test file uses its part of the story")]

#[path = "../../../keys/src/drbg.rs"]
mod drbg;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use coffer_crds::{
    AllMembers, Author, Custody, EnvelopeConnection, EnvelopeMember, EnvelopeScope, EnvelopeSpec, EpochCause,
    NamedSubject, RegisteredMember, ServiceAccountSubject, Subject, WrappedVaultKey,
};
use coffer_envelope::custody::{BROKERED_SECRET, CUSTODIAN_SECRET, RootOfTrust, seal_secrets};
use coffer_envelope::{
    Access, Custodian, Item, NewEnvelope, OpenKeyring, Place, Recipient, key_hash, listed_scope,
};
use coffer_keys::intake::InputContext;
use coffer_keys::member_key::{MemberKeyKind, MemberSecretKey};
use coffer_keys::signature::VaultPublicKey;
use coffer_keys::{SecretBytes, SecretKey, VaultId};
pub(crate) use drbg::Drbg;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Everybody in the register, sorted.
pub(crate) const EVERYBODY: [&str; 6] = ["alice", "bob", "carol", "ci", "intern", "web"];
/// Whose role covers only some Connections.
pub(crate) const RESTRICTED: [&str; 2] = ["carol", "ci"];

/// The data of a Secret.
pub(crate) type SecretData = BTreeMap<String, Vec<u8>>;

/// A key of a member's own.
pub(crate) struct Secret {
    pub(crate) key: MemberSecretKey,
    pub(crate) seed: String,
}

/// A vault and everything around it.
pub(crate) struct Vault {
    pub(crate) rng: Drbg,
    pub(crate) root: RootOfTrust,
    pub(crate) custodian: Custodian,
    pub(crate) keyring: OpenKeyring,
    pub(crate) secrets: BTreeMap<String, Secret>,
    pub(crate) wrapped: BTreeMap<String, Vec<WrappedVaultKey>>,
}

/// Whom a Connection is for.
#[derive(Clone, Copy)]
pub(crate) enum Scope<'a> {
    All,
    Listed(&'a [&'a str]),
}

impl Vault {
    pub(crate) fn new(label: &'static str) -> Self {
        let mut rng = Drbg::new(label);
        let root = RootOfTrust::generate_local(&mut rng);
        let custodian = Custodian::generate(&mut rng);
        let vault_id = VaultId::generate(&mut rng);
        let keyring = custodian.new_keyring(vault_id, &uid("vault"), now(), &mut rng);
        let mut vault =
            Self { rng, root, custodian, keyring, secrets: BTreeMap::new(), wrapped: BTreeMap::new() };
        for name in EVERYBODY {
            vault.join(name);
        }
        vault
    }

    fn join(&mut self, name: &str) {
        let kind = match name {
            "alice" => Some(MemberKeyKind::Ed25519),
            "bob" => Some(MemberKeyKind::X25519),
            "carol" => Some(MemberKeyKind::XWing),
            _ => None,
        };
        let mut member = registered(name);
        if let Some(kind) = kind {
            let seed = SecretKey::generate(&mut self.rng);
            let text = seed.expose().iter().map(|byte| format!("{byte:02x}")).collect();
            let key = MemberSecretKey::from_seed(kind, seed);
            member.custody = Custody::Own;
            member.key_hash = Some(key_hash(key.public()));
            member.subject = Subject::User(NamedSubject { name: format!("{name}@example.com") });
            member.subject_uid = None;
            self.secrets.insert(name.to_owned(), Secret { key, seed: text });
        }
        self.keyring.register(member).unwrap();
        if !RESTRICTED.contains(&name) {
            self.wrap_vault_key(name, self.keyring.current());
        }
    }

    pub(crate) fn wrap_vault_key(&mut self, name: &str, epoch: i64) {
        let member = self.keyring.member(name).unwrap();
        let key = self.secrets.get(name).map(|secret| secret.key.public());
        let wrapped = self.keyring.wrap_vault_key(member, key, epoch, &mut self.rng).unwrap();
        self.wrapped.entry(name.to_owned()).or_default().push(wrapped);
    }

    /// A new epoch for everybody but `intern`.
    pub(crate) fn turn_over(&mut self) {
        let intern = EnvelopeMember { name: "intern".into(), uid: uid("intern") };
        let causes = [
            EpochCause { reason: "MemberSuspended".into(), member: Some(intern) },
            EpochCause { reason: "Requested".into(), member: None },
        ];
        let epoch = self.keyring.add_epoch(causes, now(), &mut self.rng);
        self.begin(epoch);
    }

    /// The same after a restore, which the vault's members outlived.
    pub(crate) fn restore(&mut self) {
        let intern = EnvelopeMember { name: "intern".into(), uid: uid("intern") };
        let causes = [
            EpochCause { reason: "MemberSuspended".into(), member: Some(intern) },
            EpochCause { reason: "Restored".into(), member: None },
        ];
        let epoch = self.keyring.adopt(&uid("vault"), causes, now(), &mut self.rng);
        self.begin(epoch);
    }

    fn begin(&mut self, epoch: i64) {
        for name in EVERYBODY {
            if !RESTRICTED.contains(&name) && name != "intern" {
                self.wrap_vault_key(name, epoch);
            }
        }
        self.keyring.set_current(epoch).unwrap();
    }

    pub(crate) fn recipient<'a>(&'a self, name: &str) -> Recipient<'a> {
        Recipient {
            member: self.keyring.member(name).unwrap(),
            key: self.secrets.get(name).map(|secret| secret.key.public()),
        }
    }

    pub(crate) fn access<'a>(&'a self, scope: Scope<'_>, slots: &[&str]) -> Access<'a> {
        let member = |name: &&str| EnvelopeMember { name: (*name).to_owned(), uid: uid(name) };
        Access {
            owner: EnvelopeMember { name: "alice".into(), uid: uid("alice") },
            scope: match scope {
                Scope::All => EnvelopeScope::All(AllMembers {}),
                Scope::Listed(names) => listed_scope(names.iter().map(member)).unwrap(),
            },
            recipients: slots.iter().map(|name| self.recipient(name)).collect(),
        }
    }

    pub(crate) fn items(name: &str) -> BTreeMap<String, Item> {
        let values = values(name).into_iter();
        values
            .map(|(item, value)| {
                let value = SecretBytes::new(STANDARD.decode(value).unwrap());
                (item, Item { value, sealed_sha256: [9; 32] })
            })
            .collect()
    }

    pub(crate) fn seal(&mut self, name: &str, scope: Scope<'_>, slots: &[&str]) -> EnvelopeSpec {
        let mut rng = std::mem::replace(&mut self.rng, Drbg::new("in use"));
        let new = NewEnvelope {
            connection: connection(name),
            version: 3,
            created_by: "alice@example.com".into(),
            writer: author(),
            now: now(),
            access: self.access(scope, slots),
            items: Self::items(name),
        };
        let sealed = self.keyring.seal_envelope(new, &mut rng).unwrap();
        self.rng = rng;
        sealed
    }

    pub(crate) fn input(&mut self, connection: &str, owner: &str, item: &str, value: &[u8]) -> Vec<u8> {
        let key = self.keyring.intake_key().unwrap();
        let vault_id = self.keyring.vault_id();
        let key = coffer_envelope::intake_public_key(&vault_id, self.keyring.public_key(), &key).unwrap();
        key.seal(
            &InputContext { vault_id, namespace: "team-a", connection, owner, item },
            value,
            &mut self.rng,
        )
    }

    pub(crate) fn custody_secrets(&mut self) -> (BTreeMap<String, String>, BTreeMap<String, SecretData>) {
        let sealed = seal_secrets(&self.custodian, &self.root, &mut self.rng).unwrap();
        let root = self.root.local_secret();
        (
            root.iter().map(|(name, key)| ((*name).to_owned(), STANDARD.encode(key.expose()))).collect(),
            BTreeMap::from([
                (CUSTODIAN_SECRET.to_owned(), sealed.custodian),
                (BROKERED_SECRET.to_owned(), sealed.brokered),
            ]),
        )
    }

    pub(crate) fn place<'a>(
        &'a self,
        connection: &'a EnvelopeConnection,
        key: &'a VaultPublicKey,
    ) -> Place<'a> {
        Place { vault_id: self.keyring.vault_id(), custodian_key: key, connection }
    }
}

/// The values of a Connection, in base64.
pub(crate) fn values(name: &str) -> BTreeMap<String, String> {
    let token = STANDARD.encode(format!("value of {name}"));
    BTreeMap::from([("empty".into(), String::new()), ("token".into(), token)])
}

pub(crate) fn registered(name: &str) -> RegisteredMember {
    RegisteredMember {
        name: name.into(),
        uid: uid(name),
        subject: Subject::ServiceAccount(ServiceAccountSubject {
            namespace: Some("team-a".into()),
            name: name.into(),
        }),
        subject_uid: Some(uid(&format!("account of {name}"))),
        role: "member".into(),
        custody: Custody::Brokered,
        key_hash: None,
        accepted_at: now().into(),
        former_uids: if name == "ci" { vec![uid("ci of old")] } else { Vec::new() },
    }
}

pub(crate) fn connection(name: &str) -> EnvelopeConnection {
    EnvelopeConnection {
        namespace: "team-a".into(),
        name: name.into(),
        uid: uid(&format!("connection {name}")),
    }
}

pub(crate) fn author() -> Author {
    Author {
        username: "alice@example.com".into(),
        uid: None,
        groups: vec!["developers".into(), "system:authenticated".into()],
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_767_323_045).unwrap()
}

/// Looks like an object's uid and is the same for the same name.
pub(crate) fn uid(name: &str) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}-0000-4000-8000-000000000000")
}

pub(crate) fn secret(kind: &str, seed: SecretKey) -> MemberSecretKey {
    let kinds = [MemberKeyKind::Ed25519, MemberKeyKind::X25519, MemberKeyKind::XWing];
    MemberSecretKey::from_seed(kinds.into_iter().find(|known| known.as_str() == kind).unwrap(), seed)
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

pub(crate) fn data(map: &SecretData) -> impl Iterator<Item = (&str, &[u8])> {
    map.iter().map(|(key, value)| (key.as_str(), value.as_slice()))
}
