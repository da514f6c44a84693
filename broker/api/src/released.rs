//! What a sealed answer opens to.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize, de, ser::SerializeMap as _};
use std::{collections::BTreeMap, fmt};
use zeroize::Zeroizing;

/// The credentials of one answer, in the request's order. Holds plaintext: no `Debug`, no `Serialize`; it
/// travels only through [`Released::encode`] and a seal.
#[derive(Clone, PartialEq, Eq)]
pub struct Released {
    /// One per entry of the request's `connections`.
    pub connections: Vec<ReleasedConnection>,
}

/// One Connection's values. Holds plaintext: no `Debug`, no `Serialize`.
#[derive(Clone, PartialEq, Eq)]
pub struct ReleasedConnection {
    /// The Connection's namespace.
    pub namespace: String,
    /// Its `metadata.name`.
    pub name: String,
    /// Its alias: the folder's name under `/coffer`.
    pub alias: String,
    /// Its `spec.type`, as in the manifest (`opaque`, `api-key`, …).
    pub type_: String,
    /// Counts the values of this Connection; a higher one is newer.
    pub version: i64,
    /// Item name to value.
    pub items: BTreeMap<String, ItemValue>,
}

/// The value of one item: any bytes, erased from memory when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ItemValue(Zeroizing<Vec<u8>>);

impl ItemValue {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the one place that writes them where they belong.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// An opened answer is not of this protocol. Says no more: the bytes are credentials.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
#[error("the opened answer is not of this protocol's form")]
pub struct MalformedAnswer;

impl Released {
    /// The bytes to seal: `{"connections":[{"namespace","name","alias","type","version","items":{k: base64}}]}`.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        // Room for everything at once: a vector that grows leaves copies behind that nobody erases.
        let mut out = Zeroizing::new(Vec::with_capacity(self.encoded_bound()));
        let wire = WireOut { connections: self.connections.iter().map(WireConnectionOut::from).collect() };
        serde_json::to_writer(&mut *out, &wire).expect("strings and numbers always serialize into memory");
        out
    }

    /// Reads [`Released::encode`]'s bytes.
    ///
    /// # Errors
    /// [`MalformedAnswer`], without a word about the content.
    pub fn decode(plaintext: &[u8]) -> Result<Self, MalformedAnswer> {
        let wire: WireIn = serde_json::from_slice(plaintext).map_err(|_| MalformedAnswer)?;
        Ok(Self {
            connections: wire.connections.into_iter().map(WireConnectionIn::into_connection).collect(),
        })
    }

    /// The sum of all items in bytes, as [`crate::MAX_RELEASED_BYTES`] counts.
    pub fn size(&self) -> usize {
        self.connections.iter().flat_map(|c| c.items.values()).map(|value| value.expose().len()).sum()
    }

    /// Never less than the length of [`Released::encode`]: every byte of text may need six as `\u00xx`.
    fn encoded_bound(&self) -> usize {
        64 + self.connections.iter().map(ReleasedConnection::encoded_bound).sum::<usize>()
    }
}

impl ReleasedConnection {
    /// Never less than the length of its JSON.
    pub(crate) fn encoded_bound(&self) -> usize {
        let texts = self.namespace.len() + self.name.len() + self.alias.len() + self.type_.len();
        let items = self.items.iter().map(|(name, value)| item_bound(name.len(), value.expose().len()));
        6 * texts + items.sum::<usize>() + 160
    }
}

/// Never less than the length of one item in JSON, from the lengths of its name and of its value.
pub fn item_bound(name: usize, value: usize) -> usize {
    6 * name + 16 + value.div_ceil(3) * 4
}

#[derive(Serialize)]
struct WireOut<'a> {
    connections: Vec<WireConnectionOut<'a>>,
}

#[derive(Serialize)]
struct WireConnectionOut<'a> {
    namespace: &'a str,
    name: &'a str,
    alias: &'a str,
    #[serde(rename = "type")]
    type_: &'a str,
    version: i64,
    items: WireItems<'a>,
}

