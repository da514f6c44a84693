//! Sealed input, compared with what the Envelope holds.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_crds::{
    Connection, EnvelopeSpec,
    conditions::reason,
    limits::{MAX_CONNECTION_BYTES, MAX_ITEM_BYTES, MAX_ITEMS},
};
use coffer_envelope::{Item, KeyringError, OpenEnvelope, OpenKeyring};
use coffer_keys::intake::InputContext;
use kube::ResourceExt as _;
use sha2::{Digest as _, Sha256};

use super::status::Finding;

/// `spec.sealedData`, decoded, beside what the Envelope records of it.
pub(super) struct Input {
    items: BTreeMap<String, Sealed>,
    /// Whether the names are other ones than the Envelope's.
    other_names: bool,
}

struct Sealed {
    bytes: Vec<u8>,
    sha256: [u8; 32],
    /// Whether the Envelope was made from these very bytes.
    known: bool,
}

/// The values that the spec asks for.
pub(super) struct Values {
    /// By item.
    pub(super) items: BTreeMap<String, Item>,
    /// Whether they are other values than the Envelope's.
    pub(super) changed: bool,
}

impl Input {
    /// Decodes the input.
    pub(super) fn read(connection: &Connection, recorded: Option<&EnvelopeSpec>) -> Result<Self, Finding> {
        let data = &connection.spec.sealed_data;
        if data.is_empty() {
            return Err(Finding::kept(reason::NO_ITEMS, "no item: add one under stringData or sealedData"));
        }
        if data.len() > MAX_ITEMS {
            let message = format!("spec.sealedData: {} items; at most {MAX_ITEMS}", data.len());
            return Err(Finding::kept(reason::TOO_LARGE, message));
        }
        let mut items = BTreeMap::new();
        for (name, text) in data {
            let bytes = STANDARD.decode(text).map_err(|_| {
                let message = format!("spec.sealedData[{name}] is not standard base64; seal it again");
                Finding::kept(reason::SEALED_DATA_UNREADABLE, message)
            })?;
            let sha256: [u8; 32] = Sha256::digest(&bytes).into();
            let item = recorded.and_then(|recorded| recorded.items.get(name));
            let known = item.is_some_and(|item| item.sealed_sha256 == STANDARD.encode(sha256));
            items.insert(name.clone(), Sealed { bytes, sha256, known });
        }
        let other_names = recorded.is_none_or(|recorded| !recorded.items.keys().eq(items.keys()));
        Ok(Self { items, other_names })
    }

    /// Whether the sealed bytes are other ones than those recorded.
    pub(super) fn differs(&self) -> bool {
        self.other_names || self.items.values().any(|item| !item.known)
    }

    /// Opens what the Envelope was not made from, and takes everything else from the Envelope: bytes that are known
    /// are not opened again, so that they need not be for the present owner.
    pub(super) fn open(
        &self,
        keys: &OpenKeyring,
        connection: &Connection,
        recorded: Option<&OpenEnvelope<'_, '_>>,
    ) -> Result<Values, Finding> {
        let mut values = Values { items: BTreeMap::new(), changed: recorded.is_none() || self.other_names };
        if !self.differs() {
            return Ok(values);
        }
        let (namespace, name) = (connection.namespace().unwrap_or_default(), connection.name_any());
        let owner = connection.spec.owner.as_deref().unwrap_or_default();
        let mut total = 0;
        for (item, sealed) in &self.items {
            let held = recorded.filter(|recorded| recorded.spec().items.contains_key(item));
            let held = held.map(|recorded| recorded.item(item)).transpose().map_err(|error| {
                Finding::kept(reason::ENVELOPE_INVALID, format!("item '{item}': {error}"))
            })?;
            let value = match held {
                Some(held) if sealed.known => held,
                held => {
                    let context = InputContext {
                        vault_id: keys.vault_id(),
                        namespace: &namespace,
                        connection: &name,
                        owner,
                        item,
                    };
                    let opened = keys
                        .open_sealed(&context, &sealed.bytes)
                        .map_err(|error| unreadable(item, owner, &error))?;
                    values.changed |= held.is_none_or(|held| !held.equals(&opened));
                    opened
                }
            };
            total += value.len();
            if value.len() > MAX_ITEM_BYTES || total > MAX_CONNECTION_BYTES {
                let message = format!(
                    "item '{item}' makes it {total} bytes; at most {MAX_ITEM_BYTES} an item and {MAX_CONNECTION_BYTES} in all"
                );
                return Err(Finding::kept(reason::TOO_LARGE, message));
            }
            values.items.insert(item.clone(), Item { value, sealed_sha256: sealed.sha256 });
        }
        Ok(values)
    }
}

fn unreadable(item: &str, owner: &str, error: &KeyringError) -> Finding {
    if let KeyringError::UnknownGeneration { generation, .. } = error {
        let message = format!(
            "spec.sealedData[{item}] is sealed to custodian root generation {generation}, which this installation does not \
             hold: seal it again, or put generation-{generation} back into Secret coffer-custodian from a backup"
        );
        return Finding::kept(reason::SEALED_DATA_UNREADABLE, message);
    }
    let message = format!(
        "spec.sealedData[{item}] does not open: it was sealed for another vault, namespace, name, owner than '{owner}' \
         or item, or it is damaged; seal it again"
    );
    Finding::kept(reason::SEALED_DATA_UNREADABLE, message)
}
