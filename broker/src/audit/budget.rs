//! Bounds how fast denials fill the log.
//!
//! Anybody in the cluster can be denied as often as they like. Each denied identity, and all anonymous
//! requests of one address together, get a budget; what goes beyond it is counted and named in the next record.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A budget of records that refills with time, for every key by itself.
pub struct DenialBudget<K> {
    burst: u32,
    refill: Duration,
    max_keys: usize,
    buckets: Mutex<HashMap<Option<K>, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    left: u32,
    since: Instant,
    suppressed: u64,
}

impl<K: Eq + Hash + Clone> DenialBudget<K> {
    /// `burst` records at once, then one per `refill`; more than `max_keys` keys share one budget.
    pub fn new(burst: u32, refill: Duration, max_keys: usize) -> Self {
        Self { burst, refill, max_keys, buckets: Mutex::default() }
    }

    /// Asks for one record about `key` at `now`: `Some(n)` when it may be written, with how many were left out
    /// since the last one; `None` when it is left out itself.
    pub fn take(&self, key: K, now: Instant) -> Option<u64> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = Some(key);
        if !buckets.contains_key(&key) && buckets.len() >= self.max_keys {
            buckets.retain(|_, bucket| bucket.suppressed > 0 || self.refilled(bucket, now) < self.burst);
            if buckets.len() >= self.max_keys {
                key = None;
            }
        }
        let fresh = Bucket { left: self.burst, since: now, suppressed: 0 };
        let bucket = buckets.entry(key).or_insert(fresh);
        let left = self.refilled(bucket, now);
        if left > bucket.left {
            let gained = left - bucket.left;
            bucket.since = if left == self.burst { now } else { bucket.since + self.refill * gained };
            bucket.left = left;
        }
        if bucket.left == 0 {
            bucket.suppressed += 1;
            return None;
        }
        if bucket.left == self.burst {
            bucket.since = now;
        }
        bucket.left -= 1;
        Some(std::mem::take(&mut bucket.suppressed))
    }

    fn refilled(&self, bucket: &Bucket, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(bucket.since).as_nanos();
        let gained = passed / self.refill.as_nanos().max(1);
        bucket.left.saturating_add(u32::try_from(gained).unwrap_or(u32::MAX)).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn beyond_the_burst_denials_are_counted_and_the_count_comes_with_the_next_record() {
        let (budget, start) = (DenialBudget::new(2, SECOND, 10), Instant::now());
        assert_eq!(budget.take("a", start), Some(0));
        assert_eq!(budget.take("a", start), Some(0));
        assert_eq!(budget.take("a", start), None);
        assert_eq!(budget.take("a", start + SECOND / 2), None);
        assert_eq!(budget.take("b", start), Some(0), "each key has its own budget");
        assert_eq!(budget.take("a", start + SECOND), Some(2));
        assert_eq!(budget.take("a", start + SECOND), None);
        assert_eq!(budget.take("a", start + SECOND * 60), Some(1), "it never holds more than the burst");
        assert_eq!(budget.take("a", start + SECOND * 60), Some(0));
        assert_eq!(budget.take("a", start + SECOND * 60), None);
    }

    /// T19: a flood of names cannot make the broker grow.
    #[test]
    fn a_flood_of_keys_shares_one_budget_and_makes_room_again_when_it_ends() {
        let (budget, start) = (DenialBudget::new(1, SECOND, 3), Instant::now());
        let written = (0..10_000).filter(|key| budget.take(*key, start).is_some()).count();
        assert_eq!(written, 4);
        assert!(budget.buckets.lock().is_ok_and(|buckets| buckets.len() <= 4));
        assert_eq!(budget.take(20_000, start + SECOND), Some(0), "the idle ones went");
    }
}
