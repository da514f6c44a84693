//! How often a member may ask: a sliding window for each.

use coffer_crds::RateLimit;
use coffer_policy::release::RetryAfter;
use futures::future::BoxFuture;
use jiff::SignedDuration;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Whose window it is: the uid of the VaultMember.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MemberUid(pub String);

/// Charges one request to a member's window.
pub trait RateLimiter: Send + Sync + 'static {
    /// Charges the request, or says how long to wait. Called only when nothing else refuses (T15).
    fn charge<'a>(&'a self, member: &'a MemberUid, limit: RateLimit)
    -> BoxFuture<'a, Result<(), RetryAfter>>;
}

/// Above this many requests per window, neighbouring ones share an entry, so that a window takes little room.
const EXACT: u32 = 1024;
/// Empty windows are forgotten when there are more than this many.
const MANY: usize = 10_000;

/// Windows in this process's memory: exact for one replica.
#[derive(Default)]
pub struct LocalWindows {
    windows: Mutex<HashMap<MemberUid, Window>>,
}

#[derive(Default)]
struct Window {
    charged: VecDeque<Charged>,
    total: u32,
    length: Duration,
}

/// Requests that leave the window together, when the last of them does: never one too early.
#[derive(Clone, Copy)]
struct Charged {
    first: Instant,
    last: Instant,
    count: u32,
}

impl Window {
    fn charge(&mut self, limit: RateLimit, now: Instant) -> Result<(), RetryAfter> {
        self.length = Duration::from_secs(limit.window_seconds.into());
        self.forget(now);
        if self.total >= limit.count {
            return Err(RetryAfter(self.wait(limit, now)));
        }
        let step = if limit.count > EXACT { self.length / EXACT } else { Duration::ZERO };
        match self.charged.back_mut() {
            Some(recent) if now.saturating_duration_since(recent.first) < step => {
                recent.last = now;
                recent.count += 1;
            }
            Some(_) | None => self.charged.push_back(Charged { first: now, last: now, count: 1 }),
        }
        self.total += 1;
        Ok(())
    }

    fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.charged.front().copied() {
            if now.saturating_duration_since(oldest.last) < self.length {
                return;
            }
            self.charged.pop_front();
            self.total -= oldest.count;
        }
    }

    /// Until so many have left the window that one more fits.
    fn wait(&self, limit: RateLimit, now: Instant) -> SignedDuration {
        let mut surplus = (self.total + 1).saturating_sub(limit.count);
        for charged in &self.charged {
            surplus = surplus.saturating_sub(charged.count);
            if surplus == 0 {
                let left = (charged.last + self.length).saturating_duration_since(now);
                return SignedDuration::try_from(left).unwrap_or(SignedDuration::MAX);
            }
        }
        SignedDuration::ZERO
    }
}

impl LocalWindows {
    fn charge_at(&self, member: &MemberUid, limit: RateLimit, now: Instant) -> Result<(), RetryAfter> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() > MANY && !windows.contains_key(member) {
            windows.retain(|_, window| {
                window.forget(now);
                window.total > 0
            });
        }
        windows.entry(member.clone()).or_default().charge(limit, now)
    }
}

impl RateLimiter for LocalWindows {
    fn charge<'a>(
        &'a self,
        member: &'a MemberUid,
        limit: RateLimit,
    ) -> BoxFuture<'a, Result<(), RetryAfter>> {
        Box::pin(async move { self.charge_at(member, limit, Instant::now()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(count: u32, window_seconds: u32) -> RateLimit {
        RateLimit { count, window_seconds }
    }

    fn member(name: &str) -> MemberUid {
        MemberUid(name.into())
    }

    fn wait_of(result: Result<(), RetryAfter>) -> Option<Duration> {
        result.err().and_then(|RetryAfter(wait)| wait.try_into().ok())
    }

    /// C18: a sliding window, not a bucket that refills at once.
    #[test]
    fn a_window_slides_and_says_exactly_how_long_to_wait() {
        let (windows, start, web) = (LocalWindows::default(), Instant::now(), member("web"));
        let second = Duration::from_secs(1);
        for at in [0, 10, 20] {
            assert_eq!(windows.charge_at(&web, limit(3, 60), start + second * at), Ok(()));
        }
        assert_eq!(wait_of(windows.charge_at(&web, limit(3, 60), start + second * 21)), Some(second * 39));
        assert_eq!(windows.charge_at(&member("other"), limit(3, 60), start + second * 21), Ok(()));
        assert_eq!(windows.charge_at(&web, limit(3, 60), start + second * 60), Ok(()));
        assert_eq!(wait_of(windows.charge_at(&web, limit(3, 60), start + second * 60)), Some(second * 10));
    }

    /// T16: a changed limit judges what was used before.
    #[test]
    fn changing_a_limit_keeps_the_window() {
        let (windows, start, web) = (LocalWindows::default(), Instant::now(), member("web"));
        for _ in 0..5 {
            assert_eq!(windows.charge_at(&web, limit(5, 60), start), Ok(()));
        }
        let wait = Some(Duration::from_secs(60));
        assert_eq!(wait_of(windows.charge_at(&web, limit(2, 60), start)), wait);
        assert_eq!(windows.charge_at(&web, limit(6, 60), start), Ok(()));
        assert_eq!(wait_of(windows.charge_at(&web, limit(6, 60), start)), wait);
    }

    /// A large limit is kept in little room and still never exceeded in any window.
    #[test]
    fn a_large_limit_takes_little_room_and_is_never_exceeded() {
        let (windows, start, web) = (LocalWindows::default(), Instant::now(), member("web"));
        let big = limit(5000, 10);
        let mut allowed: VecDeque<Instant> = VecDeque::new();
        for step in 0..40_000 {
            let now = start + Duration::from_millis(step);
            if windows.charge_at(&web, big, now).is_ok() {
                allowed.push_back(now);
            }
            while allowed.front().is_some_and(|first| now.duration_since(*first) >= Duration::from_secs(10)) {
                allowed.pop_front();
            }
            assert!(allowed.len() <= 5000);
        }
        assert!(allowed.len() > 4900, "not much stricter than promised: {}", allowed.len());
        assert!(windows.windows.lock().is_ok_and(|w| w[&web].charged.len() <= 1100));
    }

    #[test]
    fn windows_of_members_that_ask_no_more_are_forgotten() {
        let (windows, start) = (LocalWindows::default(), Instant::now());
        for index in 0..MANY * 2 {
            let now = start + Duration::from_secs(index as u64);
            assert_eq!(windows.charge_at(&member(&index.to_string()), limit(1, 1), now), Ok(()));
        }
        assert!(windows.windows.lock().is_ok_and(|w| w.len() <= MANY + 2));
    }
}
