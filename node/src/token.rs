//! The pod's token: a secret that is passed on, and a statement of who the pod is.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use coffer_broker_api::TOKEN_AUDIENCE;
use http::HeaderValue;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// The pod's ServiceAccount token of audience `coffer`. Wiped when dropped, never printed.
pub struct PodToken {
    text: Zeroizing<String>,
    requester: Requester,
}

/// Whom the broker will see behind the token, as TokenReview will tell it. The driver reads it from the token without
/// checking the signature: it only binds the answer, and a wrong name makes the answer not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requester {
    /// `system:serviceaccount:<namespace>:<name>`.
    pub username: String,
    /// The ServiceAccount's uid.
    pub uid: String,
}

/// Why there is no usable token. Says nothing of what was found instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// What the kubelet gave is not its map of tokens.
    #[error("expected a JSON object of tokens by audience")]
    NotAMap,
    /// There are tokens, but none for Coffer.
    #[error(
        "expected a token for the audience `coffer`; does the CSIDriver object list it in tokenRequests?"
    )]
    NoAudience,
    /// Not a token of a ServiceAccount.
    #[error("expected a ServiceAccount token: a JWT with `sub` and `kubernetes.io.serviceaccount.uid`")]
    NotAServiceAccountToken,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(deserialize_with = "wiped")]
    token: Zeroizing<String>,
}

fn wiped<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: KubernetesClaims,
}

#[derive(Deserialize)]
struct KubernetesClaims {
    serviceaccount: ServiceAccountClaims,
}

#[derive(Deserialize)]
struct ServiceAccountClaims {
    uid: String,
}

impl PodToken {
    /// Takes Coffer's token out of `csi.storage.k8s.io/serviceAccount.tokens`:
    /// `{"<audience>": {"token": "…", "expirationTimestamp": "…"}}`.
    ///
    /// # Errors
    /// [`TokenError`] says what is missing.
    pub fn from_kubelet(tokens: &str) -> Result<Self, TokenError> {
        let mut tokens: HashMap<String, Entry> =
            serde_json::from_str(tokens).map_err(|_| TokenError::NotAMap)?;
        let entry = tokens.remove(TOKEN_AUDIENCE).ok_or(TokenError::NoAudience)?;
        let requester = requester(&entry.token).ok_or(TokenError::NotAServiceAccountToken)?;
        Ok(Self { text: entry.token, requester })
    }

    /// Whom the broker will see.
    pub fn requester(&self) -> &Requester {
        &self.requester
    }

    /// The value of the `Authorization` header, marked so that no HTTP library prints it.
    pub fn bearer(&self) -> HeaderValue {
        let text = Zeroizing::new(format!("Bearer {}", self.text.as_str()));
        let mut value = HeaderValue::from_str(&text).expect("a JWT was parsed: its characters fit a header");
        value.set_sensitive(true);
        value
    }
}

fn requester(token: &str) -> Option<Requester> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts.as_slice() else { return None };
    let base64url = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if !base64url(header) || !base64url(payload) || !base64url(signature) {
        return None;
    }
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    let uid = claims.kubernetes.serviceaccount.uid;
    let named = claims.sub.starts_with("system:serviceaccount:") && !uid.is_empty();
    named.then_some(Requester { username: claims.sub, uid })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's own set-up must not fail quietly")]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn jwt(claims: &serde_json::Value) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    fn claims() -> serde_json::Value {
        json!({"sub": "system:serviceaccount:team-a:web", "aud": ["coffer"],
               "kubernetes.io": {"namespace": "team-a", "serviceaccount": {"name": "web", "uid": "sa-1"}}})
    }

    #[test]
    fn the_token_for_coffer_is_taken_and_says_who_asks() {
        let tokens =
            json!({"vault": {"token": "x"}, "coffer": {"token": jwt(&claims()), "expirationTimestamp": "…"}});
        let token = PodToken::from_kubelet(&tokens.to_string()).unwrap_or_else(|error| panic!("{error}"));
        let expected = Requester { username: "system:serviceaccount:team-a:web".into(), uid: "sa-1".into() };
        assert_eq!(token.requester(), &expected);
        assert!(token.bearer().is_sensitive());
        assert_eq!(token.bearer().to_str().unwrap(), format!("Bearer {}", jwt(&claims())));
    }

    /// T25: no token is never some token.
    #[test]
    fn what_is_not_a_service_account_s_token_for_coffer_is_refused() {
        let refused = |text: &str| PodToken::from_kubelet(text).err();
        assert_eq!(refused(""), Some(TokenError::NotAMap));
        assert_eq!(refused("{}"), Some(TokenError::NoAudience));
        assert_eq!(refused(r#"{"api": {"token": "a.b.c"}}"#), Some(TokenError::NoAudience));
        let with = |token: &str| refused(&json!({"coffer": {"token": token}}).to_string());
        let mut user = claims();
        user["sub"] = json!("alice");
        let mut no_uid = claims();
        no_uid["kubernetes.io"]["serviceaccount"]["uid"] = json!("");
        let broken = format!("{}\r\nx", jwt(&claims()));
        for token in ["", "a.b", "a.b.c", "..", &broken, &jwt(&user), &jwt(&no_uid), &jwt(&json!({}))] {
            assert_eq!(with(token), Some(TokenError::NotAServiceAccountToken), "{token:?}");
        }
    }

    proptest! {
        /// T44.
        #[test]
        fn any_text_is_a_map_of_tokens_or_is_refused(text in ".*") {
            let _ = PodToken::from_kubelet(&text);
        }
    }
}
