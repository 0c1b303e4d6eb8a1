//! `envoy.service.auth.v3.Authorization`: the gate, its records and its counts behind one server.
//!
//! Every Check is answered with a CheckResponse. A gRPC error would hand the decision to Envoy's failure mode.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use tokio::task::JoinSet;

use super::grpc;
use crate::authn::{Learned, Need, Resolver};
use crate::authz::{Attempt, Gate, Malformed, Outcome};
use crate::runtime::{Drain, Listener};
use crate::telemetry::{DecisionLog, Metrics};

/// How often what was learned may show that something else has to be asked: keys, then a server.
const MAX_ROUNDS: usize = 3;

/// Answers Checks. Cloning shares it.
#[derive(Clone)]
pub struct ExtAuthz(Arc<Inner>);

struct Inner {
    gate: Arc<Gate>,
    log: DecisionLog,
    resolver: Resolver,
    counts: Counts,
    limits: CheckLimits,
}

/// The bounds of one Check.
#[derive(Debug, Clone, Copy)]
pub struct CheckLimits {
    /// The largest CheckRequest, in bytes.
    pub max_request_bytes: usize,
    /// How long one may wait for what only the network can tell. Envoy's own deadline is kept too.
    pub longest_wait: Duration,
}

/// A Check that was begun.
enum Begun {
    /// The encoded CheckResponse.
    Answered(Bytes),
    /// What has to be asked first.
    Waiting(Vec<Need>),
}

/// What is counted.
struct Counts {
    checks: Family<Answer, Counter>,
    duration: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    decision: &'static str,
    code: &'static str,
}

impl ExtAuthz {
    /// Joins the gate with where its records and counts go.
    #[must_use]
    pub fn new(
        gate: Arc<Gate>,
        log: DecisionLog,
        resolver: Resolver,
        (metrics, limits): (&Metrics, CheckLimits),
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
        Self(Arc::new(Inner { gate, log, resolver, counts, limits }))
    }

    /// Judges what one call held. If that has to wait for the network, [`ExtAuthz::finish`] goes on with it.
    fn begin(&self, message: Result<&[u8], Malformed>, began: Instant) -> Begun {
        match message {
            Ok(message) => self.attempt(message, &Attempt { began, learned: &Learned::nothing() }),
            Err(malformed) => {
                let mut record = Vec::with_capacity(640);
                let outcome = self.0.gate.refuse(malformed, &mut record);
                self.ended(outcome, &record)
            }
        }
    }

    /// Asks what has to be asked, and judges again. What is learned may show what else has to be asked, but not for ever.
    async fn finish(
        &self,
        message: &[u8],
        mut needs: Vec<Need>,
        (began, deadline): (Instant, tokio::time::Instant),
    ) -> Bytes {
        let mut learned = Learned::nothing();
        for _ in 0..MAX_ROUNDS {
            self.0.resolver.resolve(needs, &mut learned, deadline).await;
            match self.attempt(message, &Attempt { began, learned: &learned }) {
                Begun::Answered(answer) => return answer,
                Begun::Waiting(more) => needs = more,
            }
        }
        learned.end();
        match self.attempt(message, &Attempt { began, learned: &learned }) {
            Begun::Answered(answer) => answer,
            // Cannot be: nothing is asked for any more. An empty answer is refused by Envoy.
            Begun::Waiting(_) => Bytes::new(),
        }
    }

    fn attempt(&self, message: &[u8], attempt: &Attempt<'_>) -> Begun {
        let mut record = Vec::with_capacity(640);
        let outcome = self.0.gate.check(message, attempt, &mut record);
        self.ended(outcome, &record)
    }

    /// Keeps the record of what was answered, and counts it.
    fn ended(&self, outcome: Outcome, record: &[u8]) -> Begun {
        let checked = match outcome {
            Outcome::Answered(checked) => checked,
            Outcome::Unknown(needs) => return Begun::Waiting(needs),
        };
        let inner = &*self.0;
        inner.log.append(record);
        let decision = if checked.code == "allow" { "allow" } else { "deny" };
        inner.counts.checks.get_or_create(&Answer { decision, code: checked.code }).inc();
        inner.counts.duration.observe(checked.elapsed.as_secs_f64());
        Begun::Answered(checked.answer)
    }
}

impl Door for ExtAuthz {
    fn limits(&self) -> CheckLimits {
        self.0.limits
    }

    async fn answer(
        &self,
        message: Result<&[u8], Malformed>,
        times: (Instant, tokio::time::Instant),
    ) -> Bytes {
        match (self.begin(message, times.0), message) {
            (Begun::Answered(answer), _) => answer,
            (Begun::Waiting(needs), Ok(message)) => self.finish(message, needs, times).await,
            // Cannot be: what held no message needs nothing. An empty answer is refused by Envoy.
            (Begun::Waiting(_), Err(_)) => Bytes::new(),
        }
    }
}

/// Something that answers Checks.
pub(super) trait Door: Clone + Send + Sync + 'static {
    /// The bounds of one Check.
    fn limits(&self) -> CheckLimits;

    /// The encoded CheckResponse to what one call held. Total: there is one for every call.
    fn answer(
        &self,
        message: Result<&[u8], Malformed>,
        times: (Instant, tokio::time::Instant),
    ) -> impl Future<Output = Bytes> + Send;

    /// Serves connections until the drain begins, then lets requests in flight finish.
    async fn serve(self, listener: Listener, drain: Drain) -> io::Result<()> {
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
