//! The opening: only what was wrapped for the member that serves.

use super::{
    AllLooks, Asker, Asking, Releaser,
    plan::{self, Granted, Plan},
};
use crate::{facts::Facts, refusal::Refusal};
use coffer_broker_api::{
    ItemValue, ReleasedConnection,
    people::{Delivered, WrappedConnection},
};
use coffer_crds::{Connection, ConnectionType, EnvelopeConnection, EnvelopeMember, Vault};
use coffer_envelope::{
    Branches, EnvelopeError, Freshness, KeyringError, OpenedItems, Place, open_as_brokered,
};
use coffer_keys::{VaultId, signature::VaultPublicKey};
use coffer_policy::release::alias;
use kube::ResourceExt as _;

impl Releaser {
    /// Opens every Connection of a plan that is on record; of members with a key of their own, takes what that key opens.
    pub(super) async fn open(
        &self,
        asker: &Asker,
        asking: Asking<'_>,
        facts: &mut Facts,
        plan: &Plan,
        looks: &mut AllLooks,
    ) -> Result<Vec<Delivered>, (usize, Refusal)> {
        let branches = self.keys.current();
        let mut connections = Vec::with_capacity(plan.grants.len());
        for (index, grant) in plan.grants.iter().enumerate() {
            if grant.has_own_key {
                let wrapped = wrapped(facts, index, grant, asking.items_of(index)).map_err(|error| {
                    report(facts, index, &error);
                    (index, Refusal::DoesNotOpen { alias: alias_of(facts, index) })
                })?;
                connections.push(Delivered::Wrapped(Box::new(wrapped)));
                continue;
            }
            let branches = branches.as_ref().ok_or((index, Refusal::KeyUnavailable))?;
            let opened = match self.open_one(branches, facts, index, grant, asking.items_of(index)) {
                Ok(opened) => opened,
                Err(error) => {
                    self.open_again(asker, asking, facts, index, grant, looks, branches, error).await?
                }
            };
            connections.push(Delivered::Items(opened));
            // Opening is all computation: let others have a turn between two.
            tokio::task::yield_now().await;
        }
        Ok(connections)
    }

    /// Looks again for as long as that shows anything new. What is new is decided anew, for the same member: its record is
    /// the one that stands.
    #[allow(clippy::too_many_arguments, reason = "one call, and a struct for it would say less")]
    async fn open_again(
        &self,
        asker: &Asker,
        asking: Asking<'_>,
        facts: &mut Facts,
        index: usize,
        grant: &Granted,
        looks: &mut AllLooks,
        branches: &Branches,
        mut failed: OpenFailed,
    ) -> Result<ReleasedConnection, (usize, Refusal)> {
        let refusal = Refusal::DoesNotOpen { alias: alias_of(facts, index) };
        while self.look_again(facts, index, looks).await {
            match plan::plan(asker, asking, facts) {
                plan::Outcome::Planned(plan)
                    if plan.grants[index].member.uid == grant.member.uid
                        && !plan.grants[index].has_own_key => {}
                plan::Outcome::Planned(_) => return Err((index, refusal)),
                plan::Outcome::Lagging { index: lagging, .. } if lagging == index => continue,
                plan::Outcome::Refused { refusal, .. } | plan::Outcome::Lagging { refusal, .. } => {
                    return Err((index, refusal));
                }
            }
            match self.open_one(branches, facts, index, grant, asking.items_of(index)) {
                Ok(opened) => return Ok(opened),
                Err(error) => failed = error,
            }
        }
        report(facts, index, &failed);
        Err((index, refusal))
    }
}

impl Releaser {
    fn open_one(
        &self,
        branches: &Branches,
        facts: &Facts,
        index: usize,
        grant: &Granted,
        items: &[String],
    ) -> Result<ReleasedConnection, OpenFailed> {
        let connection = facts.connection(index).ok_or(OpenFailed::Missing)?;
        let opening = facts.opening(index, &grant.member).ok_or(OpenFailed::Missing)?;
        let custodian_key = VaultPublicKey::parse(claimed_key(opening.vault)?)?;
        let here = place(connection);
        let vault_id = VaultId::parse(&opening.keyring.spec.vault_id)?;
        let place = Place { vault_id, custodian_key: &custodian_key, connection: &here };
        let wrapped_keys =
            opening.member.status.as_ref().map(|s| s.wrapped_keys.as_slice()).unwrap_or_default();
        let spec = &opening.envelope.spec;
        let narrowed = (!items.is_empty()).then_some(items);
        let items = open_as_brokered(
            branches,
            opening.registered,
            wrapped_keys,
            &place,
            spec,
            narrowed,
            &self.signatures,
        )?;
        // The signing key was a claim until something opened with it. Now it says whether the register, by which this
        // release was decided, is the operator's: a role that somebody else wrote there gains nothing.
        self.registers.verify(opening.keyring, &custodian_key).map_err(OpenFailed::Register)?;
        self.seen.advance(&here.uid, Freshness::of(spec))?;
        Ok(ReleasedConnection {
            alias: alias(connection).to_owned(),
            namespace: here.namespace,
            name: here.name,
            type_: type_name(connection.spec.type_).to_owned(),
            version: spec.version,
            items: values(&items),
        })
    }
}

