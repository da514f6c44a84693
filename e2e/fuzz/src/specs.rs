//! Objects of our kinds, as they may lie in etcd whatever wrote them, and the short texts in their fields.

use std::{collections::BTreeMap, sync::LazyLock};

use coffer_crds::{
    AccessToken, AuditQuery, Connection, RateLimit, Release, Vault, VaultMember, duration, form::misfit,
    limits,
};
use coffer_policy::{
    MemberView, Scope, access,
    names::owner_members,
    release::expires_at,
    roles::{glob_matches, role},
};
use jiff::Timestamp;
use kube::CustomResourceExt as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The schemas of the kinds that users write.
static SCHEMAS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let crds = [Vault::crd(), VaultMember::crd(), Connection::crd(), AccessToken::crd(), Release::crd()];
    crds.into_iter()
        .filter_map(|crd| {
            let crd = serde_json::to_value(crd).expect("a CRD is JSON");
            crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").cloned()
        })
        .collect()
});

fn read<K: DeserializeOwned>(object: &Value) -> Option<K> {
    K::deserialize(object).ok()
}

/// Any object, as each kind, and what is concluded from it.
pub(crate) fn specs(data: &[u8]) {
    let Ok(object) = serde_json::from_slice::<Value>(data) else { return };
    let now = Timestamp::UNIX_EPOCH;
    for schema in SCHEMAS.iter() {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        if let Some(found) = misfit(schema, "spec", spec, None) {
            assert!(found.field.starts_with("spec") && !found.problem.is_empty(), "names field and problem");
        }
    }
    let (vault, member): (Option<Vault>, Option<VaultMember>) = (read(&object), read(&object));
    if let Some(vault) = &vault {
        let labels = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
        let _ = access::admits(vault, "b", &labels);
        let _ = owner_members(vault, member.as_slice());
        for spec in &vault.spec.roles {
            let _ = role(&vault.spec, &spec.name).map(|role| (role.covers("gh-x"), role.rate_limit()));
        }
        if let Some(member) = &member {
            let _ = MemberView::reported(member, vault, now);
        }
    }
    if let Some(connection) = read::<Connection>(&object) {
        let _ = expires_at(&connection);
        let _ = Scope::of_connection(&connection, coffer_crds::Sharing::Owner).holds("a", "b");
    }
    let _ = (read::<AccessToken>(&object), read::<Release>(&object), read::<AuditQuery>(&object));
}

/// Durations, rate limits, globs, names.
pub(crate) fn short_forms(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = duration::parse(text);
    if let Ok(limit) = text.parse::<RateLimit>() {
        assert_eq!(limit.to_string(), text, "one form only");
    }
    let (glob, name) = text.split_once('\n').unwrap_or((text, "gh-main"));
    let _ = glob_matches(glob, name);
    if limits::is_item_key(text) {
        assert!(!text.contains('/') && text != "..", "an item's key never leads out of its folder");
    }
    let _ = (limits::is_label(text), limits::is_alias(text), limits::is_glob(text));
}
