//! The Prometheus registry of a program.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::{
    encoding::text::encode,
    registry::{Metric, Registry},
};

/// Content type of [`Metrics::encode`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A shared registry. Every name gets the prefix `coffer_`. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// An empty registry.
    pub fn new() -> Self {
        Self { registry: Arc::new(Mutex::new(Registry::with_prefix("coffer"))) }
    }

    /// Registers `metric` and hands it back, so that a field can be filled in one line. `name` is without the
    /// prefix and, for counters, without `_total`, which the encoder appends. Labels must be bounded.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.locked().register(name, help, metric.clone());
        metric
    }

    /// The text that `/metrics` answers with.
    ///
    /// # Errors
    /// Only if a metric's own encoder fails.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(4096);
        encode(&mut text, &self.locked())?;
        Ok(text)
    }

    fn locked(&self) -> MutexGuard<'_, Registry> {
        // A panic while registering leaves the registry usable: at worst one metric is missing.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn a_registered_counter_is_scraped_with_the_product_s_prefix() {
        let metrics = Metrics::new();
        let counter = metrics.register("releases", "Credentials released", Counter::<u64>::default());
        counter.inc();
        let text = metrics.encode().expect("counters always encode");
        assert!(text.contains("coffer_releases_total 1"), "{text}");
    }
}
