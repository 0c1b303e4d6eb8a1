//! How discovery stands: for the admin page and the metrics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::runtime::Clock;
use crate::telemetry::Metrics;
use crate::xds::own::{
    POLICY_RESOURCE_TYPE, REISSUE_ORDER_TYPE, REVOKED_WORKLOAD_TYPE, SERVICE_TYPE,
    TRUST_BUNDLE_TYPE,
};

/// How discovery stands.
#[derive(Debug)]
pub struct DiscoveryStatus {
    clock: Clock,
    heard: Mutex<Heard>,
}

/// What was heard, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// Since when the stream is open; `None` while there is none.
    pub connected_since: Option<SystemTime>,
    /// Until when the last stream was open, or since when there was none.
    pub silent_since: Option<SystemTime>,
    /// Streams opened so far.
    pub connections: u64,
    /// Resources that are held, by type URL.
    pub resources: BTreeMap<&'static str, u64>,
    /// Resources received so far; those of a type that is sent whole again count again.
    pub received: u64,
    /// Answers accepted so far.
    pub accepted: u64,
    /// Answers refused so far.
    pub refused: u64,
    /// Bundles are tried that an Envoy has not yet taken.
    pub waits_for_envoy: bool,
    /// What was last refused, and why; gone when the same type is accepted.
    pub last_refusal: Option<String>,
    /// What went wrong last on the way to the control plane, or with the state directory; gone once it is well.
    pub last_error: Option<String>,
}

impl DiscoveryStatus {
    pub(super) fn new(clock: Clock) -> Self {
        let heard = Heard { silent_since: Some(clock.now()), ..Heard::default() };
        Self { clock, heard: Mutex::new(heard) }
    }

    /// How it stands now.
    #[must_use]
    pub fn heard(&self) -> Heard {
        self.lock().clone()
    }

    /// For how long nothing could be heard; zero while the stream is open.
    #[must_use]
    pub fn staleness(&self) -> Duration {
        let since = self.lock().silent_since;
        since.map_or(Duration::ZERO, |since| {
            self.clock.now().duration_since(since).unwrap_or(Duration::ZERO)
        })
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.lock());
    }

    pub(super) fn connected(&self) {
        let now = self.clock.now();
        self.update(|heard| {
            heard.connected_since = Some(now);
            heard.silent_since = None;
            heard.connections = heard.connections.saturating_add(1);
            heard.last_error = None;
        });
    }

    pub(super) fn disconnected(&self, error: String) {
        let now = self.clock.now();
        self.update(|heard| {
            heard.connected_since = None;
            heard.silent_since.get_or_insert(now);
            heard.waits_for_envoy = false;
            heard.last_error = Some(error);
        });
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the control plane told, and for how long it is silent; read when the page is asked for.
pub(in crate::sidecar) fn count_discovery(metrics: &Metrics, status: &Arc<DiscoveryStatus>) {
    metrics.register(|registry| registry.register_collector(Box::new(Page(Arc::clone(status)))));
}

#[derive(Debug)]
struct Page(Arc<DiscoveryStatus>);

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let heard = self.0.heard();
        let held = |type_url| heard.resources.get(type_url).copied().unwrap_or_default();
        let staleness = self.0.staleness().as_secs();
        let gauge = |value: u64| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        for (name, help, value) in [
            (
                "discovery_connected",
                "1 while the stream from the control plane is open.",
                u64::from(heard.connected_since.is_some()),
            ),
            (
                "discovery_staleness_seconds",
                "For how long nothing could be heard from the control plane; 0 while the stream is open.",
                staleness,
            ),
            (
                "discovery_waits_for_envoy",
                "1 while a bundle that was told is not yet with every Envoy that asks for roots.",
                u64::from(heard.waits_for_envoy),
            ),
            ("discovery_bundles", "Trust domains that are told of.", held(TRUST_BUNDLE_TYPE)),
            ("discovery_revocations", "Revocations that are told of.", held(REVOKED_WORKLOAD_TYPE)),
            (
                "discovery_reissue_orders",
                "1 while an order to replace certificates stands.",
                held(REISSUE_ORDER_TYPE),
            ),
            (
                "discovery_resources",
                "Policies, providers and engines that were told and are in force.",
                held(POLICY_RESOURCE_TYPE),
            ),
            ("discovery_services", "Services of the mesh that are told of.", held(SERVICE_TYPE)),
        ] {
            metric(&mut encoder, (name, help), &gauge(value))?;
        }
        for (name, help, value) in [
            ("discovery_connections", "Streams opened to the control plane.", heard.connections),
            ("discovery_received", "Resources received from the control plane.", heard.received),
            (
                "discovery_accepted",
                "Answers of the control plane that were accepted.",
                heard.accepted,
            ),
            ("discovery_refused", "Answers of the control plane that were refused.", heard.refused),
        ] {
            metric(&mut encoder, (name, help), &ConstCounter::new(value))?;
        }
        Ok(())
    }
}

fn metric(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    metric: &impl EncodeMetric,
) -> Result<(), std::fmt::Error> {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}
