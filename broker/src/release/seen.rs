//! How new the Envelopes were that this replica released from. An older one that is put back is a valid one, signature
//! and all, and would bring back an older value: it is refused.

use coffer_envelope::Freshness;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// How many Connections are remembered.
const MAX_REMEMBERED: usize = 50_000;

/// The newest Envelope of each Connection, by the Connection's uid.
#[derive(Default)]
pub struct Seen {
    newest: Mutex<HashMap<String, Freshness>>,
}

/// An Envelope is older than one that was released from.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
#[error("the Envelope ({is:?}) is older than one that was released from ({was:?}): somebody has put it back")]
pub struct PutBack {
    is: Freshness,
    was: Freshness,
}

impl Seen {
    /// Takes note of an Envelope that opened.
    ///
    /// # Errors
    /// [`PutBack`].
    pub fn advance(&self, uid: &str, is: Freshness) -> Result<(), PutBack> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        match newest.get_mut(uid) {
            Some(was) if *was > is => return Err(PutBack { is, was: *was }),
            Some(was) => *was = is,
            None => {
                if newest.len() >= MAX_REMEMBERED {
                    newest.clear();
                }
                newest.insert(uid.to_owned(), is);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T2: in whichever of the three it is older.
    #[test]
    fn what_is_older_than_what_was_seen_is_put_back_and_nothing_else_is() {
        let seen = Seen::default();
        let at = |epoch, version, revision| Freshness { epoch, version, revision };
        assert!(seen.advance("a", at(2, 3, 7)).is_ok());
        for older in [at(1, 9, 9), at(2, 2, 9), at(2, 3, 6)] {
            assert!(seen.advance("a", older).is_err(), "{older:?}");
        }
        assert!(seen.advance("a", at(2, 3, 7)).is_ok(), "the same again");
        assert!(seen.advance("a", at(3, 3, 8)).is_ok());
        assert!(seen.advance("c", at(1, 1, 1)).is_ok(), "another Connection");
    }
}
