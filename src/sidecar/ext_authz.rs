//! `envoy.service.auth.v3.Authorization`: the gate, its records and its counts behind one server.
//!
//! Every Check is answered with a CheckResponse. A gRPC error would hand the decision to Envoy's failure mode.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::grpc;
use crate::authz::{
    Ambiguity, Attempt, Checked, Gate, Learned, Malformed, Need, Outcome, Question, Resolver,
};
use crate::proto::answer::Answer;
use crate::proto::check::Check;
use crate::proto::http2::Room;
use crate::runtime::{Drain, Listener, PlaceCounts, Places};
use crate::telemetry::{DecisionLog, Metrics};

/// How often what was learned may show that something else has to be asked: keys, then a server, then
/// other engines.
const MAX_ROUNDS: usize = 4;
/// Connections at once. An Envoy has one or two per core; behind a door for many, idle ones make room for each other.
const MAX_CONNECTIONS: usize = 1024;
/// Room for requests that are being received or judged, and for answers that wait, beside two of the largest requests.
const ROOM: usize = 64 * 1024 * 1024;
/// Room for a usual record, in bytes.
const RECORD: usize = 640;

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

/// What is counted.
struct Counts {
    checks: Family<Outcomes, Counter>,
    audited: Family<Outcomes, Counter>,
    ambiguous: Family<Class, Counter>,
    duration: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcomes {
    decision: &'static str,
    code: &'static str,
}

/// A class of ambiguous requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    class: &'static str,
}

impl Class {
    fn of(ambiguity: Ambiguity) -> Self {
        Self { class: ambiguity.switch() }
    }
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
            audited: Family::default(),
            ambiguous: Family::default(),
            duration: Histogram::new([
                5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 5e-3, 2.5e-2,
            ]),
        };
        // Each class is there from the start, so that none is missed because it never came.
        for class in Ambiguity::ALL {
            drop(counts.ambiguous.get_or_create(&Class::of(class)));
        }
        metrics.register(|registry| {
            registry.register("authz_checks", "Checks answered, by outcome", counts.checks.clone());
            registry.register(
                "authz_audited_checks",
                "What would have come of checks if the policies in audit were enforced, by outcome",
                counts.audited.clone(),
            );
            registry.register(
                "authz_ambiguous_requests",
                "Requests refused because two programs could read them differently, by class",
                counts.ambiguous.clone(),
            );
            registry.register(
                "authz_check_duration_seconds",
                "Time from the received message to the encoded answer",
                counts.duration.clone(),
            );
        });
        Self(Arc::new(Inner { gate, log, resolver, counts, limits }))
    }

    /// Judges one question. Total: there is an answer to every one.
    pub(super) async fn judge(
        &self,
        question: Question<'_>,
        times: (Instant, tokio::time::Instant),
    ) -> Answer {
        match self.look(question, times.0) {
            Ok(answer) => answer,
            // Boxed, so that the usual answer, which never waits, is not moved about with room for what a rare one needs.
            Err(needs) => Box::pin(self.finish(question, needs, times)).await,
        }
    }

    /// The answer to a question, or what has to be asked first.
    fn look(&self, question: Question<'_>, began: Instant) -> Result<Answer, Vec<Need>> {
        let mut record = Vec::with_capacity(RECORD);
        let attempt = Attempt { began, learned: &Learned::nothing() };
        match self.0.gate.ask(question, &attempt, &mut record) {
            Outcome::Answered(checked) => Ok(self.ended(checked, &record)),
            Outcome::Unknown(needs) => Err(needs),
        }
    }

    /// Asks what has to be asked, and judges again. What is learned may show what else has to be asked, but not for ever.
    async fn finish(
        &self,
        question: Question<'_>,
        mut needs: Vec<Need>,
        (began, deadline): (Instant, tokio::time::Instant),
    ) -> Answer {
        let mut learned = Learned::nothing();
        let mut record = Vec::with_capacity(RECORD);
        for _ in 0..MAX_ROUNDS {
            self.0.resolver.resolve(needs, &mut learned, deadline).await;
            let attempt = Attempt { began, learned: &learned };
            match self.0.gate.ask(question, &attempt, &mut record) {
                Outcome::Answered(checked) => return self.ended(checked, &record),
                Outcome::Unknown(more) => needs = more,
            }
        }
        let checked = self.0.gate.conclude(question, (began, learned), &mut record);
        self.ended(checked, &record)
    }

    /// Keeps the record of what was answered, and counts it.
    fn ended(&self, checked: Checked, record: &[u8]) -> Answer {
        let inner = &*self.0;
        inner.log.append(record);
        let decision = if checked.code == "allow" { "allow" } else { "deny" };
        inner.counts.checks.get_or_create(&Outcomes { decision, code: checked.code }).inc();
        if let Some(code) = checked.audited {
            let decision = if code == "allow" { "allow" } else { "deny" };
            inner.counts.audited.get_or_create(&Outcomes { decision, code }).inc();
        }
        if let Some(ambiguity) = checked.ambiguity {
            inner.counts.ambiguous.get_or_create(&Class::of(ambiguity)).inc();
        }
        inner.counts.duration.observe(checked.elapsed.as_secs_f64());
        checked.answer
    }
}

impl Door for ExtAuthz {
    type Open = Vec<Need>;

    fn limits(&self) -> CheckLimits {
        self.0.limits
    }

    fn at_once(
        &self,
        message: Result<&[u8], Malformed>,
        began: Instant,
    ) -> Result<Answer, Vec<Need>> {
        self.look(question(message, &Check::default()), began)
    }

    async fn later(
        &self,
        message: Result<&[u8], Malformed>,
        needs: Vec<Need>,
        times: (Instant, tokio::time::Instant),
    ) -> Answer {
        self.finish(question(message, &Check::default()), needs, times).await
    }
}

/// What is to be judged of what a call held.
fn question<'a>(message: Result<&'a [u8], Malformed>, nothing: &'a Check<'a>) -> Question<'a> {
    match message {
        Ok(message) => Question::Encoded(message),
        Err(malformed) => Question::Unreadable(malformed, nothing),
    }
}

/// Something that answers Checks.
pub(super) trait Door: Clone + Send + Sync + 'static {
    /// What keeps an answer from being given at once.
    type Open: Send;

    /// The bounds of one Check.
    fn limits(&self) -> CheckLimits;

    /// The answer to what one call held, if it needs nothing that has to be waited for: the usual case, which is a plain
    /// call.
    fn at_once(
        &self,
        message: Result<&[u8], Malformed>,
        began: Instant,
    ) -> Result<Answer, Self::Open>;

    /// The answer to what one call held, after what was open. Total: there is one for every call.
    fn later(
        &self,
        message: Result<&[u8], Malformed>,
        open: Self::Open,
        times: (Instant, tokio::time::Instant),
    ) -> impl Future<Output = Answer> + Send;

    /// Serves connections until the drain begins, then lets requests in flight finish.
    async fn serve(self, listener: Listener, drain: Drain, counts: PlaceCounts) -> io::Result<()> {
        let largest = self.limits().max_request_bytes;
        let room = Room::new(ROOM.saturating_add(largest.saturating_mul(2)));
        let serve =
            |connection, place| grpc::serve(self.clone(), connection, (place, room.clone()));
        Places::new(MAX_CONNECTIONS, drain, counts).serve(listener, serve).await
    }
}
