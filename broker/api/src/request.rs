//! What is asked.

use crate::{MAX_CONNECTIONS, VERSION, lp::put};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// A request for credentials, made for one pod.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ReleaseRequest {
    /// [`VERSION`].
    pub v: u32,
    /// 16 random bytes of the client, as 32 lowercase hexadecimal digits; fresh for every request.
    #[serde(rename = "requestID")]
    pub request_id: String,
    /// What is wanted, in the order in which the answer lists it: `namespace/name`, or an alias or name that is
    /// looked for in the pod's namespace. All or nothing: the first denial in this order answers.
    pub connections: Vec<String>,
    /// The X-Wing public key that the answer is sealed to, standard base64; fresh for every request.
    #[serde(rename = "publicKey")]
    pub public_key: String,
    /// The pod, as the kubelet named it.
    pub pod: PodReference,
}

/// The pod that a request is for. Not an identity: the tokens are, and they must agree with this.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct PodReference {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's uid.
    pub uid: String,
}

/// Why a request is malformed: the field, its problem and the accepted form. Never repeats what was sent.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidRequest {
    /// `v` is of another protocol.
    #[error("v: unknown version; accepted: 1")]
    UnknownVersion,
    /// `requestID` is not 16 bytes in hexadecimal.
    #[error("requestID: must be 32 lowercase hexadecimal digits")]
    MalformedRequestId,
    /// `connections` is empty.
    #[error("connections: must name at least one Connection")]
    NoConnections,
    /// `connections` is longer than [`MAX_CONNECTIONS`].
    #[error("connections: at most {MAX_CONNECTIONS} in one request")]
    TooManyConnections,
    /// An entry of `connections` cannot be a reference.
    #[error("connections[{0}]: must be `namespace/name`, an alias or a name, each of 1 to 64 [A-Za-z0-9_-]")]
    MalformedReference(usize),
    /// An entry of `connections` repeats an earlier one.
    #[error("connections[{0}]: is listed twice")]
    RepeatedReference(usize),
    /// A field of `pod` is empty or too long.
    #[error("pod: namespace, name and uid must be set, each at most 253 characters")]
    MalformedPod,
}

impl ReleaseRequest {
    /// Checks the form of every field but the public key, which only its parser can judge.
    ///
    /// # Errors
    /// The first field that is malformed, in the order of the type.
    pub fn validate(&self) -> Result<(), InvalidRequest> {
        if self.v != VERSION {
            return Err(InvalidRequest::UnknownVersion);
        }
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if self.request_id.len() != 32 || !self.request_id.bytes().all(lower_hex) {
            return Err(InvalidRequest::MalformedRequestId);
        }
        if self.connections.is_empty() {
            return Err(InvalidRequest::NoConnections);
        }
        if self.connections.len() > MAX_CONNECTIONS {
            return Err(InvalidRequest::TooManyConnections);
        }
        let mut seen = BTreeSet::new();
        for (index, reference) in self.connections.iter().enumerate() {
            reference
                .parse::<ConnectionReference>()
                .map_err(|NotAReference| InvalidRequest::MalformedReference(index))?;
            if !seen.insert(reference) {
                return Err(InvalidRequest::RepeatedReference(index));
            }
        }
        let pod = [&self.pod.namespace, &self.pod.name, &self.pod.uid];
        if pod.iter().any(|field| field.is_empty() || field.len() > 253) {
            return Err(InvalidRequest::MalformedPod);
        }
        Ok(())
    }

    /// The bytes whose SHA-256 binds an answer to this request:
    ///
    /// ```text
    /// LP("coffer/v1/release-request") ‖ LP(v, decimal) ‖ LP(requestID)
    ///   ‖ LP(number of connections, decimal) ‖ LP(connection)… ‖ LP(publicKey)
    ///   ‖ LP(pod namespace) ‖ LP(pod name) ‖ LP(pod uid)
    /// ```
    ///
    /// `LP(x)` is the length of `x` in bytes as 32-bit big-endian, then `x`. Every field is the text as it
    /// stands in the JSON, so both sides get the same bytes whatever their JSON encoder does with spaces and
    /// order.
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512 + self.public_key.len());
        put(&mut out, "coffer/v1/release-request");
        put(&mut out, &self.v.to_string());
        put(&mut out, &self.request_id);
        put(&mut out, &self.connections.len().to_string());
        for connection in &self.connections {
            put(&mut out, connection);
        }
        put(&mut out, &self.public_key);
        put(&mut out, &self.pod.namespace);
        put(&mut out, &self.pod.name);
        put(&mut out, &self.pod.uid);
        out
    }
}

