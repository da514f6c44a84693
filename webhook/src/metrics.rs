//! What this program counts. Labels are of fixed, small sets.

use std::time::Duration;

use coffer_runtime::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AdmissionLabels {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// The meters of the routes. Cheap to clone.
#[derive(Clone)]
pub struct Meters {
    admissions: Family<AdmissionLabels, Counter>,
    seconds: Family<KindLabel, Histogram>,
    broken: Family<KindLabel, Counter>,
}

/// From half a millisecond to beyond the longest wait.
const BUCKETS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 10.0];

impl Meters {
    /// Registers `coffer_webhook_admissions_total{kind, outcome}`, `coffer_webhook_admission_seconds{kind}` and
    /// `coffer_webhook_break_glass_total{kind}`.
    pub fn register(metrics: &Metrics) -> Self {
        let seconds = Family::<KindLabel, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        Self {
            admissions: metrics.register(
                "webhook_admissions",
                "Admission requests by kind and outcome (allowed, malformed, invalid, forbidden, conflict, not_ready, too_fast)",
                Family::default(),
            ),
            seconds: metrics.register("webhook_admission_seconds", "Time to answer an admission request", seconds),
            broken: metrics.register(
                "webhook_break_glass",
                "Writes that no membership of their author allows, by break glass, by kind",
                Family::default(),
            ),
        }
    }

    /// One series in every family, so that the metrics reference can tell their labels.
    pub fn touch(&self) {
        self.count("vaults", "allowed", Duration::ZERO);
        drop(self.broken.get_or_create(&KindLabel { kind: "vaults" }));
    }

    /// Counts one use of break glass.
    pub fn count_broken(&self, kind: &'static str) {
        self.broken.get_or_create(&KindLabel { kind }).inc();
    }

    /// Counts one answer.
    pub fn count(&self, kind: &'static str, outcome: &'static str, took: Duration) {
        self.admissions.get_or_create(&AdmissionLabels { kind, outcome }).inc();
        self.seconds.get_or_create(&KindLabel { kind }).observe(took.as_secs_f64());
    }
}
