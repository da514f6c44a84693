//! `Vault.spec.access.namespaces`: a word or an object, which no structural schema can type.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use std::borrow::Cow;

/// In which namespaces a vault's Connections, and the pods that use them, may be.
///
/// Written `Same`, `All`, or `{selector: <label selector over Namespaces>}`. Reading never fails, because one odd
/// object must not stop a watch: what is none of the three becomes [`NamespaceAccess::Unknown`], which the webhook
/// refuses and every decision treats as [`NamespaceAccess::Same`].
#[derive(Clone, Debug, Default, PartialEq)]
pub enum NamespaceAccess {
    /// The vault's own namespace only.
    #[default]
    Same,
    /// Every namespace.
    All,
    /// The vault's own, and those whose labels match.
    Selector(LabelSelector),
    /// Something else, kept as it was written.
    Unknown(Value),
}

impl NamespaceAccess {
    /// The accepted form, for messages.
    pub const ACCEPTED: &'static str = "write Same, All, or {selector: {matchLabels: {…}}}";
}

impl Serialize for NamespaceAccess {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Same => "Same".serialize(serializer),
            Self::All => "All".serialize(serializer),
            Self::Selector(selector) => json!({ "selector": selector }).serialize(serializer),
            Self::Unknown(value) => value.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for NamespaceAccess {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Value::deserialize(deserializer)?.into())
    }
}

impl From<Value> for NamespaceAccess {
    fn from(value: Value) -> Self {
        match value.as_str() {
            Some("Same") => return Self::Same,
            Some("All") => return Self::All,
            Some(_) | None => {}
        }
        let selector = match value.as_object() {
            Some(object) if object.len() == 1 => object.get("selector").filter(|s| s.is_object()),
            Some(_) | None => None,
        };
        match selector.map(LabelSelector::deserialize) {
            Some(Ok(selector)) => Self::Selector(selector),
            Some(Err(_)) | None => Self::Unknown(value),
        }
    }
}

impl JsonSchema for NamespaceAccess {
    fn schema_name() -> Cow<'static, str> {
        "NamespaceAccess".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
    }
}

#[cfg(test)]
mod tests {
    use super::{NamespaceAccess, Value, json};

    #[test]
    fn each_accepted_form_reads_back_as_it_was_written() {
        for value in [json!("Same"), json!("All"), json!({"selector": {"matchLabels": {"team": "a"}}})] {
            let access = NamespaceAccess::from(value.clone());
            assert!(!matches!(access, NamespaceAccess::Unknown(_)), "{value}");
            assert_eq!(serde_json::to_value(&access).ok(), Some(value));
        }
    }

    /// T45: a malformed object stops only itself.
    #[test]
    fn anything_else_is_kept_as_unknown_and_never_an_error() {
        let odd = [
            json!("same"),
            json!(3),
            Value::Null,
            json!([]),
            json!({}),
            json!({"selector": "a=b"}),
            json!({"selector": {"matchLabels": 3}}),
            json!({"selector": {}, "names": ["a"]}),
        ];
        for value in odd {
            assert_eq!(NamespaceAccess::from(value.clone()), NamespaceAccess::Unknown(value));
        }
    }
}