/// One entry of [`ReleaseRequest::connections`], parsed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnectionReference {
    /// `namespace/name`: exactly that object.
    Named {
        /// The Connection's namespace.
        namespace: String,
        /// Its `metadata.name`.
        name: String,
    },
    /// A bare word: an alias, else a `metadata.name`.
    Bare(String),
}

/// Not a reference; the position makes it an [`InvalidRequest`].
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
#[error("must be `namespace/name`, an alias or a name, each of 1 to 64 [A-Za-z0-9_-]")]
pub struct NotAReference;

impl FromStr for ConnectionReference {
    type Err = NotAReference;

    fn from_str(text: &str) -> Result<Self, NotAReference> {
        let word = |part: &str| {
            (1..=64).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        };
        match text.split_once('/') {
            Some((namespace, name)) if word(namespace) && word(name) => {
                Ok(Self::Named { namespace: namespace.into(), name: name.into() })
            }
            None if word(text) => Ok(Self::Bare(text.into())),
            Some(_) | None => Err(NotAReference),
        }
    }
}

impl fmt::Display for ConnectionReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named { namespace, name } => write!(f, "{namespace}/{name}"),
            Self::Bare(word) => f.write_str(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request() -> ReleaseRequest {
        ReleaseRequest {
            v: 1,
            request_id: "0123456789abcdef0123456789abcdef".into(),
            connections: vec!["team-a/github".into(), "slack".into()],
            public_key: "AAAA".into(),
            pod: PodReference { namespace: "team-a".into(), name: "web-0".into(), uid: "u-1".into() },
        }
    }

    #[test]
    fn a_plain_request_is_accepted_and_keeps_its_field_names() {
        assert_eq!(request().validate(), Ok(()));
        let json = serde_json::to_string(&request()).expect("plain strings serialize");
        assert_eq!(
            json,
            r#"{"v":1,"requestID":"0123456789abcdef0123456789abcdef","connections":["team-a/github","slack"],"publicKey":"AAAA","pod":{"namespace":"team-a","name":"web-0","uid":"u-1"}}"#
        );
    }

    #[test]
    fn the_canonical_form_is_frozen() {
        let expected: &[u8] = b"\0\0\0\x19coffer/v1/release-request\0\0\0\x011\
            \0\0\0\x200123456789abcdef0123456789abcdef\0\0\0\x012\0\0\0\x0dteam-a/github\0\0\0\x05slack\
            \0\0\0\x04AAAA\0\0\0\x06team-a\0\0\0\x05web-0\0\0\0\x03u-1";
        assert_eq!(request().canonical(), expected);
    }

    /// A named change to a valid request, and what it is refused with.
    type Case = (fn(&mut ReleaseRequest), InvalidRequest);

    #[test]
    fn each_malformed_field_is_named() {
        let cases: [Case; 9] = [
            (|r| r.v = 2, InvalidRequest::UnknownVersion),
            (|r| r.request_id.push('0'), InvalidRequest::MalformedRequestId),
            (
                |r| r.request_id = "0123456789ABCDEF0123456789ABCDEF".into(),
                InvalidRequest::MalformedRequestId,
            ),
            (|r| r.connections.clear(), InvalidRequest::NoConnections),
            (|r| r.connections = vec!["a".into(); MAX_CONNECTIONS + 1], InvalidRequest::TooManyConnections),
            (|r| r.connections[1] = "a/b/c".into(), InvalidRequest::MalformedReference(1)),
            (|r| r.connections[0] = "/name".into(), InvalidRequest::MalformedReference(0)),
            (|r| r.connections[1] = "team-a/github".into(), InvalidRequest::RepeatedReference(1)),
            (|r| r.pod.uid.clear(), InvalidRequest::MalformedPod),
        ];
        for (change, expected) in cases {
            let mut changed = request();
            change(&mut changed);
            assert_eq!(changed.validate(), Err(expected));
        }
    }

    proptest! {
        /// T2: two different requests never share their canonical bytes, wherever a separator could be moved to.
        #[test]
        fn different_requests_have_different_canonical_bytes(
            a in proptest::collection::vec("[a/]{0,3}", 0..4), b in proptest::collection::vec("[a/]{0,3}", 0..4),
            key_a in "[a/]{0,2}", key_b in "[a/]{0,2}",
        ) {
            let first = ReleaseRequest { connections: a, public_key: key_a, ..request() };
            let second = ReleaseRequest { connections: b, public_key: key_b, ..request() };
            prop_assert_eq!(first == second, first.canonical() == second.canonical());
        }

        /// T44: any text is a reference or is refused.
        #[test]
        fn any_text_parses_or_is_refused(text in ".*") {
            if let Ok(reference) = text.parse::<ConnectionReference>() {
                prop_assert_eq!(reference.to_string(), text);
            }
        }
    }
}
