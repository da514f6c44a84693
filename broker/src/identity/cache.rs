//! Remembers reviews for a few seconds, as the API server itself does.

use super::{ReviewUnavailable, TokenIdentity, TokenReviewer};
use futures::future::BoxFuture;
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How old a remembered review may be: the bound within which a deleted ServiceAccount's token stops working.
pub const MAX_CACHE_AGE: Duration = Duration::from_secs(10);
/// How many reviews are remembered; beyond that the API server is asked each time.
pub const MAX_CACHED: usize = 8192;

/// [`TokenReviewer`] that asks another one at most every [`MAX_CACHE_AGE`] about the same token. Knows tokens
/// only by their SHA-256. Failures to ask are not remembered.
pub struct CachedReviews<R> {
    inner: R,
    known: Mutex<HashMap<[u8; 32], Known>>,
}

struct Known {
    asked_at: Instant,
    identity: Option<TokenIdentity>,
}

impl<R: TokenReviewer> CachedReviews<R> {
    /// In front of `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, known: Mutex::default() }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<[u8; 32], Known>> {
        // Every write is one insert or one removal: a panicking holder leaves the map whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, token: [u8; 32], known: Known) {
        let mut map = self.locked();
        if map.len() >= MAX_CACHED {
            map.retain(|_, known| known.asked_at.elapsed() < MAX_CACHE_AGE);
        }
        // A flood of invalid tokens must not push out the valid ones: what finds no room is not remembered.
        if map.len() < MAX_CACHED {
            map.insert(token, known);
        }
    }
}

impl<R: TokenReviewer> TokenReviewer for CachedReviews<R> {
    fn review<'a>(
        &'a self,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Option<TokenIdentity>, ReviewUnavailable>> {
        Box::pin(async move {
            let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
            // The age counts from before the question: the answer may have been decided right then.
            let asked_at = Instant::now();
            let fresh = |known: &&Known| asked_at.duration_since(known.asked_at) < MAX_CACHE_AGE;
            if let Some(identity) = self.locked().get(&key).filter(fresh).map(|known| known.identity.clone())
            {
                return Ok(identity);
            }
            let identity = self.inner.review(token).await?;
            self.remember(key, Known { asked_at, identity: identity.clone() });
            Ok(identity)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer_policy::Caller;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    /// Accepts tokens that begin with `valid`, until revoked.
    #[derive(Default)]
    struct Counting {
        asked: AtomicUsize,
        revoked: AtomicBool,
        down: AtomicBool,
    }

    impl TokenReviewer for &'static Counting {
        fn review<'a>(
            &'a self,
            token: &'a str,
        ) -> BoxFuture<'a, Result<Option<TokenIdentity>, ReviewUnavailable>> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let accepted = token.starts_with("valid") && !self.revoked.load(Ordering::SeqCst);
            let identity = accepted.then(|| TokenIdentity {
                caller: Caller { username: token.into(), ..Caller::default() },
                pod: None,
                node: None,
            });
            let answer = if self.down.load(Ordering::SeqCst) { Err(ReviewUnavailable) } else { Ok(identity) };
            Box::pin(async move { answer })
        }
    }

    fn reviews() -> (CachedReviews<&'static Counting>, &'static Counting) {
        let inner: &'static Counting = Box::leak(Box::default());
        (CachedReviews::new(inner), inner)
    }

    /// T26: a deleted ServiceAccount's token works for ten seconds more at most.
    #[tokio::test(start_paused = true)]
    async fn a_token_is_asked_about_once_in_ten_seconds_and_no_longer_accepted_after() {
        let (cached, inner) = reviews();
        assert!(cached.review("valid").await.is_ok_and(|identity| identity.is_some()));
        inner.revoked.store(true, Ordering::SeqCst);
        tokio::time::advance(MAX_CACHE_AGE - Duration::from_millis(1)).await;
        assert!(cached.review("valid").await.is_ok_and(|identity| identity.is_some()));
        assert_eq!(inner.asked.load(Ordering::SeqCst), 1);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(cached.review("valid").await, Ok(None));
        assert_eq!(inner.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn two_tokens_are_two_identities_and_a_failure_is_not_remembered() {
        let (cached, inner) = reviews();
        inner.down.store(true, Ordering::SeqCst);
        assert_eq!(cached.review("valid-a").await, Err(ReviewUnavailable));
        inner.down.store(false, Ordering::SeqCst);
        for token in ["valid-a", "valid-b", "valid-a"] {
            let identity = cached.review(token).await.ok().flatten();
            assert_eq!(identity.map(|identity| identity.caller.username).as_deref(), Some(token));
        }
        assert_eq!(cached.review("other").await, Ok(None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_tokens_neither_grows_the_cache_nor_pushes_out_who_is_in_it() {
        let (cached, inner) = reviews();
        assert!(cached.review("valid").await.is_ok());
        for index in 0..MAX_CACHED * 2 {
            assert_eq!(cached.review(&index.to_string()).await, Ok(None));
        }
        assert_eq!(cached.locked().len(), MAX_CACHED);
        let before = inner.asked.load(Ordering::SeqCst);
        assert!(cached.review("valid").await.is_ok_and(|identity| identity.is_some()));
        assert_eq!(inner.asked.load(Ordering::SeqCst), before);
    }
}
