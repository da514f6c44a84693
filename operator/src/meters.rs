//! The operator's metrics. Names and labels are an interface; every label has a fixed set of values.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use coffer_runtime::Metrics;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};

use crate::{rotation::Step, usage};

/// What is reconciled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Reconciled {
    /// A Vault with its Keyring and members.
    Vault,
    /// A Connection with its Envelope.
    Connection,
    /// Custody, certificates and webhook configurations of this installation.
    Installation,
}

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    /// Nothing had to be written.
    Unchanged,
    /// Something was written.
    Changed,
    /// The state had changed in between; tried again at once.
    Conflict,
    /// It failed and is tried again later.
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RootLabels {
    /// One of those that are held: as many as somebody asked for, one by one.
    generation: u64,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabel {
    step: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    kind: Reconciled,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: Reconciled,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    /// A Kubernetes kind that the operator writes: a dozen.
    kind: String,
    verb: &'static str,
}

/// Cheap to clone; all clones count together.
#[derive(Clone)]
pub struct Meters {
    reconciles: Family<ReconcileLabels, Counter>,
    seconds: Family<KindLabel, Histogram>,
    writes: Family<WriteLabels, Counter>,
    custodian: Gauge,
    root: Gauge,
    roots_needed: Family<RootLabels, Gauge>,
    roots_told: Arc<Mutex<BTreeSet<u64>>>,
    guards: Gauge,
    leader: Gauge,
    certificate_expiry: Gauge<f64, AtomicU64>,
    refused: Family<KindLabel, Counter>,
    turned: Family<StepLabel, Counter>,
}

impl Meters {
    /// Registers the operator's metrics.
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            reconciles: metrics.register(
                "operator_reconciles",
                "Reconciles, by kind and outcome",
                Family::default(),
            ),
            seconds: metrics.register(
                "operator_reconcile_seconds",
                "Duration of a reconcile, by kind",
                Family::new_with_constructor(reconcile_seconds as fn() -> Histogram),
            ),
            writes: metrics.register(
                "operator_writes",
                "Requests that change something, by kind and verb",
                Family::default(),
            ),
            custodian: metrics.register(
                "operator_custodian_available",
                "1 while the custodian root is open, 0 otherwise",
                Gauge::default(),
            ),
            root: metrics.register(
                "operator_root_generation",
                "The newest generation of the custodian root that is held; 0 before it is open",
                Gauge::default(),
            ),
            roots_needed: metrics.register(
                "operator_root_needed_by",
                "How many Keyrings, Envelopes and Connections need a generation of the custodian root, by generation and \
                 kind; a generation without any may go",
                Family::default(),
            ),
            roots_told: Arc::default(),
            guards: metrics.register(
                "operator_guards_as_shipped",
                "1 while admission policies, their bindings and webhook configurations are as the chart ships them; \
                 while it is 0 no change is applied",
                Gauge::default(),
            ),
            leader: metrics.register("operator_leader", "1 on the replica that leads", Gauge::default()),
            certificate_expiry: metrics.register(
                "operator_certificate_expiry_timestamp_seconds",
                "When the first of the installation's certificates ends, in seconds of Unix time",
                Gauge::default(),
            ),
            refused: metrics.register(
                "operator_not_authorized",
                "Changes that were not applied because their author may not make them, by kind",
                Family::default(),
            ),
            turned: metrics.register(
                "operator_rotation_steps",
                "Steps of turn-overs of vaults' keys: an epoch was begun, became current, or was the only one left",
                Family::default(),
            ),
        }
    }

    /// One series in every family, so that the metrics reference can tell their labels.
    pub fn touch(&self) {
        self.reconciled(Reconciled::Vault, Outcome::Unchanged, Duration::ZERO);
        self.write("Keyring", "update");
        self.not_authorized(Reconciled::Vault);
        self.turned(Step::Begin);
        self.roots_needed(&[(1, [0, 0, 0])].into());
    }

    /// Says which generation of the custodian root is the newest.
    pub fn newest_root(&self, generation: u64) {
        self.root.set(i64::try_from(generation).unwrap_or(i64::MAX));
    }

    /// Says how many objects of each of [`usage::KINDS`] need each generation of the custodian root that is held; of others
    /// nothing any more.
    pub fn roots_needed(&self, counted: &BTreeMap<u64, [usize; 3]>) {
        let mut told = self.roots_told.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in told.iter().copied().filter(|told| !counted.contains_key(told)) {
            for kind in usage::KINDS {
                self.roots_needed.remove(&RootLabels { generation: gone, kind });
            }
        }
        for (generation, counts) in counted {
            for (kind, count) in usage::KINDS.into_iter().zip(counts) {
                let labels = RootLabels { generation: *generation, kind };
                self.roots_needed.get_or_create(&labels).set(i64::try_from(*count).unwrap_or(i64::MAX));
            }
        }
        *told = counted.keys().copied().collect();
    }

    /// Counts one step of a turn-over.
    pub fn turned(&self, step: Step) {
        let step = match step {
            Step::Rest => return,
            Step::Begin => "begin",
            Step::Switch => "switch",
            Step::Finish => "finish",
        };
        self.turned.get_or_create(&StepLabel { step }).inc();
    }

    /// Counts one reconcile.
    pub fn reconciled(&self, kind: Reconciled, outcome: Outcome, took: Duration) {
        self.reconciles.get_or_create(&ReconcileLabels { kind, outcome }).inc();
        self.seconds.get_or_create(&KindLabel { kind }).observe(took.as_secs_f64());
    }

    /// Counts one request that changes something.
    pub fn write(&self, kind: &str, verb: &'static str) {
        self.writes.get_or_create(&WriteLabels { kind: String::from(kind), verb }).inc();
    }

    /// Counts one change that was not applied.
    pub fn not_authorized(&self, kind: Reconciled) {
        self.refused.get_or_create(&KindLabel { kind }).inc();
    }

    /// Says whether the custodian root is open.
    pub fn custodian_available(&self, available: bool) {
        self.custodian.set(i64::from(available));
    }

    /// Says whether the guards in the API server are as shipped.
    pub fn guards_as_shipped(&self, as_shipped: bool) {
        self.guards.set(i64::from(as_shipped));
    }

    /// Says whether this replica leads.
    pub fn leading(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Says when the first certificate ends.
    pub fn certificates_end(&self, unix_seconds: i64) {
        #[allow(clippy::cast_precision_loss, reason = "seconds of Unix time are exact in an f64 for ages")]
        self.certificate_expiry.set(unix_seconds as f64);
    }
}

/// From a reconcile that writes nothing to one that waits for a slow API server.
fn reconcile_seconds() -> Histogram {
    Histogram::new([0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}
