//! An old Envelope is a valid one: whoever has seen a newer one of the same Connection does not go back.

use coffer_crds::EnvelopeSpec;
use serde::{Deserialize, Serialize};

/// Which of two Envelopes of a Connection is newer: epoch, then version, then revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Freshness {
    /// The epoch in which it is sealed.
    pub epoch: i64,
    /// Counts the values.
    pub version: i64,
    /// Counts the writes.
    pub revision: i64,
}

impl Freshness {
    /// How new an Envelope is.
    pub fn of(envelope: &EnvelopeSpec) -> Self {
        Self { epoch: envelope.epoch, version: envelope.version, revision: envelope.revision }
    }
}
