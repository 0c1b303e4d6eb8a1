//! One span per Check, as a child of the caller's own trace (W3C Trace Context).

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Spans of Checks have this target. It is enabled only when traces are exported, so that a Check costs nothing
/// for them otherwise.
pub(super) const CHECK_TARGET: &str = "hopgate::check";

/// The span of one Check; nothing at all when traces are not exported.
#[derive(Debug)]
pub struct CheckSpan(Span);

impl CheckSpan {
    /// Begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self(tracing::info_span!(
            target: CHECK_TARGET,
            "check",
            otel.kind = "server",
            decision = tracing::field::Empty,
            code = tracing::field::Empty,
            rule.name = tracing::field::Empty,
            revision = tracing::field::Empty,
        ))
    }

    /// True when the span will be exported.
    #[must_use]
    pub fn is_exported(&self) -> bool {
        !self.0.is_disabled()
    }

    /// Makes the span a child of the caller's. An unreadable context leaves it a root.
    pub fn join(&self, traceparent: &str, tracestate: Option<&str>) {
        let mut carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
        if let Some(state) = tracestate {
            carrier.insert("tracestate".to_owned(), state.to_owned());
        }
        let context = TraceContextPropagator::new().extract(&carrier);
        if let Err(error) = self.0.set_parent(context) {
            tracing::debug!(%error, "trace context not joined");
        }
    }

    /// Notes the outcome and ends the span.
    pub fn end(self, code: &'static str, rule: Option<&str>, revision: &str) {
        let decision = if code == "allow" { "allow" } else { "deny" };
        self.0.record("decision", decision);
        self.0.record("code", code);
        if let Some(rule) = rule {
            self.0.record("rule.name", rule);
        }
        self.0.record("revision", revision);
    }
}
