//! What the driver counts.

use coffer_runtime::Metrics;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, histogram::Histogram},
};

/// How a publish ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    /// A new volume is there.
    Published,
    /// A republish changed the files.
    Changed,
    /// A republish found nothing to change.
    Unchanged,
    /// A republish got no answer; the files stay.
    Kept,
    /// A republish was told that a credential is no longer allowed.
    Revoked,
    /// A first publish was told no.
    Denied,
    /// A first publish failed otherwise.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: Outcome,
}

/// The driver's metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub struct NodeMetrics {
    publishes: Family<Labels, Counter>,
    duration: Histogram,
    unpublishes: Counter,
}

impl NodeMetrics {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Self {
        let buckets = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0];
        Self {
            publishes: metrics.register(
                "node_publishes",
                "Publishes and republishes by outcome",
                Family::default(),
            ),
            duration: metrics.register(
                "node_publish_duration_seconds",
                "Seconds from the kubelet's request to the answer",
                Histogram::new(buckets),
            ),
            unpublishes: metrics.register("node_unpublishes", "Volumes taken away", Counter::default()),
        }
    }

    /// One series in every family, so that the metrics reference can tell their labels.
    pub fn touch(&self) {
        self.published(Outcome::Published, 0.0);
    }

    /// Counts one publish.
    pub fn published(&self, outcome: Outcome, seconds: f64) {
        self.publishes.get_or_create(&Labels { outcome }).inc();
        self.duration.observe(seconds);
    }

    /// Counts one unpublish.
    pub fn unpublished(&self) {
        self.unpublishes.inc();
    }

    #[cfg(test)]
    pub(crate) fn count(&self, outcome: Outcome) -> u64 {
        self.publishes.get_or_create(&Labels { outcome }).get()
    }
}
