//! Sends a Connection's writes, in order, and takes in each answer.

use coffer_crds::{Connection, Envelope};
use kube::Resource as _;

use super::plan::Write;
use crate::{apply::WriteError, context::Context, report};

/// Sends the writes; at the first that fails the rest waits for the next look.
///
/// # Errors
/// [`WriteError`] of the write that failed.
pub async fn apply(connection: &Connection, writes: Vec<Write>, context: &Context) -> Result<(), WriteError> {
    let (writer, watched) = (&context.writer, &context.watched);
    for write in writes {
        match write {
            Write::CreateEnvelope(envelope) => {
                let made: Envelope = writer.create(envelope.as_ref()).await?;
                watched.written(&watched.caches.envelopes, made);
            }
            Write::ReplaceEnvelope(envelope) => {
                let replaced: Envelope = writer.replace(envelope.as_ref()).await?;
                watched.written(&watched.caches.envelopes, replaced);
            }
            Write::Status(status) => {
                let written = writer.apply_status(connection, &status).await?;
                let before = connection.status.as_ref().map(|status| status.conditions.as_slice());
                let notice = report::transition(before.unwrap_or_default(), &status.conditions);
                context.announce(connection.object_ref(&()), notice.into_iter().collect());
                watched.written(&watched.caches.connections, written);
            }
        }
    }
    Ok(())
}
