//! What is recorded: the Envelope that is there, if it is this Connection's.

use coffer_crds::{Connection, Envelope, EnvelopeSpec, conditions::reason};
use coffer_envelope::{EnvelopeError, OpenEnvelope, OpenKeyring};
use kube::ResourceExt as _;

use super::status::Finding;
use crate::connection::fetch::Facts;

/// The Envelope, if it is this Connection's and everything in it verifies. Else it stays exactly as it is.
pub(super) fn open<'k, 's>(
    facts: &Facts,
    keys: &'k OpenKeyring,
    envelope: &'s Envelope,
) -> Result<OpenEnvelope<'k, 's>, Finding> {
    let connection = &facts.connection;
    let uid = connection.uid().unwrap_or_default();
    let displaced = envelope.spec.connection.uid != uid;
    if displaced && !came_back_with(keys, connection, &envelope.spec) {
        let message = format!(
            "Envelope '{}' belongs to a Connection of uid {} that is gone; it is left as it is. Delete it if nothing in it is needed",
            envelope.name_any(),
            envelope.spec.connection.uid
        );
        return Err(Finding::invalid(reason::NOT_ADOPTED, message));
    }
    let known = connection.status.as_ref().and_then(|status| status.version);
    if known > Some(envelope.spec.version) {
        let message = format!(
            "the Envelope is of version {}, and there was version {} already: somebody has put an older one back; delete \
             it, and the Connection's values are sealed again",
            envelope.spec.version,
            known.unwrap_or_default()
        );
        return Err(Finding::invalid(reason::ENVELOPE_INVALID, message));
    }
    let opened = keys
        .open_envelope(&connection.namespace().unwrap_or_default(), &connection.name_any(), &envelope.spec)
        .map_err(|error| {
            let advice = match error {
                EnvelopeError::UnknownRoot(_) => {
                    "it is whole, and opens when that generation is in Secret coffer-custodian again: put it back from a copy"
                }
                EnvelopeError::Malformed(_)
                | EnvelopeError::Displaced
                | EnvelopeError::OutsideScope
                | EnvelopeError::NoSlot
                | EnvelopeError::UnknownGeneration(_)
                | EnvelopeError::NoSuchItem(_)
                | EnvelopeError::Open(_) => {
                    "restore it from a backup, or delete it and give the Connection its values again"
                }
            };
            Finding::invalid(reason::ENVELOPE_INVALID, format!("{error}; {advice}"))
        })?;
    if !displaced {
        return Ok(opened);
    }
    if keys.restored_epoch() > Some(keys.current()) {
        let message = format!("restored; sealed anew as soon as epoch {} begins", keys.newest());
        return Err(Finding::pending(reason::PENDING, message));
    }
    Ok(opened.adopted_by(&uid))
}

/// Whether an Envelope of another Connection object came back with its vault, and is this one's now: it is of an epoch from
/// before the restore, and of the same owner. What was sealed since belongs to the object that it names.
fn came_back_with(keys: &OpenKeyring, connection: &Connection, envelope: &EnvelopeSpec) -> bool {
    keys.restored_epoch() > Some(envelope.epoch)
        && connection.spec.owner.as_ref() == Some(&envelope.owner.name)
}
