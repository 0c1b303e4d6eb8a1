//! What the Workload API counts.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tonic::{Code, Status};

use super::tokens::Tokens;
use crate::runtime::AskCounts;
use crate::telemetry::Metrics;

/// The methods, as labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    X509Svid,
    X509Bundles,
    JwtSvid,
    JwtBundles,
    ValidateJwtSvid,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    method: &'static str,
    code: &'static str,
}

/// Calls by method and outcome, and streams that are open. Cloning shares them.
#[derive(Clone)]
pub(super) struct Counts {
    calls: Family<Outcome, Counter>,
    streams: Gauge,
}

/// An open stream; counted until it is dropped.
pub(super) struct OpenStream(Gauge);

impl Counts {
    pub(super) fn register(metrics: &Metrics) -> Self {
        let (calls, streams) = (Family::default(), Gauge::default());
        let counts = Self { calls, streams };
        metrics.register(|registry| {
            registry.register(
                "workload_api_calls",
                "Calls of the Workload API, by method and outcome; a stream counts when it opens",
                counts.calls.clone(),
            );
            registry.register(
                "workload_api_streams",
                "Workload API streams that are open",
                counts.streams.clone(),
            );
        });
        counts
    }

    pub(super) fn count<T>(&self, method: Method, result: &Result<T, Status>) {
        let code = result.as_ref().map_or_else(|status| name(status.code()), |_| "ok");
        self.calls.get_or_create(&Outcome { method: method.as_str(), code }).inc();
    }

    pub(super) fn open(&self) -> OpenStream {
        self.streams.inc();
        OpenStream(self.streams.clone())
    }
}

/// What was asked of the source of tokens; read when the page is asked for.
pub(super) fn watch(metrics: &Metrics, tokens: &Tokens) {
    let page = Page(tokens.clone());
    metrics.register(|registry| registry.register_collector(Box::new(page)));
}

struct Page(Tokens);

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Page")
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let AskCounts { asked, out: _, failed, remembered: _ } = self.0.counts();
        let count = ConstCounter::new(asked);
        let (name, help) =
            ("workload_api_token_requests", "JWT-SVIDs asked of whoever gives the certificate.");
        count.encode(encoder.encode_descriptor(name, help, None, count.metric_type())?)?;
        let (name, help) =
            ("workload_api_token_failures", "Those that were not had, by what was wrong.");
        let mut failures = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (code, count) in failed {
            ConstCounter::new(count).encode(failures.encode_family(&[("code", code)])?)?;
        }
        Ok(())
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Method {
    fn as_str(self) -> &'static str {
        match self {
            Self::X509Svid => "FetchX509SVID",
            Self::X509Bundles => "FetchX509Bundles",
            Self::JwtSvid => "FetchJWTSVID",
            Self::JwtBundles => "FetchJWTBundles",
            Self::ValidateJwtSvid => "ValidateJWTSVID",
        }
    }
}

/// The codes that are answered here.
fn name(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument => "invalid_argument",
        Code::PermissionDenied => "permission_denied",
        Code::Unavailable => "unavailable",
        Code::Unimplemented => "unimplemented",
        _ => "internal",
    }
}
