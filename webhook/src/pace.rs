//! How fast one requester may make objects that live for a minute: a few at once, then one after the other.
//!
//! Each replica paces by itself, so with two of them twice as many pass. What is exact (a member's rate limit) is the
//! broker's business; this keeps one requester from filling etcd and a namespace's quota.

use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Requesters that are remembered.
const MANY: usize = 10_000;

/// Paces requesters by name.
pub struct Pace {
    burst: u32,
    refill: Duration,
    /// When each requester's burst is whole again. By a digest of the name: whoever reaches this port says how long a
    /// name is.
    whole_at: Mutex<HashMap<[u8; 32], Instant>>,
}

impl Pace {
    /// `burst` at once, and one more each `refill`.
    pub fn new(burst: u32, refill: Duration) -> Self {
        Self { burst, refill, whole_at: Mutex::default() }
    }

    /// What `requester` may do at most.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// Lets `requester` make one more at `now`.
    ///
    /// # Errors
    /// How long it has to wait.
    pub fn take(&self, requester: &str, now: Instant) -> Result<(), Duration> {
        let requester: [u8; 32] = Sha256::digest(requester).into();
        let mut whole_at = self.whole_at.lock().unwrap_or_else(PoisonError::into_inner);
        if whole_at.len() >= MANY && !whole_at.contains_key(&requester) {
            whole_at.retain(|_, at| *at > now);
        }
        let at = whole_at.get(&requester).copied().unwrap_or(now).max(now) + self.refill;
        let ahead = (at - now).saturating_sub(self.refill * self.burst);
        if ahead > Duration::ZERO {
            return Err(ahead);
        }
        whole_at.insert(requester, at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_passes_and_then_one_each_second_and_nobody_pays_for_another() {
        let (pace, start) = (Pace::new(3, SECOND), Instant::now());
        for _ in 0..3 {
            assert_eq!(pace.take("mallory", start), Ok(()));
        }
        assert_eq!(pace.take("mallory", start), Err(SECOND));
        assert_eq!(pace.take("alice", start), Ok(()));
        assert_eq!(pace.take("mallory", start + SECOND / 2), Err(SECOND / 2));
        assert_eq!(pace.take("mallory", start + SECOND), Ok(()));
        assert_eq!(pace.take("mallory", start + SECOND), Err(SECOND));
        for _ in 0..3 {
            assert_eq!(
                pace.take("mallory", start + SECOND * 60),
                Ok(()),
                "never more than the burst is saved up"
            );
        }
        assert_eq!(pace.take("mallory", start + SECOND * 60), Err(SECOND));
    }

    /// T19: a flood of names cannot make the webhook grow once it has ended.
    #[test]
    fn requesters_that_ask_no_more_are_forgotten() {
        let (pace, start) = (Pace::new(1, SECOND), Instant::now());
        for index in 0..MANY {
            assert_eq!(pace.take(&index.to_string(), start), Ok(()));
        }
        assert_eq!(pace.take("late", start + SECOND * 2), Ok(()));
        assert!(pace.whole_at.lock().is_ok_and(|all| all.len() == 1));
    }
}
