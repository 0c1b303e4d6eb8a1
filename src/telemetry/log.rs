//! The operator's log on stderr, and traces to an OTLP collector.

use std::io::IsTerminal as _;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

use super::trace::CHECK_TARGET;

/// How the operator's log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// What to set up.
#[derive(Debug, Clone)]
pub struct LogSetup {
    /// Levels, such as `info` or `hopgate=debug,info`.
    pub filter: String,
    /// Text or JSON.
    pub format: LogFormat,
    /// The collector's gRPC endpoint, such as `http://127.0.0.1:4317`; none exports no traces.
    pub otlp_endpoint: Option<String>,
    /// `service.name` of the traces.
    pub service_name: String,
}

/// A filter text that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "log filter {text:?} cannot be read; write a level (error, warn, info, debug, trace) or target=level"
)]
pub struct InvalidFilter {
    text: String,
    #[source]
    source: tracing_subscriber::filter::ParseError,
}

/// Telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is wrong.
    #[error(transparent)]
    Filter(#[from] InvalidFilter),
    /// The exporter of traces cannot be built.
    #[error("traces cannot be exported to {endpoint}")]
    Exporter {
        /// The configured endpoint.
        endpoint: String,
        /// Why not.
        #[source]
        source: opentelemetry_otlp::ExporterBuildError,
    },
}

/// Keeps the exporter of traces alive.
#[derive(Debug)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Installs the log, and the exporter of traces if there is an endpoint. Once per process, inside its runtime.
    ///
    /// # Errors
    /// When the filter or the endpoint is wrong.
    pub fn install(setup: &LogSetup) -> Result<Self, TelemetryError> {
        // Spans of Checks are for the exporter of traces, not for the log.
        let filter = EnvFilter::try_new(format!("{},{CHECK_TARGET}=off", setup.filter))
            .map_err(|source| InvalidFilter { text: setup.filter.clone(), source })?;
        let Some(endpoint) = &setup.otlp_endpoint else {
            // One filter for everything, and none per layer: what it leaves out, spans of Checks and of the HTTP/2
            // library among it, then costs nothing at all.
            // A second installation in one process (tests) keeps the first.
            drop(Registry::default().with(filter).with(lines(setup.format)).try_init());
            return Ok(Self { traces: None });
        };
        let traces = exporter(endpoint, &setup.service_name)?;
        let spans = tracing_opentelemetry::layer()
            .with_tracer(traces.tracer("hopgate"))
            .with_filter(Targets::new().with_target(CHECK_TARGET, LevelFilter::INFO));
        let lines = lines(setup.format).with_filter(filter);
        drop(Registry::default().with(spans).with(lines).try_init());
        Ok(Self { traces: Some(traces) })
    }

    /// Sends what is left. Blocks for at most a few seconds: call it on a blocking thread.
    pub fn flush(self) {
        if let Some(Err(error)) = self.traces.map(|provider| provider.shutdown()) {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    }
}

fn exporter(endpoint: &str, service: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(|source| TelemetryError::Exporter { endpoint: endpoint.to_owned(), source })?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        // What the caller decided about sampling holds here too.
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
        .with_resource(Resource::builder().with_service_name(service.to_owned()).build())
        .build())
}
