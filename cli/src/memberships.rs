//! Where the caller is a member.

use std::collections::BTreeMap;

use coffer_crds::{Vault, VaultMember};
use coffer_policy::{Caller, MemberView, identity::from_status};
use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::{Failure, cluster::Cluster};

/// One membership of the caller.
pub(crate) struct Own {
    pub(crate) namespace: String,
    pub(crate) vault: String,
    pub(crate) view: MemberView,
}

impl Own {
    /// Whether it is one in this vault.
    pub(crate) fn is_in(&self, vault: &Vault) -> bool {
        vault.namespace().as_deref() == Some(self.namespace.as_str()) && vault.name_any() == self.vault
    }
}

/// All of them, in one namespace or in all.
pub(crate) async fn memberships(
    cluster: &Cluster,
    caller: &Caller,
    everywhere: bool,
) -> Result<Vec<Own>, Failure> {
    let vaults = cluster.list::<Vault>(everywhere).await?.into_iter().filter_map(|listed| listed.parsed.ok());
    let members: Vec<VaultMember> =
        cluster.list(everywhere).await?.into_iter().filter_map(|listed| listed.parsed.ok()).collect();
    let mut by_namespace: BTreeMap<String, Vec<VaultMember>> = BTreeMap::new();
    for member in members {
        by_namespace.entry(member.namespace().unwrap_or_default()).or_default().push(member);
    }
    let mut own = Vec::new();
    for vault in vaults {
        let namespace = vault.namespace().unwrap_or_default();
        let members = by_namespace.get(&namespace).map(Vec::as_slice).unwrap_or_default();
        let views = from_status(&vault, members, Timestamp::now());
        own.extend(views.into_iter().filter(|view| view.is_of(caller)).map(|view| Own {
            namespace: namespace.clone(),
            vault: vault.name_any(),
            view,
        }));
    }
    Ok(own)
}
