//! Whether this machine's clock can be trusted: it is compared with the API server's.
//!
//! Expiries, invitations and certificates are judged by the clock of whoever judges. The API server writes its own
//! time, to the second, into the `Date` header of every answer (RFC 9110, section 6.6.1).

use std::{sync::atomic::AtomicU64, time::Duration};

use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimeParser};
use kube::{Client, client::Body};
use prometheus_client::metrics::gauge::Gauge;

use crate::{CallError, Metrics, Shutdown, within};

/// How often the clocks are compared.
const EVERY: Duration = Duration::from_secs(60);

/// Limit of each request.
const TIMEOUT: Duration = Duration::from_secs(4);

/// The largest deviation that is nobody's business: certificates are backdated by an hour, all else lasts for minutes
/// at least.
pub const TOLERATED: SignedDuration = SignedDuration::from_secs(10);

/// The metric `coffer_clock_skew_seconds`.
pub type Skew = Gauge<f64, AtomicU64>;

/// Registers the metric; `NaN` until the clocks were compared.
pub fn register(metrics: &Metrics) -> Skew {
    let skew = Skew::default();
    skew.set(f64::NAN);
    metrics.register(
        "clock_skew_seconds",
        "How far this machine's clock is ahead of the API server's (behind: negative); 0 within what can be told, NaN before",
        skew,
    )
}

/// Compares this machine's clock with the API server's every minute, in the background. Gives the metric
/// `coffer_clock_skew_seconds` and a warning in the log when the deviation is more than [`TOLERATED`].
pub fn watch(client: &Client, metrics: &Metrics, shutdown: &Shutdown) {
    let skew = register(metrics);
    let (client, shutdown) = (client.clone(), shutdown.clone());
    tokio::spawn(async move {
        let mut wrong = false;
        loop {
            match measure(&client, Timestamp::now).await {
                Ok(Some(ahead)) => {
                    skew.set(ahead.as_secs_f64());
                    report(ahead, &mut wrong);
                }
                Ok(None) => tracing::debug!("the API server did not say what time it is"),
                Err(error) => {
                    tracing::debug!(%error, "the clock could not be compared with the API server's")
                }
            }
            if shutdown.or_requested(tokio::time::sleep(EVERY)).await.is_none() {
                return;
            }
        }
    });
}

fn report(ahead: SignedDuration, wrong: &mut bool) {
    let now_wrong = ahead.abs() > TOLERATED;
    if now_wrong {
        tracing::warn!(
            ahead_seconds = ahead.as_secs(),
            "this machine's clock and the API server's differ: expiries and certificates are judged wrongly; set the \
             clocks of the nodes by NTP"
        );
    } else if *wrong {
        tracing::info!("this machine's clock and the API server's agree again");
    }
    *wrong = now_wrong;
}

/// Asks the API server for its time; `None` when it does not say, or a proxy took the header away.
///
/// # Errors
/// The API server does not answer.
pub async fn measure(
    client: &Client,
    clock: impl Fn() -> Timestamp,
) -> Result<Option<SignedDuration>, CallError> {
    // Every identity may ask for it, and it costs the API server nothing.
    let request = http::Request::get("/version").body(Body::empty()).map_err(kube::Error::HttpError);
    let request = request.map_err(|error| CallError::Kube(Box::new(error)))?;
    let sent = clock();
    let response = within(TIMEOUT, client.send(request)).await?;
    let received = clock();
    let date = response.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| DateTimeParser::new().parse_timestamp(date).ok());
    Ok(date.map(|date| deviation(date, sent, received)))
}

/// How far the clock that said `sent` and `received` is ahead of the one that said `date` in between. `date` was cut to
/// the second, and when in between is not known: what these two can explain is no deviation.
pub fn deviation(date: Timestamp, sent: Timestamp, received: Timestamp) -> SignedDuration {
    let end = date.saturating_add(SignedDuration::from_secs(1)).unwrap_or(date);
    if sent > end {
        sent.duration_since(end)
    } else if received < date {
        received.duration_since(date)
    } else {
        SignedDuration::ZERO
    }
}

#[cfg(test)]
mod tests;
