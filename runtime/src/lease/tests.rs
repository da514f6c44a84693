//! The election against an API server in memory, on tokio's paused clock: hours pass in no time, and every sleep
//! below is virtual.

#![allow(clippy::unwrap_used, reason = "a test's own set-up must not fail quietly")]

use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::{Timestamp, ToSpan},
};
use kube::client::Body;
use tokio::time::{advance, sleep, timeout};

use super::{
    candidate::{Candidate, Standing},
    *,
};

/// One Lease, with the API server's rules for resourceVersion.
#[derive(Clone, Default)]
struct ApiServer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lease: Option<Lease>,
    revision: u64,
    /// Requests by the clients with these numbers never come through.
    cut_off: Vec<usize>,
    /// Somebody edits the Lease's labels after the next this many reads.
    edits: usize,
    writes: usize,
}

impl ApiServer {
    fn client(&self, number: usize) -> Client {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let state = self.0.clone();
        tokio::spawn(async move {
            while let Some((request, send)) = handle.next_request().await {
                let cut = state.lock().expect("no panic").cut_off.contains(&number);
                if cut {
                    // Held open, as a broken network does; whoever waits gives up by itself.
                    tokio::spawn(async move {
                        std::future::pending::<()>().await;
                        drop(send);
                    });
                    continue;
                }
                let method = request.method().clone();
                let body = request.into_body().collect_bytes().await.expect("bodies are in memory");
                let (status, json) = state.lock().expect("no panic").answer(&method, &body);
                let response =
                    Response::builder().status(status).body(Body::from(json.to_string().into_bytes()));
                send.send_response(response.expect("valid response"));
            }
        });
        Client::new(service, "coffer-system")
    }

    fn candidate(&self, number: usize, pod: &str) -> Candidate {
        Candidate::new(self.client(number), config(pod))
    }

    fn set(&self, holder: &str, renewed: Timestamp) {
        let mut state = self.0.lock().expect("no panic");
        state.revision += 1;
        let revision = state.revision.to_string();
        let lease = state.lease.get_or_insert_default();
        lease.metadata.name = Some("coffer-operator".into());
        lease.metadata.resource_version = Some(revision);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(8),
            renew_time: Some(MicroTime(renewed)),
            ..LeaseSpec::default()
        });
    }

    fn with<T>(&self, read: impl FnOnce(&mut State) -> T) -> T {
        read(&mut self.0.lock().expect("no panic"))
    }

    fn holder(&self) -> Option<String> {
        self.with(|state| state.lease.clone()?.spec?.holder_identity)
    }
}

impl State {
    fn answer(&mut self, method: &Method, body: &[u8]) -> (StatusCode, serde_json::Value) {
        if *method == Method::GET {
            let answer = match &self.lease {
                Some(lease) => (StatusCode::OK, serde_json::to_value(lease).expect("leases serialize")),
                None => refusal(StatusCode::NOT_FOUND, "NotFound"),
            };
            if self.edits > 0 {
                self.edits -= 1;
                self.revision += 1;
                let revision = self.revision.to_string();
                if let Some(lease) = &mut self.lease {
                    lease.metadata.resource_version = Some(revision);
                }
            }
            return answer;
        }
        let mut sent: Lease = serde_json::from_slice(body).expect("the client sends Leases");
        let known = self.lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
        if *method == Method::POST && self.lease.is_some() {
            return refusal(StatusCode::CONFLICT, "AlreadyExists");
        }
        if *method == Method::PUT && (known.is_none() || sent.metadata.resource_version != known) {
            return refusal(StatusCode::CONFLICT, "Conflict");
        }
        self.revision += 1;
        self.writes += 1;
        sent.metadata.resource_version = Some(self.revision.to_string());
        self.lease = Some(sent.clone());
        (StatusCode::OK, serde_json::to_value(sent).expect("leases serialize"))
    }
}

fn refusal(status: StatusCode, reason: &str) -> (StatusCode, serde_json::Value) {
    let json = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "metadata": {},
        "reason": reason, "message": reason, "code": status.as_u16(),
    });
    (status, json)
}

fn config(pod: &str) -> LeaseConfig {
    LeaseConfig::new("coffer-system", "coffer-operator", pod)
}

