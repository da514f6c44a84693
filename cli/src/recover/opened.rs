//! What a member's own key opens of a vault that was saved.

use std::collections::BTreeMap;

use coffer_crds::{
    Connection, Envelope, EnvelopeConnection, EnvelopeScope, EnvelopeSpec, Keyring, MemberPhase,
    RegisteredMember, Subject, Vault, VaultMember,
};
use coffer_envelope::{
    EnvelopeError, OpenedItems, Place, SelfMember, key_hash, open_as_self, verify_keyring,
};
use coffer_keys::{VaultId, member_key::MemberSecretKey, signature::VaultPublicKey};
use coffer_policy::roles::OWNER;
use kube::ResourceExt as _;

use crate::{
    Failure,
    backup::file::Backup,
    decision::is_of,
    pins::{Pin, Pins},
};

/// One vault of a backup.
pub(super) struct Saved<'a> {
    pub(super) vault: &'a Vault,
    pub(super) keyring: &'a Keyring,
    pub(super) connections: Vec<&'a Connection>,
    envelopes: BTreeMap<(String, String), &'a Envelope>,
    members: Vec<&'a VaultMember>,
}

/// A credential that opened.
pub(super) struct Credential {
    pub(super) connection: Connection,
    /// Whom it was for, as the vault's own key has signed it.
    pub(super) members: Vec<String>,
    pub(super) values: OpenedItems,
}

impl Credential {
    pub(super) fn place(&self) -> String {
        place(&self.connection)
    }
}

/// What came of it.
pub(super) struct Opened {
    /// The member that the key is.
    pub(super) member: String,
    /// Whether the vault's own key was known on this machine, so that nobody can have made this up.
    pub(super) is_pinned: bool,
    pub(super) credentials: Vec<Credential>,
    /// Where the others are, and why they do not open.
    pub(super) closed: Vec<(String, String)>,
}

fn place(connection: &Connection) -> String {
    format!("{}/{}", connection.namespace().unwrap_or_default(), connection.name_any())
}

impl<'a> Saved<'a> {
    /// The vault of that name, or the only one.
    pub(super) fn find(backup: &'a Backup, wanted: Option<&str>) -> Result<Self, Failure> {
        let named = |vault: &&Vault| wanted.is_none_or(|wanted| vault.name_any() == wanted);
        let vaults: Vec<&Vault> = backup.vaults.iter().filter(named).collect();
        let vault = match vaults.as_slice() {
            [vault] => *vault,
            [] => {
                let wanted = wanted.unwrap_or_default();
                return Err(Failure::NotFound(format!("the backup holds no vault '{wanted}'")));
            }
            several => {
                let names: Vec<_> = several
                    .iter()
                    .map(|vault| format!("{}/{}", vault.namespace().unwrap_or_default(), vault.name_any()))
                    .collect();
                return Err(Failure::Usage(format!(
                    "the backup holds several vaults ({}): say which, as NAME and -n NAMESPACE",
                    names.join(", ")
                )));
            }
        };
        let (name, namespace) = (vault.name_any(), vault.namespace());
        let keyring = backup.keyring(vault).ok_or_else(|| {
            Failure::NotFound(format!(
                "the backup holds no Keyring of vault '{name}': nothing opens without it"
            ))
        })?;
        let members = backup.members.iter();
        Ok(Self {
            vault,
            keyring,
            connections: backup.connections.iter().filter(|connection| is_of(connection, vault)).collect(),
            envelopes: backup
                .envelopes
                .iter()
                .map(|envelope| ((envelope.namespace().unwrap_or_default(), envelope.name_any()), envelope))
                .collect(),
            members: members
                .filter(|member| member.spec.vault == name && member.namespace() == namespace)
                .collect(),
        })
    }

    pub(super) fn namespace(&self) -> String {
        self.vault.namespace().unwrap_or_default()
    }