/// What a member's own key opens. Nothing of it can be verified here without a key: whoever opens it does that, against
/// the custodian key that it pinned.
fn wrapped(
    facts: &Facts,
    index: usize,
    grant: &Granted,
    items: &[String],
) -> Result<WrappedConnection, OpenFailed> {
    let connection = facts.connection(index).ok_or(OpenFailed::Missing)?;
    let opening = facts.opening(index, &grant.member).ok_or(OpenFailed::Missing)?;
    let spec = &opening.envelope.spec;
    let keys = opening.member.status.iter().flat_map(|status| &status.wrapped_keys);
    Ok(WrappedConnection {
        connection: place(connection),
        alias: alias(connection).to_owned(),
        type_: type_name(connection.spec.type_).to_owned(),
        member: EnvelopeMember { name: grant.member.name.clone(), uid: grant.member.uid.clone() },
        vault_id: opening.keyring.spec.vault_id.clone(),
        custodian_key: claimed_key(opening.vault)?.to_owned(),
        wrapped_keys: keys.filter(|key| key.epoch == spec.epoch).cloned().collect(),
        envelope: spec.clone(),
        items: items.to_vec(),
    })
}

fn claimed_key(vault: &Vault) -> Result<&str, OpenFailed> {
    vault.status.as_ref().and_then(|s| s.custodian_key.as_deref()).ok_or(OpenFailed::NoSigningKey)
}

/// From the live object, not from the Envelope: one that was moved here from elsewhere does not open.
fn place(connection: &Connection) -> EnvelopeConnection {
    EnvelopeConnection {
        namespace: connection.namespace().unwrap_or_default(),
        name: connection.name_any(),
        uid: connection.uid().unwrap_or_default(),
    }
}

fn alias_of(facts: &Facts, index: usize) -> String {
    facts.connection(index).map(|c| alias(c).to_owned()).unwrap_or_default()
}

/// Why one Connection did not open; for the log.
#[derive(thiserror::Error, Debug)]
pub(super) enum OpenFailed {
    #[error("Envelope, Keyring or member is missing")]
    Missing,
    #[error("the Vault's status names no signing key")]
    NoSigningKey,
    #[error("{0}")]
    Malformed(#[from] coffer_keys::FormatError),
    #[error("{0}")]
    Envelope(#[from] EnvelopeError),
    #[error("the register was not written by the operator: {0}")]
    Register(KeyringError),
    #[error("{0}")]
    PutBack(#[from] super::seen::PutBack),
}

fn report(facts: &Facts, index: usize, error: &OpenFailed) {
    let connection =
        facts.connection(index).map(|c| format!("{}/{}", c.namespace().unwrap_or_default(), c.name_any()));
    tracing::error!(connection, %error, "what is wrapped for a member does not open");
}

fn values(items: &OpenedItems) -> std::collections::BTreeMap<String, ItemValue> {
    items.iter().map(|(name, value)| (name.clone(), ItemValue::new(value.expose().to_vec()))).collect()
}

/// As the manifest writes it.
fn type_name(type_: ConnectionType) -> &'static str {
    match type_ {
        ConnectionType::Opaque => "opaque",
        ConnectionType::ApiKey => "api-key",
        ConnectionType::AccessToken => "access-token",
        ConnectionType::Password => "password",
        ConnectionType::BasicAuth => "basic-auth",
        ConnectionType::GitToken => "git-token",
        ConnectionType::Ssh => "ssh",
        ConnectionType::Tls => "tls",
        ConnectionType::Oauth2 => "oauth2",
        ConnectionType::Docker => "docker",
    }
}
