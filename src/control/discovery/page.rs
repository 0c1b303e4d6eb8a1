//! The fleet on the admin pages: numbers for the metrics, each sidecar for `/config`.

use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use crate::telemetry::Metrics;
use crate::xds::own::TRUST_BUNDLE_TYPE;

use super::{Connected, Fleet, Published};

/// How many sidecars `/config` lists: those of a large mesh, a few megabytes.
const MAX_LISTED: usize = 10_000;

/// What the admin pages show of discovery.
#[derive(Debug, Clone)]
pub struct FleetPage {
    fleet: Fleet,
    published: watch::Receiver<Arc<Published>>,
}

impl FleetPage {
    pub(in crate::control) fn new(
        fleet: Fleet,
        published: watch::Receiver<Arc<Published>>,
    ) -> Self {
        Self { fleet, published }
    }

    /// Counts sidecars in `metrics`, whenever that page is asked for.
    pub(in crate::control) fn count_in(&self, metrics: &Metrics) {
        metrics.register(|registry| registry.register_collector(Box::new(self.clone())));
    }

    /// The connected sidecars, the longest connected first, and what is published.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let published = Arc::clone(&self.published.borrow());
        let (behind, _) = self.behind(&published);
        let connected = self.fleet.connected();
        json!({
            "connected": connected.len(),
            "behind": behind,
            "revocations": published.revoked.len(),
            "bundle": published.bundle_version(published.bundles.own().domain()),
            "sidecars": connected.iter().take(MAX_LISTED).map(sidecar).collect::<Vec<_>>(),
        })
    }

    /// How many have not acknowledged the roots that are published, and how many of these refuse them.
    fn behind(&self, published: &Published) -> (usize, usize) {
        let domain = published.bundles.own().domain();
        let version = published.bundle_version(domain);
        let resource = (TRUST_BUNDLE_TYPE, domain.as_str());
        let lagging = self.fleet.acknowledged(resource, version.as_deref()).lagging;
        let refusing = lagging.iter().filter(|lagging| {
            lagging
                .refused
                .as_ref()
                .is_some_and(|refusal| refusal.version.as_deref() == version.as_deref())
        });
        (lagging.len(), refusing.count())
    }
}

fn sidecar(connected: &Connected) -> Value {
    let Connected {
        certificate,
        running,
        since,
        changed,
        unanswered,
        refused,
        resources,
        programmed,
        pod: _,
    } = connected;
    json!({
        "id": certificate.id.as_str(),
        "version": running.version,
        "serial": running.serial,
        "authorityKeyId": running.authority_key_id,
        "podUid": running.pod_uid,
        "resources": resources,
        "policies": programmed.map(|(told, running)| json!({ "told": told, "running": running })),
        "since": rfc3339(*since),
        "changed": rfc3339(*changed),
        "unanswered": unanswered,
        "refused": refused.iter().map(|(type_url, name, refusal)| json!({
            "type": type_url, "name": &**name, "version": refusal.version.as_deref(), "reason": &*refusal.reason,
        })).collect::<Vec<_>>(),
    })
}

fn rfc3339(at: SystemTime) -> Option<String> {
    OffsetDateTime::from(at).format(&Rfc3339).ok()
}

impl Collector for FleetPage {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let published = Arc::clone(&self.published.borrow());
        let (behind, refusing) = self.behind(&published);
        for (name, help, value) in [
            ("discovery_sidecars", "Sidecars that are connected.", self.fleet.size()),
            (
                "discovery_sidecars_behind",
                "Connected sidecars that have not acknowledged the roots that are published.",
                behind,
            ),
            (
                "discovery_sidecars_refusing",
                "Connected sidecars that refuse the roots that are published.",
                refusing,
            ),
            (
                "discovery_revocations",
                "Revocations of workloads that are published.",
                published.revoked.len(),
            ),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            metric(&mut encoder, (name, help), &gauge)?;
        }
        let (admitted, turned_away) = self.fleet.counts();
        for (name, help, value) in [
            ("discovery_streams", "Streams of sidecars opened so far.", admitted),
            (
                "discovery_turned_away",
                "Callers that were not let in, and sidecars whose stream was ended because of their certificate.",
                turned_away,
            ),
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
