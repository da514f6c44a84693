//! Sends a Vault's writes, in order, and takes in each answer.

use coffer_crds::{Keyring, VaultMember};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::ResourceExt as _;
use serde_json::json;

use super::{fetch::Facts, plan::Write};
use crate::{
    apply::WriteError,
    cache::Key,
    context::Context,
    report::{self, Notice},
};

/// Sends the writes. At the first that fails the rest waits for the next look: what was written stands, and every
/// state in between is one that the plan goes on from. A member whose object somebody changed a moment ago keeps nobody
/// else waiting.
///
/// # Errors
/// [`WriteError`] of the write that failed.
pub async fn apply(facts: &Facts, writes: Vec<Write>, context: &Context) -> Result<(), WriteError> {
    let mut late = None;
    for write in writes {
        let of_one_member = matches!(write, Write::MemberStatus(_));
        match send(facts, write, context).await {
            Err(conflict @ WriteError::Conflict(_)) if of_one_member => late = late.or(Some(conflict)),
            outcome => outcome?,
        }
    }
    late.map_or(Ok(()), Err)
}

async fn send(facts: &Facts, write: Write, context: &Context) -> Result<(), WriteError> {
    let (writer, watched) = (&context.writer, &context.watched);
    let caches = &watched.caches;
    match write {
        Write::CreateKeyring(keyring) => {
            let made: Keyring = writer.create(keyring.as_ref()).await?;
            watched.written(&caches.keyrings, made);
        }
        Write::ReplaceKeyring(keyring) => {
            let gate = context.gates.turning(&facts.key()).await;
            let replaced: Keyring = writer.replace(keyring.as_ref()).await?;
            watched.written(&caches.keyrings, replaced);
            drop(gate);
        }
        Write::MemberStatus(change) => {
            let (member, status) = *change;
            let written: VaultMember = writer.apply_status(&member, &status).await?;
            let before =
                member.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            announce(context, &member, report::transition(before, &status.conditions));
            watched.written(&caches.members, written);
        }
        Write::CreateMember(member) => {
            let made: VaultMember = writer.create(member.as_ref()).await?;
            watched.written(&caches.members, made);
        }
        Write::RaiseOwner(member) => {
            let fields =
                json!({"metadata": {"uid": member.uid()}, "spec": {"role": "owner", "suspended": false}});
            let raised: VaultMember = writer.apply(&Key::of(member.as_ref()), fields, true).await?;
            watched.written(&caches.members, raised);
        }
        Write::DeleteMember(member) => writer.delete(member.as_ref()).await?,
        Write::CreateBinding(binding) => {
            let made: RoleBinding = writer.create(binding.as_ref()).await?;
            watched.written(&caches.bindings, made);
        }
        Write::ApplyBinding(binding) => {
            let fields = serde_json::to_value(&binding).unwrap_or_default();
            let applied: RoleBinding = writer.apply(&Key::of(binding.as_ref()), fields, true).await?;
            watched.written(&caches.bindings, applied);
        }
        Write::DeleteBinding(binding) => writer.delete(binding.as_ref()).await?,
        Write::VaultStatus(status) => {
            let written = writer.apply_status(facts.vault.as_ref(), &status).await?;
            let before =
                facts.vault.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            announce(context, facts.vault.as_ref(), report::transition(before, &status.conditions));
            watched.written(&caches.vaults, written);
        }
    }
    Ok(())
}

/// Publishes in the background: nobody waits for an event.
fn announce<K>(context: &Context, object: &K, notice: Option<Notice>)
where
    K: kube::Resource<DynamicType = ()>,
{
    context.announce(object.object_ref(&()), notice.into_iter().collect());
}
