//! What the broker counts. Labels are of fixed sets; none comes from a caller.

use crate::audit::Observer;
use coffer_runtime::{Check, Metrics};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
};
use std::time::Duration;

/// The broker's metrics. Cheap to clone.
#[derive(Clone)]
pub struct BrokerMetrics {
    releases: Family<Outcome, Counter>,
    release_seconds: Family<Decision, Histogram>,
    rereads: Family<Reread, Counter>,
    audit_queries: Family<Inquiry, Counter>,
    audit_query_seconds: Histogram,
    broke_glass: Counter,
    suppressed: Counter,
    audit_records: Counter,
    audit_failures: Counter,
    audit_commit_seconds: Histogram,
    audit_writable: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    door: &'static str,
    decision: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Decision {
    decision: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Inquiry {
    decision: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reread {
    result: &'static str,
}

impl BrokerMetrics {
    /// Registers all of them.
    pub fn new(metrics: &Metrics) -> Self {
        // 0.1 ms to 3.3 s, doubling.
        let seconds = || Histogram::new(exponential_buckets(0.0001, 2.0, 16));
        let by_decision = Family::new_with_constructor(seconds as fn() -> Histogram);
        Self {
            releases: metrics.register(
                "broker_releases",
                "Release requests by door, decision (allowed, denied) and reason",
                Family::default(),
            ),
            release_seconds: metrics.register(
                "broker_release_seconds",
                "Time from a read request to its answer, by decision",
                by_decision,
            ),
            rereads: metrics.register(
                "broker_rereads",
                "Looks past the watches because Envelope and member did not fit together, by result (ok, failed)",
                Family::default(),
            ),
            audit_queries: metrics.register(
                "broker_audit_queries",
                "AuditQueries that this replica answered from its log, by decision (allowed, denied) and reason",
                Family::default(),
            ),
            audit_query_seconds: metrics.register(
                "broker_audit_query_seconds",
                "Time from taking up an AuditQuery to its answer, the search of the log included",
                seconds(),
            ),
            broke_glass: metrics.register(
                "broker_break_glass",
                "Requests that no membership of their caller allows, released by break glass",
                Counter::default(),
            ),
            suppressed: metrics.register(
                "broker_audit_suppressed",
                "Denials without a record of their own, because their rate is bounded; the next record counts them",
                Counter::default(),
            ),
            audit_records: metrics.register(
                "broker_audit_records",
                "Audit records made durable",
                Counter::default(),
            ),
            audit_failures: metrics.register(
                "broker_audit_failures",
                "Failed commits and openings of the audit log",
                Counter::default(),
            ),
            audit_commit_seconds: metrics.register(
                "broker_audit_commit_seconds",
                "Time of one commit of the audit log, fsync included",
                seconds(),
            ),
            audit_writable: metrics.register(
                "broker_audit_writable",
                "1 while the audit log can be written, else 0: nothing is released",
                Gauge::default(),
            ),
        }
    }

    /// One series in every family, so that the metrics reference can tell their labels.
    pub fn touch(&self) {
        self.answered("workload", None, Duration::ZERO);
        self.reread(true);
        self.inquired(None, Duration::ZERO);
    }

    /// An AuditQuery was answered; `reason` is `None` when it was allowed.
    pub fn inquired(&self, reason: Option<&'static str>, took: Duration) {
        let decision = if reason.is_none() { "allowed" } else { "denied" };
        let inquiry = Inquiry { decision, reason: reason.unwrap_or("Allowed") };
        self.audit_queries.get_or_create(&inquiry).inc();
        self.audit_query_seconds.observe(took.as_secs_f64());
    }

    /// Something was released by break glass.
    pub fn broke_glass(&self) {
        self.broke_glass.inc();
    }

    /// A request was answered; `reason` is `None` when it was allowed.
    pub fn answered(&self, door: &'static str, reason: Option<&'static str>, took: Duration) {
        let decision = if reason.is_none() { "allowed" } else { "denied" };
        let outcome = Outcome { door, decision, reason: reason.unwrap_or("Allowed") };
        self.releases.get_or_create(&outcome).inc();
        self.release_seconds.get_or_create(&Decision { decision }).observe(took.as_secs_f64());
    }

    /// Objects were read again.
    pub fn reread(&self, ok: bool) {
        self.rereads.get_or_create(&Reread { result: if ok { "ok" } else { "failed" } }).inc();
    }

    /// A denial got no record of its own.
    pub fn suppressed(&self) {
        self.suppressed.inc();
    }
}

/// Feeds the audit log's reports into metrics and readiness.
pub struct AuditHealth {
    /// Where they are counted.
    pub metrics: BrokerMetrics,
    /// Met while the log can be written.
    pub check: Check,
}

impl Observer for AuditHealth {
    fn committed(&self, records: usize, took: Duration) {
        self.metrics.audit_records.inc_by(records as u64);
        self.metrics.audit_commit_seconds.observe(took.as_secs_f64());
    }

    fn failed(&self) {
        self.metrics.audit_failures.inc();
    }

    fn writable(&self, writable: bool) {
        self.metrics.audit_writable.set(writable.into());
        if writable {
            self.check.ready();
        } else {
            self.check.not_ready("the audit log cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer_runtime::Readiness;

    /// T18: the names that alert rules and dashboards rely on.
    #[test]
    fn the_metric_names_are_frozen() {
        let metrics = Metrics::new();
        let broker = BrokerMetrics::new(&metrics);
        broker.answered("workload", None, Duration::from_millis(1));
        broker.answered("workload", Some("OutOfScope"), Duration::from_millis(1));
        broker.reread(true);
        broker.suppressed();
        broker.inquired(Some("Verb"), Duration::from_millis(1));
        let check = Readiness::new().check("audit");
        let health = AuditHealth { metrics: broker, check: check.clone() };
        health.committed(2, Duration::from_millis(1));
        health.failed();
        health.writable(true);
        assert!(check.is_ready());
        let text = metrics.encode().expect("numbers encode");
        for line in [
            r#"coffer_broker_releases_total{door="workload",decision="allowed",reason="Allowed"} 1"#,
            r#"coffer_broker_releases_total{door="workload",decision="denied",reason="OutOfScope"} 1"#,
            r#"coffer_broker_release_seconds_count{decision="allowed"} 1"#,
            r#"coffer_broker_rereads_total{result="ok"} 1"#,
            "coffer_broker_audit_suppressed_total 1",
            r#"coffer_broker_audit_queries_total{decision="denied",reason="Verb"} 1"#,
            "coffer_broker_audit_query_seconds_count 1",
            "coffer_broker_audit_records_total 2",
            "coffer_broker_audit_failures_total 1",
            "coffer_broker_audit_commit_seconds_count 1",
            "coffer_broker_audit_writable 1",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in:\n{text}");
        }
    }
}
