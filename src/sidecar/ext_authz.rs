//! `envoy.service.auth.v3.Authorization`: the gate, its records and its counts behind one server.
//!
//! Every Check is answered with a CheckResponse. A gRPC error would hand the decision to Envoy's failure mode.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use tokio::task::JoinSet;

use super::grpc;
use crate::authn::KeyHandle;
use crate::authz::Gate;
use crate::runtime::{Drain, Listener};
use crate::telemetry::{DecisionLog, Metrics};

/// Answers Checks. Cloning shares it.
#[derive(Clone)]
pub struct ExtAuthz(Arc<Inner>);

struct Inner {
    gate: Arc<Gate>,
    log: DecisionLog,
    keys: KeyHandle,
    counts: Counts,
    max_request_bytes: usize,
}

/// What is counted.
struct Counts {
    checks: Family<Outcome, Counter>,
    duration: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    decision: &'static str,
    code: &'static str,
}

impl ExtAuthz {
    /// Joins the gate with where its records and counts go.
    #[must_use]
    pub fn new(
        gate: Arc<Gate>,
        log: DecisionLog,
        keys: KeyHandle,
        (metrics, max_request_bytes): (&Metrics, usize),
    ) -> Self {
        let counts = Counts {
            checks: Family::default(),
            duration: Histogram::new([
                5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 5e-3, 2.5e-2,
            ]),
        };
        metrics.register(|registry| {
            registry.register("authz_checks", "Checks answered, by outcome", counts.checks.clone());
            registry.register(
                "authz_check_duration_seconds",
                "Time from the received message to the encoded answer",
                counts.duration.clone(),
            );
        });
        Self(Arc::new(Inner { gate, log, keys, counts, max_request_bytes }))
    }

    /// The largest CheckRequest, in bytes.
    pub(super) fn max_request_bytes(&self) -> usize {
        self.0.max_request_bytes
    }

    /// Judges one encoded CheckRequest, keeps the record, and gives the encoded CheckResponse.
    pub(super) fn check(&self, message: &[u8]) -> Bytes {
        let inner = &*self.0;
        let mut record = Vec::with_capacity(640);
        let checked = inner.gate.check(message, &mut record);
        inner.log.append(&record);
        if let Some(provider) = &checked.unknown_key_of {
            inner.keys.unknown_key(provider);
        }
        let decision = if checked.code == "allow" { "allow" } else { "deny" };
        inner.counts.checks.get_or_create(&Outcome { decision, code: checked.code }).inc();
        inner.counts.duration.observe(checked.elapsed.as_secs_f64());
        checked.answer
    }

    /// Serves connections until the drain begins, then lets requests in flight finish.
    ///
    /// # Errors
    /// Never: a connection that fails is only logged.
    pub async fn serve(self, listener: Listener, drain: Drain) -> io::Result<()> {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(connection) => {
                        connections.spawn(grpc::serve(self.clone(), connection, drain.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "ext_authz connection not accepted");
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    }
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                () = drain.begun() => break,
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
        Ok(())
    }
}