    /// The VaultMember of that name.
    pub(super) fn member(&self, name: &str) -> Option<&'a VaultMember> {
        self.members.iter().copied().find(|member| member.name_any() == name)
    }

    /// The owners by the register, which the vault's own key has signed.
    pub(super) fn owners(&self) -> Vec<&'a Subject> {
        let owners = self.keyring.spec.members.iter().filter(|entry| entry.role == OWNER);
        owners.filter(|entry| self.is_in_force(entry)).map(|entry| &entry.subject).collect()
    }

    /// Whether a member was neither suspended nor over when the backup was made.
    pub(super) fn is_in_force(&self, entry: &RegisteredMember) -> bool {
        self.member(&entry.name).is_some_and(|member| {
            let phase = member.status.as_ref().and_then(|status| status.phase);
            !member.spec.suspended && phase == Some(MemberPhase::Active)
        })
    }

    /// Opens everything that this key opens. The vault's own key must vouch for the register and for each Envelope.
    pub(super) fn open(&self, pins: &Pins, key: &MemberSecretKey) -> Result<Opened, Failure> {
        let status = self.vault.status.clone().unwrap_or_default();
        let missing = || {
            Failure::NotFound(String::from(
                "the backup lacks status.custodianKey of the Vault: kubectl coffer backup keeps it",
            ))
        };
        let text = status.custodian_key.ok_or_else(missing)?;
        let custodian_key = VaultPublicKey::parse(&text)
            .map_err(|error| Failure::Usage(format!("status.custodianKey of the Vault: {error}")))?;
        let vault_id = VaultId::parse(&self.keyring.spec.vault_id)
            .map_err(|error| Failure::Usage(format!("spec.vaultID of the Keyring: {error}")))?;
        verify_keyring(&self.keyring.spec, &custodian_key).map_err(|error| {
            Failure::Conflict(format!("the vault's own key does not vouch for its Keyring: {error}"))
        })?;
        let seen = Pin {
            server: String::new(),
            namespace: self.namespace(),
            vault: self.vault.name_any(),
            vault_id: vault_id.to_string(),
            custodian_key: text,
        };
        let entry = self.entry(key)?;
        let wrapped = self.member(&entry.name).and_then(|member| member.status.clone()).unwrap_or_default();
        let member = SelfMember { name: &entry.name, uid: &entry.uid, key };
        let mut opened = Opened {
            member: entry.name.clone(),
            is_pinned: pins.knows(&seen),
            credentials: Vec::new(),
            closed: Vec::new(),
        };
        for connection in &self.connections {
            let at = (connection.namespace().unwrap_or_default(), connection.name_any());
            let Some(envelope) = self.envelopes.get(&at) else {
                opened.closed.push((place(connection), String::from("the backup holds no Envelope of it")));
                continue;
            };
            // Where it lies is what is asked about; only the uid is the one that it names.
            let (namespace, name) = at;
            let uid = envelope.spec.connection.uid.clone();
            let connection_at = EnvelopeConnection { namespace, name, uid };
            let there = Place { vault_id, custodian_key: &custodian_key, connection: &connection_at };
            match open_as_self(&member, &wrapped.wrapped_keys, &there, &envelope.spec, None) {
                Ok(values) => {
                    let connection = Connection::clone(connection);
                    let members = scope_of(&envelope.spec);
                    opened.credentials.push(Credential { connection, members, values });
                }
                Err(error) => opened.closed.push((place(connection), why(&error))),
            }
        }
        Ok(opened)
    }

    /// The member of the register whose key this is.
    fn entry(&self, key: &MemberSecretKey) -> Result<&'a RegisteredMember, Failure> {
        let hash = key_hash(key.public());
        let mut members = self.keyring.spec.members.iter();
        members.find(|entry| entry.key_hash.as_deref() == Some(hash.as_str())).ok_or_else(|| {
            Failure::Denied(format!(
                "key {} is no member's of vault '{}': only who brought a key of their own can save what it opens",
                key.public().fingerprint(),
                self.vault.name_any()
            ))
        })
    }
}

fn scope_of(envelope: &EnvelopeSpec) -> Vec<String> {
    match &envelope.members {
        EnvelopeScope::All(_) => vec![String::from("*")],
        EnvelopeScope::Listed(members) => members.iter().map(|member| member.name.clone()).collect(),
    }
}

fn why(error: &EnvelopeError) -> String {
    match error {
        EnvelopeError::OutsideScope | EnvelopeError::NoSlot => String::from("it is not for this member"),
        EnvelopeError::Malformed(_)
        | EnvelopeError::Displaced
        | EnvelopeError::UnknownGeneration(_)
        | EnvelopeError::UnknownRoot(_)
        | EnvelopeError::NoSuchItem(_)
        | EnvelopeError::Open(_) => error.to_string(),
    }
}
