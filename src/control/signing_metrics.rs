//! What the services that sign count.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric as _,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::kube::TokenReviewer;
use crate::runtime::AskCounts;
use crate::telemetry::Metrics;

use super::attest::Learner;
use super::turns::Turns;

/// How a request for a certificate or a token ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Outcome {
    /// With what was asked for.
    Issued,
    /// The caller proves nothing.
    Unproven,
    /// The request asks for what its caller cannot have.
    Unfit,
    /// Too much is on hand.
    Shed,
    /// This workload asks too often.
    TooOften,
    /// Something that is needed does not work.
    Unavailable,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: Outcome,
}

/// How requests for one kind of thing were answered.
pub(super) struct Answered {
    requests: Family<Labels, Counter>,
    duration: Histogram,
}

impl Answered {
    /// `what` is asked for; the names of the metrics begin with `name`.
    pub(super) fn register(metrics: &Metrics, name: &str, what: &str) -> Self {
        let requests = Family::default();
        let duration = Histogram::new([0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0]);
        metrics.register(|registry| {
            let help = format!("Requests for {what}, by outcome");
            registry.register(format!("{name}_requests"), help, requests.clone());
            let help = format!("Time from a request for {what} to its answer, waiting included");
            registry.register(format!("{name}_duration_seconds"), help, duration.clone());
        });
        Self { requests, duration }
    }

    pub(super) fn count(&self, outcome: Outcome, after: Duration) {
        self.requests.get_or_create(&Labels { outcome }).inc();
        self.duration.observe(after.as_secs_f64());
    }
}

/// Shows who waits, and what is asked of an API server.
pub(super) fn watch(metrics: &Metrics, turns: &Turns, learner: &Learner) {
    let watched = Watched { turns: turns.clone(), reviewer: learner.reviewer().cloned() };
    metrics.register(|registry| registry.register_collector(Box::new(watched)));
}

struct Watched {
    turns: Turns,
    reviewer: Option<TokenReviewer>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

impl Collector for Watched {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Requests for certificates and tokens that wait for their turn.";
        gauge("control_signing_waiting", help, self.turns.waiting(), &mut encoder)?;
        match &self.reviewer {
            None => Ok(()),
            Some(reviewer) => reviews(&reviewer.counts(), &mut encoder),
        }
    }
}

fn reviews(counts: &AskCounts, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let AskCounts { asked, out, failed, remembered } = counts;
    for (name, help, value) in [
        ("kube_token_reviews", "Service-account tokens that an API server was asked about.", asked),
        ("kube_token_reviews_remembered", "Reviews of tokens taken from memory.", remembered),
    ] {
        let count = ConstCounter::new(*value);
        count.encode(encoder.encode_descriptor(name, help, None, count.metric_type())?)?;
    }
    gauge(
        "kube_token_reviews_out",
        "Reviews of tokens that are out at this moment.",
        *out,
        encoder,
    )?;
    let help = "Reviews of tokens that brought no answer or were not sent, by what was wrong.";
    let mut failures =
        encoder.encode_descriptor("kube_token_review_failures", help, None, MetricType::Counter)?;
    for (code, count) in failed {
        ConstCounter::new(*count).encode(failures.encode_family(&[("code", *code)])?)?;
    }
    Ok(())
}

fn gauge(
    name: &str,
    help: &str,
    value: usize,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
}
