//! Questions that are objects, Releases and AuditQueries: who asks, what the answer is sealed to, and how often one asks.

use std::time::Instant;

use coffer_crds::Author;
use coffer_keys::answer::AnswerPublicKey;

use crate::{pace::Pace, refusal::Refusal, review::UserInfo};

/// What is asked of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    /// Several of them, as people call them.
    pub(super) kinds: &'static str,
    /// `spec.publicKey`.
    pub(super) public_key: &'a str,
    /// `spec.requester`, if the client says who it is.
    pub(super) requester: Option<&'a Author>,
}

impl Question<'_> {
    /// Whether something can be sealed to its key, and nobody asks in another's name.
    pub(super) fn check(&self, user: &UserInfo) -> Result<(), Refusal> {
        AnswerPublicKey::parse(self.public_key).map_err(|_| {
            Refusal::field("spec.publicKey", "must be an X-Wing public key, 1216 bytes in standard base64")
        })?;
        if self.requester.is_some_and(|named| *named != user.author()) {
            return Err(Refusal::Authorize(String::from(
                "spec.requester must name whoever sends this request: leave the field out, and it is filled in",
            )));
        }
        Ok(())
    }

    /// Counts it. Last of all: what is refused anyway costs nothing.
    pub(super) fn pace(&self, user: &UserInfo, pace: &Pace, now: Instant) -> Result<(), Refusal> {
        pace.take(&user.username, now).map_err(|wait| {
            Refusal::SlowDown(format!(
                "you make {} too fast: {} at once, then one a second. Delete each when it is answered, and make the next \
                 one in {} s",
                self.kinds,
                pace.burst(),
                wait.as_secs() + 1
            ))
        })
    }
}
