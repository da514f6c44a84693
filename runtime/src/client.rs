//! The one way in which Coffer talks to the API server.

use std::{future::Future, time::Duration};

use kube::{Client, Config};

/// A connection that cannot be made in this time will not be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Silence that long means a dead connection. Without it, a watch over a broken network would look quiet for ever.
/// It is long because an idle watch is not sent its bookmark each minute: 90 s of silence were seen on a well one,
/// and a watch ends by itself after 290 s.
const READ_TIMEOUT: Duration = Duration::from_secs(285);

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Neither an in-cluster ServiceAccount nor a kubeconfig was found.
    #[error("find the API server's address and credentials")]
    Infer(#[source] Box<kube::config::InferConfigError>),
    /// The configuration does not make a client.
    #[error("make a client from the configuration")]
    Build(#[source] Box<kube::Error>),
}

/// The Kubernetes client of a program: from its ServiceAccount in a cluster, else from KUBECONFIG.
///
/// Unlike kube's default it never repeats a request by itself. The default repeats 429, 503 and 504 for up to
/// 164 s, far beyond a leader's deadline or a caller's patience; here whoever asked decides.
///
/// # Errors
/// When no configuration is found or it is unusable.
pub async fn client() -> Result<Client, ClientError> {
    let mut config = Config::infer().await.map_err(|error| ClientError::Infer(Box::new(error)))?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.write_timeout = Some(Duration::from_secs(30));
    config.default_retry = false;
    Client::try_from(config).map_err(|error| ClientError::Build(Box::new(error)))
}

/// Why a call to the API server gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No answer in the time given; whether the call took effect is unknown.
    #[error("the API server did not answer within {0:?}")]
    TimedOut(Duration),
    /// The API server, or the way to it, answered with an error.
    #[error(transparent)]
    Kube(#[from] Box<kube::Error>),
}

impl CallError {
    /// The HTTP status that the API server answered with, if it answered.
    pub fn code(&self) -> Option<u16> {
        let Self::Kube(error) = self else { return None };
        if let kube::Error::Api(status) = error.as_ref() { Some(status.code) } else { None }
    }

    /// 404: there is no such object.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// 409: the object changed in between, or exists already.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// Whether the same call may succeed later without anybody mending anything: no answer, 429, 5xx.
    pub fn is_transient(&self) -> bool {
        self.code().is_none_or(|code| code == 429 || code >= 500)
    }
}

/// Awaits an API call for at most `limit`. To be put around each call on a path that somebody waits for.
///
/// # Errors
/// The call's own error, or that the time was up.
pub async fn within<T>(limit: Duration, call: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result.map_err(|error| CallError::Kube(Box::new(error))),
        Err(_) => Err(CallError::TimedOut(limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_is_given_up_at_its_limit() {
        let limit = Duration::from_secs(3);
        let error = within(limit, std::future::pending::<kube::Result<()>>()).await.expect_err("it hangs");
        assert!(matches!(error, CallError::TimedOut(after) if after == limit));
        assert!(error.is_transient());
    }
}
