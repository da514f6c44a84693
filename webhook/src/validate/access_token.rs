//! AccessTokens: who may make and revoke one.

use coffer_crds::AccessToken;
use coffer_policy::writes;
use kube::CustomResourceExt as _;
use serde_json::Value;

use super::{
    Circumstances, Facts, SpecSchema, caller, check_form, clear_up, judge, refuse, spec_schema, stored, typed,
};
use crate::{
    draft::Draft,
    refusal::Refusal,
    review::{Admitted, Operation, Request},
    stamp::stamp,
    state::{Directory, Key, Look, Tables},
};

static SCHEMA: SpecSchema = SpecSchema::new(|| spec_schema(&AccessToken::crd()));

/// Decides a CREATE and stamps it: `issuedBy` says who made it. A token never changes, as its schema says.
///
/// # Errors
/// [`Refusal`].
pub async fn admit(
    mut request: Request,
    directory: &Directory,
    circumstances: &Circumstances<'_>,
) -> Result<Admitted, Refusal> {
    if request.operation != Operation::Create {
        return Ok(Admitted::default());
    }
    let mut draft = Draft::new(std::mem::take(&mut request.object));
    let new: AccessToken = typed(draft.object(), &SCHEMA)?;
    check_form(draft.object(), &Value::Null, &SCHEMA)?;
    let caller = caller(&request.user_info);
    let broken = directory
        .wait(|tables| {
            let Some(facts) = facts(tables, &request.namespace, &new, circumstances) else {
                let member = &new.spec.member;
                let problem =
                    format!("there is no VaultMember '{member}' in namespace '{}'", request.namespace);
                return Look::Unless(Err(Refusal::field("spec.member", problem)));
            };
            let judged = judge(&facts, circumstances, &caller, |view| {
                writes::access_token(&caller, view, None, Some(&new))
            });
            judged.map_or_else(|refusal| refuse(refusal, &facts, &caller), |broken| Look::Settled(Ok(broken)))
        })
        .await?;
    stamp(&mut draft, &["spec", "issuedBy"], &Value::Null, &request.user_info, true)?;
    Ok(Admitted { patch: draft.into_patch(), broken, ..Admitted::default() })
}

/// The vault of the token's member; `None` when one of the two is gone.
fn facts(
    tables: &Tables,
    namespace: &str,
    token: &AccessToken,
    circumstances: &Circumstances<'_>,
) -> Option<Facts> {
    let member = tables.member(&Key::new(namespace, &token.spec.member))?;
    let vault = tables.vault(&Key::new(namespace, &member.spec.vault))?;
    Some(Facts::gather(tables, vault, circumstances.now))
}

/// Decides a DELETE.
///
/// # Errors
/// [`Refusal::Authorize`].
pub async fn delete(
    request: &Request,
    directory: &Directory,
    circumstances: &Circumstances<'_>,
) -> Result<Admitted, Refusal> {
    let Some(old) = stored::<AccessToken>(request) else {
        return clear_up(request, directory, circumstances);
    };
    let caller = caller(&request.user_info);
    let broken = directory
        .wait(|tables| {
            // The token of a member, or of a vault, that is gone opens nothing.
            let Some(facts) = facts(tables, &request.namespace, &old, circumstances) else {
                return Look::Settled(Ok(None));
            };
            let judged = judge(&facts, circumstances, &caller, |view| {
                writes::access_token(&caller, view, Some(&old), None)
            });
            judged.map_or_else(|refusal| refuse(refusal, &facts, &caller), |broken| Look::Settled(Ok(broken)))
        })
        .await?;
    Ok(Admitted { broken, ..Admitted::default() })
}

#[cfg(test)]
mod tests;
