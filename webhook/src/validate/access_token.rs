//! AccessTokens: who may revoke one.

use coffer_crds::AccessToken;
use coffer_policy::writes;
use kube::CustomResourceExt as _;

use super::{Circumstances, Facts, SpecSchema, caller, refuse, spec_schema, typed};
use crate::{
    refusal::Refusal,
    review::{Admitted, Request},
    state::{Directory, Key, Look},
};

static SCHEMA: SpecSchema = SpecSchema::new(|| spec_schema(&AccessToken::crd()));

/// Decides a DELETE.
///
/// # Errors
/// [`Refusal::Authorize`].
pub async fn delete(
    request: &Request,
    directory: &Directory,
    circumstances: &Circumstances<'_>,
) -> Result<Admitted, Refusal> {
    let old: AccessToken = typed(request.old_object.expose(), &SCHEMA)?;
    let caller = caller(&request.user_info);
    directory
        .wait(|tables| {
            let member = tables.member(&Key::new(&request.namespace, &old.spec.member));
            let vault =
                member.and_then(|member| tables.vault(&Key::new(&request.namespace, &member.spec.vault)));
            // The token of a member, or of a vault, that is gone opens nothing.
            let Some(vault) = vault else { return Look::Settled(Ok(())) };
            let facts = Facts::gather(tables, vault, circumstances.now);
            match writes::access_token(&caller, &facts.view(circumstances), Some(&old), None) {
                Ok(()) => Look::Settled(Ok(())),
                Err(refusal) => refuse(refusal, &facts, &caller),
            }
        })
        .await?;
    Ok(Admitted::default())
}