fn starts_in(standing: Standing) -> Duration {
    match standing {
        Standing::Holds { from, .. } => from.saturating_duration_since(Instant::now()),
        Standing::Waits => panic!("waits"),
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn the_first_candidate_of_a_new_installation_leads_at_once() {
    let api = ApiServer::default();
    let mut candidate = api.candidate(0, "a");
    assert_eq!(starts_in(candidate.step().await.unwrap()), Duration::ZERO);
    assert_eq!(api.holder().as_deref(), Some(candidate.identity()));
}

#[tokio::test(start_paused = true)]
async fn of_two_that_write_at_once_the_second_waits() {
    let api = ApiServer::default();
    let (mut a, mut b) = (api.candidate(0, "a"), api.candidate(1, "b"));
    let (first, second) = tokio::join!(a.step(), b.step());
    let holds = |standing| matches!(standing, Standing::Holds { .. });
    assert!(holds(first.unwrap()) != holds(second.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_silent_holder_is_replaced_when_our_clock_says_so_whatever_time_it_wrote() {
    for written in [Timestamp::UNIX_EPOCH, Timestamp::now() + 24.hours()] {
        let api = ApiServer::default();
        api.set("b/1", written);
        let mut candidate = api.candidate(0, "a");
        assert_eq!(candidate.step().await.unwrap(), Standing::Waits);
        advance(8 * SECOND - Duration::from_millis(1)).await;
        assert_eq!(candidate.step().await.unwrap(), Standing::Waits);
        advance(Duration::from_millis(1)).await;
        let standing = candidate.step().await.unwrap();
        assert_eq!(starts_in(standing), 4 * SECOND, "the old holder's last request may be under way");
        assert_eq!(api.with(|state| state.lease.clone().unwrap().spec.unwrap().lease_transitions), Some(0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_renews_stays_even_if_its_clock_is_years_behind() {
    let api = ApiServer::default();
    let mut candidate = api.candidate(0, "a");
    for minute in 0..30 {
        api.set("b/1", Timestamp::UNIX_EPOCH + minute.minutes());
        assert_eq!(candidate.step().await.unwrap(), Standing::Waits);
        advance(6 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_in_between_makes_taking_over_fail() {
    let api = ApiServer::default();
    api.set("b/1", Timestamp::UNIX_EPOCH);
    let mut candidate = api.candidate(0, "a");
    assert_eq!(candidate.step().await.unwrap(), Standing::Waits);
    advance(8 * SECOND).await;
    api.with(|state| state.edits = 1);
    assert_eq!(candidate.step().await.unwrap(), Standing::Waits);
    assert_eq!(api.holder().as_deref(), Some("b/1"));
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_labels_costs_the_holder_one_renewal_and_not_the_leadership() {
    let api = ApiServer::default();
    let mut candidate = api.candidate(0, "a");
    let before = candidate.step().await.unwrap();
    advance(SECOND).await;
    api.with(|state| state.edits = 1);
    assert_eq!(candidate.step().await.unwrap(), before, "until the old deadline");
    let Standing::Holds { until, .. } = candidate.step().await.unwrap() else { panic!("waits") };
    assert_eq!(until, Instant::now() + config("a").renew_deadline);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_container_follows_its_predecessor_after_one_request_timeout() {
    let api = ApiServer::default();
    api.set("a/17", Timestamp::now());
    let mut candidate = api.candidate(0, "a");
    assert_eq!(starts_in(candidate.step().await.unwrap()), 4 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_taken_without_waiting() {
    let api = ApiServer::default();
    let first = run(api.client(0), config("a"));
    first.elected().await;
    let second = run(api.client(1), config("b"));
    sleep(10 * SECOND).await;
    assert!(!second.leadership().borrow().may_send());
    first.release().await;
    timeout(2 * SECOND, second.elected()).await.expect("the next look finds it free");
    assert!(api.holder().unwrap().starts_with("b/"));
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_another_is_not_released() {
    let api = ApiServer::default();
    let election = run(api.client(0), config("a"));
    election.elected().await;
    api.set("b/1", Timestamp::now());
    election.lost().await;
    election.release().await;
    assert_eq!(api.holder().as_deref(), Some("b/1"));
}

#[tokio::test(start_paused = true)]
async fn a_leader_cut_off_from_the_api_server_stops_at_its_deadline() {
    let api = ApiServer::default();
    let election = run(api.client(0), config("a"));
    election.elected().await;
    api.with(|state| state.cut_off.push(0));
    let deadline = election.leadership().borrow().deadline().expect("leads");
    election.lost().await;
    assert!(Instant::now() <= deadline + Duration::from_millis(5), "those who wait hear of it in time");
    assert!(!election.leadership().borrow().may_send());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_election_runs_out_and_a_standby_steps_in_within_fifteen_seconds() {
    let api = ApiServer::default();
    let first = run(api.client(0), config("a"));
    first.elected().await;
    let second = run(api.client(1), config("b"));
    sleep(20 * SECOND).await;
    let died = Instant::now();
    drop(first);
    second.elected().await;
    assert!(died.elapsed() <= 15 * SECOND, "{:?}", died.elapsed());
}

#[tokio::test(start_paused = true)]
async fn whenever_the_network_breaks_the_last_request_of_one_leader_is_over_before_the_first_of_the_next() {
    for cut_after in (0..4000).step_by(90) {
        let api = ApiServer::default();
        let elections = [run(api.client(0), config("a")), run(api.client(1), config("b"))];
        elections[0].elected().await;
        sleep(Duration::from_millis(6000 + cut_after)).await;
        api.with(|state| state.cut_off.push(0));
        elections[0].lost().await;
        let last_possible_answer = Instant::now() + config("a").request_timeout;
        elections[1].elected().await;
        assert!(Instant::now() >= last_possible_answer, "cut after {cut_after} ms");
        api.with(|state| state.cut_off.clear());
        sleep(20 * SECOND).await;
        assert!(
            !elections[0].leadership().borrow().may_send(),
            "back on the network, it sees the new holder"
        );
    }
}
