//! Logs, metrics, traces and the decision log.

mod decision_log;
mod log;
mod metrics;
mod recent;
mod trace;

pub use decision_log::{DecisionLog, LogTarget};
pub use log::{InvalidFilter, LogFormat, LogSetup, Telemetry, TelemetryError};
pub use metrics::Metrics;
pub use trace::CheckSpan;
