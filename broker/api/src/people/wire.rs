//! The JSON of an answer. Values are base64, decoded while they are read, so that their text is never copied.

use super::{Answer, Delivered, NotOpened, WrappedConnection};
use crate::{
    VERSION,
    released::{ReleasedConnection, WireItems, WireValueIn},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_crds::{EnvelopeMember, EnvelopeSpec, WrappedVaultKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

pub(super) fn decode_base64(text: &str) -> Result<Vec<u8>, NotOpened> {
    STANDARD.decode(text).map_err(|_| NotOpened::DoesNotOpen)
}

pub(super) fn encode(answer: &Answer) -> Zeroizing<Vec<u8>> {
    let wire = Out {
        v: VERSION,
        code: answer.code,
        message: &answer.message,
        retry_after_seconds: answer.retry_after_seconds,
        connections: answer.connections.iter().map(ConnectionOut::from).collect(),
    };
    // Room for everything at once: a vector that grows leaves copies behind that nobody erases.
    let mut out = Zeroizing::new(Vec::with_capacity(bound_of(answer)));
    serde_json::to_writer(&mut *out, &wire).expect("strings and numbers always serialize into memory");
    out
}

/// Never less than the length of the JSON.
pub(super) fn bound_of(answer: &Answer) -> usize {
    let connection = |delivered: &Delivered| match delivered {
        Delivered::Items(released) => released.encoded_bound(),
        Delivered::Wrapped(wrapped) => 1 + wrapped.encoded_len(),
    };
    160 + 6 * answer.message.len() + answer.connections.iter().map(connection).sum::<usize>()
}

impl WrappedConnection {
    /// The length of its JSON.
    fn encoded_len(&self) -> usize {
        serde_json::to_vec(&ConnectionOut::from(self)).map_or(0, |json| json.len())
    }
}

pub(super) fn decode(plaintext: &[u8]) -> Result<Answer, NotOpened> {
    let wire: In = serde_json::from_slice(plaintext).map_err(|_| NotOpened::Malformed)?;
    if wire.v != VERSION {
        return Err(NotOpened::Malformed);
    }
    let connections = wire.connections.into_iter().map(ConnectionIn::into_delivered);
    Ok(Answer {
        code: wire.code,
        message: wire.message,
        retry_after_seconds: wire.retry_after_seconds,
        connections: connections.collect::<Option<_>>().ok_or(NotOpened::Malformed)?,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Out<'a> {
    v: u32,
    code: u16,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
    connections: Vec<ConnectionOut<'a>>,
}

#[derive(Serialize)]
struct ConnectionOut<'a> {
    namespace: &'a str,
    name: &'a str,
    alias: &'a str,
    #[serde(rename = "type")]
    type_: &'a str,
    version: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<WireItems<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wrapped: Option<WrappedOut<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrappedOut<'a> {
    connection_uid: &'a str,
    member: &'a EnvelopeMember,
    #[serde(rename = "vaultID")]
    vault_id: &'a str,
    custodian_key: &'a str,
    wrapped_keys: &'a [WrappedVaultKey],
    envelope: &'a EnvelopeSpec,
    items: &'a [String],
}

impl<'a> From<&'a Delivered> for ConnectionOut<'a> {
    fn from(delivered: &'a Delivered) -> Self {
        match delivered {
            Delivered::Items(released) => Self::from(released),
            Delivered::Wrapped(wrapped) => Self::from(wrapped.as_ref()),
        }
    }
}

impl<'a> From<&'a ReleasedConnection> for ConnectionOut<'a> {
    fn from(released: &'a ReleasedConnection) -> Self {
        Self {
            namespace: &released.namespace,
            name: &released.name,
            alias: &released.alias,
            type_: &released.type_,
            version: released.version,
            items: Some(WireItems(&released.items)),
            wrapped: None,
        }
    }
}

impl<'a> From<&'a WrappedConnection> for ConnectionOut<'a> {
    fn from(wrapped: &'a WrappedConnection) -> Self {
        Self {
            namespace: &wrapped.connection.namespace,
            name: &wrapped.connection.name,
            alias: &wrapped.alias,
            type_: &wrapped.type_,
            version: wrapped.envelope.version,
            items: None,
            wrapped: Some(WrappedOut {
                connection_uid: &wrapped.connection.uid,
                member: &wrapped.member,
                vault_id: &wrapped.vault_id,
                custodian_key: &wrapped.custodian_key,
                wrapped_keys: &wrapped.wrapped_keys,
                envelope: &wrapped.envelope,
                items: &wrapped.items,
            }),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct In {
    v: u32,
    code: u16,
    message: String,
    #[serde(default)]
    retry_after_seconds: Option<u64>,
    connections: Vec<ConnectionIn>,
}

#[derive(Deserialize)]
struct ConnectionIn {
    namespace: String,
    name: String,
    alias: String,
    #[serde(rename = "type")]
    type_: String,
    version: i64,
    #[serde(default)]
    items: Option<BTreeMap<String, WireValueIn>>,
    #[serde(default)]
    wrapped: Option<Box<WrappedIn>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrappedIn {
    connection_uid: String,
    member: EnvelopeMember,
    #[serde(rename = "vaultID")]
    vault_id: String,
    custodian_key: String,
    wrapped_keys: Vec<WrappedVaultKey>,
    envelope: EnvelopeSpec,
    items: Vec<String>,
}

impl ConnectionIn {
    /// `None` when it is both, or neither.
    fn into_delivered(self) -> Option<Delivered> {
        match (self.items, self.wrapped) {
            (Some(items), None) => Some(Delivered::Items(ReleasedConnection {
                namespace: self.namespace,
                name: self.name,
                alias: self.alias,
                type_: self.type_,
                version: self.version,
                items: items.into_iter().map(|(name, value)| (name, value.0)).collect(),
            })),
            (None, Some(wrapped)) => {
                let wrapped = *wrapped;
                Some(Delivered::Wrapped(Box::new(WrappedConnection {
                    connection: coffer_crds::EnvelopeConnection {
                        namespace: self.namespace,
                        name: self.name,
                        uid: wrapped.connection_uid,
                    },
                    alias: self.alias,
                    type_: self.type_,
                    member: wrapped.member,
                    vault_id: wrapped.vault_id,
                    custodian_key: wrapped.custodian_key,
                    wrapped_keys: wrapped.wrapped_keys,
                    envelope: wrapped.envelope,
                    items: wrapped.items,
                })))
            }
            (Some(_), Some(_)) | (None, None) => None,
        }
    }
}
