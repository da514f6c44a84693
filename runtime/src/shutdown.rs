//! The wish to end, as every task of a program sees it.

use std::future::Future;

use tokio_util::sync::CancellationToken;

/// Cheap to clone; all clones see the same wish. Asked for by SIGTERM, SIGINT ([`crate::start()`]) or
/// [`Shutdown::request`].
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// One that no signal is wired to: for tests and tools.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every task that holds a clone to end. Idempotent.
    pub fn request(&self) {
        self.token.cancel();
    }

    /// Whether the end has been asked for.
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves once the end has been asked for; at once if it already was.
    pub fn requested(&self) -> impl Future<Output = ()> + Send + 'static {
        self.token.clone().cancelled_owned()
    }

    /// Runs `future` until it ends or the end is asked for; `None` in the second case.
    pub async fn or_requested<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        self.token.run_until_cancelled(future).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_reaches_every_clone_and_stays() {
        let shutdown = Shutdown::new();
        let other = shutdown.clone();
        assert!(!other.is_requested());
        shutdown.request();
        shutdown.request();
        other.requested().await;
        assert!(other.is_requested());
        assert_eq!(other.or_requested(std::future::pending::<()>()).await, None);
    }
}
