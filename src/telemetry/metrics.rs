//! The metrics of one process, in Prometheus text (OpenMetrics 1.0).

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// A registry that modules add their own metrics to. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Default for Metrics {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Registry::with_prefix("hopgate"))))
    }
}

impl Metrics {
    /// An empty registry; every name gets the prefix `hopgate_`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets a module register what it counts.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Everything as text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match encode(&mut text, &registry) {
            Ok(()) => text,
            Err(error) => {
                tracing::error!(%error, "metrics cannot be written as text");
                String::new()
            }
        }
    }
}
