//! Whether a broker may answer this caller in the clear. Whoever has a key of its own in a vault gets what that key
//! opens and nothing else: otherwise whoever holds the broker, or the cluster, could put values of their own in place of
//! the sealed ones.

use coffer_crds::{Custody, Vault, VaultMember};
use kube::ResourceExt as _;

use crate::{Failure, cluster::Cluster, invites::is_for, pins::Pins};

/// Refuses plain values for a caller who has a key of its own in the vault, as far as that is known: by what was
/// opened or accepted here before, else by the caller's VaultMember.
pub(super) async fn check_plain(
    cluster: &Cluster,
    vault: &Vault,
    vault_id: &str,
    pins: &Pins,
    names: &[String],
) -> Result<(), Failure> {
    if !pins.has_own_key(vault_id) && !is_self_member(cluster, vault).await {
        return Ok(());
    }
    Err(Failure::Conflict(format!(
        "the broker answered for {} in the clear, but you have a key of your own in vault '{}', and what is for you \
         only that key opens: nothing is taken. If a group of yours may read it without a key, say --brokered; if you \
         are a member without a key now, say so once with kubectl coffer accept --brokered",
        names.join(", "),
        vault.name_any()
    )))
}

/// Who may not look is told by what is remembered here alone.
async fn is_self_member(cluster: &Cluster, vault: &Vault) -> bool {
    let (caller, members) = futures::join!(cluster.caller(), cluster.all::<VaultMember>());
    let (Ok(caller), Ok(members)) = (caller, members) else { return false };
    let is_own = |member: &VaultMember| {
        member.spec.vault == vault.name_any()
            && member.status.as_ref().and_then(|status| status.custody) == Some(Custody::Own)
            && is_for(member, &caller, None)
    };
    members.iter().any(is_own)
}
