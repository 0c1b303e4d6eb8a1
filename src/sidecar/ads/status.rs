//! What became of the configuration: for log, metrics and `/config`.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use serde_json::{Value, json};

use crate::telemetry::Metrics;
use crate::xds::Answered;
use crate::xds::envoy::KINDS;

/// Counts, and what was said last.
#[derive(Debug, Default)]
pub(in crate::sidecar) struct AdsStatus {
    streams: Gauge,
    acks: Family<Labels, Counter>,
    nacks: Family<Labels, Counter>,
    published: Counter,
    refused: Counter,
    services: Gauge,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    /// Why no configuration could be made of what is known now.
    error: Option<String>,
    /// Destinations to which connections are refused, with the reason.
    withheld: Vec<(String, String)>,
    /// What Envoy refuses, by type and name.
    refused: BTreeMap<(&'static str, String), String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    resource: &'static str,
}

/// The last word of a type URL, as a label.
fn label(type_url: &str) -> &'static str {
    let known = KINDS.iter().find(|kind| kind.type_url == type_url);
    known.and_then(|kind| kind.type_url.rsplit('.').next()).unwrap_or("unknown")
}

impl AdsStatus {
    pub(super) fn register(&self, metrics: &Metrics) {
        metrics.register(|registry| {
            registry.register(
                "ads_streams",
                "Streams on which an Envoy hears of its configuration",
                self.streams.clone(),
            );
            registry.register("ads_acks", "Answers that an Envoy took", self.acks.clone());
            registry.register("ads_nacks", "Answers that an Envoy refused", self.nacks.clone());
            registry.register(
                "ads_configurations",
                "Configurations that were made for Envoy",
                self.published.clone(),
            );
            registry.register(
                "ads_configurations_refused",
                "Changes of which no configuration could be made",
                self.refused.clone(),
            );
            registry.register(
                "ads_services",
                "Services that the configuration was made of",
                self.services.clone(),
            );
        });
    }

    pub(super) fn opened(&self) {
        self.streams.inc();
    }

    pub(super) fn closed(&self) {
        self.streams.dec();
    }

    pub(super) fn published(&self, services: usize, withheld: Vec<(String, String)>) {
        self.published.inc();
        self.services.set(i64::try_from(services).unwrap_or(i64::MAX));
        let mut last = self.last();
        last.error = None;
        last.withheld = withheld;
    }

    pub(super) fn refused(&self, error: String) {
        self.refused.inc();
        self.last().error = Some(error);
    }

    pub(super) fn answered(&self, type_url: &'static str, answered: &Answered) {
        let Answered { names, refused } = answered;
        let resource = label(type_url);
        let mut last = self.last();
        let Some(reason) = refused else {
            self.acks.get_or_create(&Labels { resource }).inc();
            for (name, _) in names {
                last.refused.remove(&(resource, name.to_string()));
            }
            return;
        };
        self.nacks.get_or_create(&Labels { resource }).inc();
        let named: Vec<&str> = names.iter().map(|(name, _)| &**name).collect();
        tracing::error!(
            resource,
            names = named.join(" "),
            %reason,
            "Envoy refused a part of its configuration and keeps the one before; it is sent again when its content changes"
        );
        for name in named {
            last.refused.insert((resource, name.to_owned()), reason.to_string());
        }
    }

    /// What `/config` shows.
    pub(in crate::sidecar) fn to_json(&self) -> Value {
        let last = self.last();
        let pair = |(name, why): &(String, String)| json!({ "destination": name, "reason": why });
        json!({
            "streams": self.streams.get(),
            "configurations": self.published.get(),
            "services": self.services.get(),
            "error": last.error,
            "withheld": last.withheld.iter().map(pair).collect::<Vec<_>>(),
            "refused": last.refused.iter().map(|((resource, name), reason)| json!({
                "resource": resource, "name": name, "reason": reason,
            })).collect::<Vec<_>>(),
        })
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xds::envoy::LISTENER_TYPE;

    #[test]
    fn a_refusal_is_shown_until_the_resource_is_taken() {
        let status = AdsStatus::default();
        let said = |refused: Option<&str>| Answered {
            names: vec![("inbound".into(), Some("1".into()))],
            refused: refused.map(Into::into),
        };
        status.answered(LISTENER_TYPE, &said(Some("port taken")));
        let shown = status.to_json();
        assert_eq!(
            shown["refused"],
            json!([{ "resource": "Listener", "name": "inbound", "reason": "port taken" }])
        );
        status.answered(LISTENER_TYPE, &said(None));
        assert_eq!(status.to_json()["refused"], json!([]));
        status.refused("two services".to_owned());
        assert_eq!(status.to_json()["error"], "two services");
        status.published(2, Vec::new());
        assert_eq!(status.to_json()["error"], Value::Null);
    }
}
