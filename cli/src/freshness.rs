//! An old Envelope is a valid one: what a client has seen of a Connection it remembers, and does not go back.

use coffer_crds::EnvelopeSpec;
use serde::{Deserialize, Serialize};

/// Which of two Envelopes of a Connection is newer: epoch, then version, then revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Freshness {
    pub(crate) epoch: i64,
    pub(crate) version: i64,
    pub(crate) revision: i64,
}

impl Freshness {
    pub(crate) fn of(envelope: &EnvelopeSpec) -> Self {
        Self { epoch: envelope.epoch, version: envelope.version, revision: envelope.revision }
    }
}