impl<'a> From<&'a ReleasedConnection> for WireConnectionOut<'a> {
    fn from(c: &'a ReleasedConnection) -> Self {
        Self {
            namespace: &c.namespace,
            name: &c.name,
            alias: &c.alias,
            type_: &c.type_,
            version: c.version,
            items: WireItems(&c.items),
        }
    }
}

pub(crate) struct WireItems<'a>(pub(crate) &'a BTreeMap<String, ItemValue>);

impl Serialize for WireItems<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(name, Zeroizing::new(STANDARD.encode(value.expose())).as_str())?;
        }
        map.end()
    }
}

#[derive(Deserialize)]
struct WireIn {
    connections: Vec<WireConnectionIn>,
}

#[derive(Deserialize)]
struct WireConnectionIn {
    namespace: String,
    name: String,
    alias: String,
    #[serde(rename = "type")]
    type_: String,
    version: i64,
    items: BTreeMap<String, WireValueIn>,
}

impl WireConnectionIn {
    fn into_connection(self) -> ReleasedConnection {
        ReleasedConnection {
            namespace: self.namespace,
            name: self.name,
            alias: self.alias,
            type_: self.type_,
            version: self.version,
            items: self.items.into_iter().map(|(name, value)| (name, value.0)).collect(),
        }
    }
}

/// Decoded while it is read, so that the base64 text is never copied.
pub(crate) struct WireValueIn(pub(crate) ItemValue);

impl<'de> Deserialize<'de> for WireValueIn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64;
        impl de::Visitor<'_> for Base64 {
            type Value = WireValueIn;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<WireValueIn, E> {
                STANDARD
                    .decode(text)
                    .map(ItemValue::new)
                    .map(WireValueIn)
                    .map_err(|_| E::custom("not base64"))
            }
        }
        deserializer.deserialize_str(Base64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn released(items: BTreeMap<String, Vec<u8>>, text: &str) -> Released {
        let connection = ReleasedConnection {
            namespace: text.into(),
            name: "github".into(),
            alias: text.into(),
            type_: "opaque".into(),
            version: i64::MAX,
            items: items.into_iter().map(|(name, value)| (name, ItemValue::new(value))).collect(),
        };
        Released { connections: vec![connection.clone(), connection] }
    }

    #[test]
    fn the_encoding_is_frozen() {
        let one = released(BTreeMap::from([("token".to_owned(), b"hi\n".to_vec())]), "a");
        let object = r#"{"namespace":"a","name":"github","alias":"a","type":"opaque","version":9223372036854775807,"items":{"token":"aGkK"}}"#;
        assert_eq!(one.encode().as_slice(), format!(r#"{{"connections":[{object},{object}]}}"#).as_bytes());
        assert_eq!(one.size(), 6);
    }

    #[test]
    fn what_is_not_an_answer_is_refused_without_repeating_it() {
        for bytes in [&b""[..], b"{}", br#"{"connections":[{"items":{"token":"hunter2!"}}]}"#] {
            assert!(matches!(Released::decode(bytes), Err(MalformedAnswer)));
        }
        assert!(!MalformedAnswer.to_string().contains("hunter2"));
    }

    proptest! {
        /// C27: the buffer never grows while it is filled, so no stray copy of a value is left in memory.
        #[test]
        fn encode_then_decode_is_identity_and_fits_its_first_buffer(
            items in proptest::collection::btree_map(".{0,12}", proptest::collection::vec(any::<u8>(), 0..200), 0..6),
            text in ".{0,12}",
        ) {
            let before = released(items, &text);
            let bytes = before.encode();
            prop_assert!(bytes.len() <= before.encoded_bound());
            prop_assert!(Released::decode(&bytes).is_ok_and(|after| after == before));
        }
    }
}
