//! What runs, by name: the version of this program, and the snapshot that judges. Each is one number, 1, with the name as its
//! label; only the one of now is on the page.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::authz::Gate;
use crate::telemetry::Metrics;

/// Registers both.
pub(super) fn register(metrics: &Metrics, gate: &Arc<Gate>) {
    let running = Running(Arc::clone(gate));
    metrics.register(|registry| registry.register_collector(Box::new(running)));
}

struct Running(Arc<Gate>);

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Running")
    }
}

impl Collector for Running {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let snapshot = self.0.snapshot();
        one(
            &mut encoder,
            ("authz_snapshot", "1 for the revision of policies and keys that judges now."),
            &[("revision", snapshot.revision())],
        )?;
        one(
            &mut encoder,
            ("sidecar_build", "1 for the version of the program."),
            &[("version", env!("CARGO_PKG_VERSION"))],
        )
    }
}

fn one(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    labels: &impl EncodeLabelSet,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(1_i64).encode(family.encode_family(labels)?)
}
