use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
};

use http::Response;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a valid timestamp")
}

#[test]
fn what_rounding_and_travel_explain_is_no_deviation() {
    let date = at("2026-03-01T12:00:00Z");
    let zero = SignedDuration::ZERO;
    assert_eq!(deviation(date, at("2026-03-01T12:00:00.9Z"), at("2026-03-01T12:00:00.95Z")), zero);
    assert_eq!(deviation(date, at("2026-03-01T11:59:58Z"), at("2026-03-01T12:00:02Z")), zero);
}

#[test]
fn a_clock_that_is_ahead_is_positive_and_one_behind_negative_whatever_the_answer_took() {
    let date = at("2026-03-01T12:00:00Z");
    let ahead = deviation(date, at("2026-03-01T12:05:01Z"), at("2026-03-01T12:05:03Z"));
    assert_eq!(ahead, SignedDuration::from_mins(5));
    let behind = deviation(date, at("2026-03-01T10:59:57Z"), at("2026-03-01T11:00:00Z"));
    assert_eq!(behind, SignedDuration::from_hours(-1));
}

#[tokio::test]
async fn the_api_server_s_own_time_is_read_from_its_answer() {
    let answer = |date: Option<&'static str>| {
        let service = tower::service_fn(move |request: http::Request<Body>| async move {
            assert_eq!(request.uri().path(), "/version");
            let mut response = Response::builder();
            if let Some(date) = date {
                response = response.header("date", date);
            }
            Ok::<_, Infallible>(response.body(Body::empty()).expect("a valid response"))
        });
        Client::new(service, "default")
    };
    let clock = || at("2026-11-25T10:06:35Z");
    let an_hour_ahead = measure(&answer(Some("Wed, 25 Nov 2026 09:06:34 GMT")), clock).await;
    assert_eq!(an_hour_ahead.expect("it answers"), Some(SignedDuration::from_hours(1)));
    for unusable in [None, Some("yesterday")] {
        assert_eq!(measure(&answer(unusable), clock).await.expect("it answers"), None);
    }
}

/// The API server's clock is ahead of this machine's by so much; `None`: it does not answer.
type Ahead = Arc<Mutex<Option<SignedDuration>>>;

fn api_server(ahead: &Ahead) -> Client {
    let ahead = ahead.clone();
    let service = tower::service_fn(move |_: http::Request<Body>| {
        let ahead = *ahead.lock().expect("nobody panicked");
        async move {
            let ahead = ahead.ok_or_else(|| io::Error::other("the API server is away"))?;
            let date = (Timestamp::now() + ahead).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            Ok::<_, io::Error>(
                Response::builder().header("date", date).body(Body::empty()).expect("a response"),
            )
        }
    });
    Client::new(service, "default")
}

/// Everything that is logged on this thread from `info` on.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// What came since the last call.
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().expect("nobody panicked"))).expect("text")
    }
}

/// The clock of this machine cannot be set in a test; that of the API server, which it is compared with, can.
#[tokio::test(start_paused = true)]
async fn a_clock_that_differs_by_more_than_ten_seconds_is_measured_every_minute_and_warned_of() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let (metrics, shutdown, ahead) = (Metrics::new(), Shutdown::new(), Ahead::default());
    let skew = || -> f64 {
        let text = metrics.encode().expect("gauges encode");
        let line = text.lines().find_map(|line| line.strip_prefix("coffer_clock_skew_seconds "));
        line.and_then(|value| value.parse().ok()).expect("the metric is there")
    };
    let api_server_is = |by: Option<SignedDuration>| *ahead.lock().expect("nobody panicked") = by;
    // Just after one comparison more.
    let compared = async || tokio::time::sleep(EVERY).await;

    watch(&api_server(&ahead), &metrics, &shutdown);
    assert!(skew().is_nan(), "not compared yet");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(skew().is_nan(), "the API server is away");
    assert_eq!(log.take(), "", "which is said where it matters");

    for (by, expected, warned) in [
        (SignedDuration::from_hours(1), -3600.0, true),
        (SignedDuration::from_secs(-30), 30.0, true),
        (SignedDuration::from_secs(8), -8.0, false),
        (SignedDuration::ZERO, 0.0, false),
    ] {
        api_server_is(Some(by));
        compared().await;
        // The header is cut to the second, and what a second explains is none.
        assert!((skew() - expected).abs() <= 2.0, "{by}: {}", skew());
        let said = log.take();
        assert_eq!(
            said.contains("WARN") && said.contains("set the clocks of the nodes by NTP"),
            warned,
            "{said}"
        );
        assert_eq!(said.contains("agree again"), expected == -8.0, "once, when it is right again: {said}");
    }

    api_server_is(Some(SignedDuration::from_mins(5)));
    compared().await;
    api_server_is(None);
    compared().await;
    assert!((skew() + 300.0).abs() <= 2.0, "what was measured last stays: {}", skew());
    shutdown.request();
    tokio::time::sleep(Duration::from_secs(1)).await;
    api_server_is(Some(SignedDuration::ZERO));
    compared().await;
    assert!(skew() < -200.0, "at the end it stops");
}
