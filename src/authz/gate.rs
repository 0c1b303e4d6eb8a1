//! The gate judges one request under one snapshot, synchronously.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};

use super::ambiguity::Ambiguity;
use super::callers::Callers;
use super::carry::carried;
use super::connections::Connections;
use super::denial::{self, Audited};
use super::door::Question;
use super::engine::{RequestEngines, Said, Told};
use super::judge::by_rules;
use super::need::{Learned, Need};
use super::record::{CallerAttributes, Record};
use super::request::{Envelope, Request};
use super::request_id::RequestId;
use super::respond;
use super::revoked::Revoked;
use super::snapshot::Snapshot;
use super::verdict::{Denial, Verdict};
use crate::authn::{ForwardRules, PeerRules, Unproven, Verifier, WorkloadRoots, authenticate};
use crate::identity::{Members, SpiffeId, TrustDomain};
use crate::policy::{HeaderValue, Headers as _};
use crate::proto::answer::Answer;
use crate::revocation::{Knowledge, RevocationList};
use crate::runtime::{Asker, Clock};
use crate::telemetry::CheckSpan;

/// Judges requests. Shared by all connections; replaces its snapshot whole.
pub struct Gate {
    snapshot: ArcSwap<Snapshot>,
    verifier: Arc<Verifier>,
    domain: TrustDomain,
    forward: ForwardRules,
    /// Nothing until the certificate of this workload came with the mesh's roots.
    roots: ArcSwapOption<WorkloadRoots>,
    revoked: Revoked,
    connections: Connections,
    attributes: CallerAttributes,
    engines: Arc<Asker<Said>>,
    clock: Clock,
}

/// One request, judged: everything that the answer and the record are made from.
pub struct Judged<'s, 'a> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) envelope: Envelope<'a>,
    /// Nothing where it cannot be judged.
    pub(super) request: Option<Request<'a>>,
    pub(super) callers: Callers,
    pub(super) verdict: Verdict<'s>,
    /// What would have come of it if the policies in audit were enforced.
    pub(super) audited: Option<Audited<'s>>,
    pub(super) request_id: RequestId<'a>,
    pub(super) received: SystemTime,
    pub(super) began: Instant,
}

/// What is recorded after a panic. A constant: whatever panicked is not asked again.
const PANICKED_RECORD: &[u8] =
    b"{\"decision\":\"deny\",\"code\":\"internal_error\",\"reason\":\"the check panicked\"}\n";
/// What is recorded of a request that still has questions when nothing is asked any more.
const UNANSWERED_RECORD: &[u8] = b"{\"decision\":\"deny\",\"code\":\"internal_error\",\"reason\":\"the check was not judged to its end\"}\n";

/// What the caller does after a Check: send the answer, write the record, count.
#[derive(Debug)]
pub struct Checked {
    /// The encoded CheckResponse.
    pub answer: Answer,
    /// `allow`, or the code of the denial.
    pub code: &'static str,
    /// What `code` would be if the policies in audit were enforced; nothing where there are none.
    pub audited: Option<&'static str>,
    /// The class of ambiguous requests for which it was refused.
    pub ambiguity: Option<Ambiguity>,
    /// The time it took, what was waited for included.
    pub elapsed: Duration,
}

/// What came of one attempt to judge.
pub enum Outcome {
    /// It was judged.
    Answered(Checked),
    /// These are to be asked first; never empty. Nothing was recorded.
    Unknown(Vec<Need>),
}

/// One attempt to judge a request.
pub struct Attempt<'l> {
    /// When the request arrived.
    pub began: Instant,
    /// What was asked for it before.
    pub learned: &'l Learned,
}

impl From<Checked> for Outcome {
    fn from(checked: Checked) -> Self {
        Self::Answered(checked)
    }
}

impl Gate {
    /// A gate that judges under `snapshot` until it is replaced. Peers must be members of `domain`. While it is not known
    /// who is revoked, it refuses everything.
    #[must_use]
    pub fn new(
        (snapshot, revoked): (Snapshot, Knowledge),
        verifier: Arc<Verifier>,
        domain: TrustDomain,
        clock: Clock,
    ) -> Self {
        let snapshot = ArcSwap::from_pointee(snapshot);
        let (forward, roots) = (ForwardRules::nobody(), ArcSwapOption::empty());
        let (attributes, engines) = (CallerAttributes::Omit, Arc::default());
        let (revoked, connections) = (Revoked::new(revoked), Connections::new(clock.now()));
        Self {
            snapshot,
            verifier,
            domain,
            forward,
            roots,
            revoked,
            connections,
            attributes,
            engines,
            clock,
        }
    }

    /// Guards this workload: once it is revoked itself, nothing passes.
    #[must_use]
    pub fn guarding(self, own: SpiffeId) -> Self {
        Self { revoked: self.revoked.guarding(own), ..self }
    }

    /// Says in records what the switch says of users and clients.
    #[must_use]
    pub fn with_attributes(mut self, attributes: CallerAttributes) -> Self {
        self.attributes = attributes;
        self
    }

    /// Believes these proxies about their clients.
    #[must_use]
    pub fn with_forward(mut self, rules: ForwardRules) -> Self {
        self.forward = rules;
        self
    }

    /// What engines said before.
    pub(super) fn engines(&self) -> &Arc<Asker<Said>> {
        &self.engines
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The roots that workload certificates must chain to where a proxy forwards them.
    pub fn trust(&self, roots: WorkloadRoots) {
        self.roots.store(Some(Arc::new(roots)));
    }

    /// Judges every later request under `snapshot`; requests already being judged finish under theirs.
    pub fn replace(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
    }

    /// Refuses from now on what this list revokes, with the same rules and keys.
    pub fn revoke(&self, list: Arc<RevocationList>) {
        self.revoked.replace(list);
    }

    /// What is known of who is revoked at this moment.
    #[must_use]
    pub fn revoked(&self) -> Knowledge {
        self.revoked.knowledge()
    }

    /// Whether this peer may hold a bare connection that was admitted before, if none lives longer than `longest`.
    #[must_use]
    pub fn may_hold_connection(&self, peer: &SpiffeId, longest: Duration) -> bool {
        self.connections.may_hold(peer, longest, self.clock.now())
    }

    /// The guarded workload has a certificate with this serial number from now on (lower-case hexadecimal).
    pub fn hold(&self, serial: &str) {
        self.revoked.hold(serial);
    }

    /// The snapshot of this moment.
    #[must_use]
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Judges one encoded CheckRequest and appends one line to `record`.
    ///
    /// Total: a panic inside is a denial with its own code, like everything else that goes wrong.
    pub fn check(&self, message: &[u8], attempt: &Attempt<'_>, record: &mut Vec<u8>) -> Outcome {
        self.ask(Question::Encoded(message), attempt, record)
    }

    /// Judges whatever is asked, whichever way it came, and appends one line to `record`. Total, like [`Gate::check`].
    pub fn ask(
        &self,
        question: Question<'_>,
        attempt: &Attempt<'_>,
        record: &mut Vec<u8>,
    ) -> Outcome {
        // Nothing that is shared is left half-changed by a panic: the snapshot is immutable, the caches hold whole
        // entries, and the record is cut back.
        self.guard(record, |record| self.check_once(question, attempt, record))
    }

    /// Judges it for the last time: nothing is asked any more, and what is still unknown is refused. Appends one line
    /// to `record`.
    pub fn conclude(
        &self,
        question: Question<'_>,
        (began, mut learned): (Instant, Learned),
        record: &mut Vec<u8>,
    ) -> Checked {
        learned.end();
        match self.ask(question, &Attempt { began, learned: &learned }, record) {
            Outcome::Answered(checked) => checked,
            Outcome::Unknown(_) => Self::fault(UNANSWERED_RECORD, record),
        }
    }

    fn guard<T: From<Checked>>(
        &self,
        record: &mut Vec<u8>,
        check: impl FnOnce(&mut Vec<u8>) -> T,
    ) -> T {
        let length = record.len();
        let checked = catch_unwind(AssertUnwindSafe(|| check(record)));
        checked.unwrap_or_else(|_| {
            record.truncate(length);
            Self::fault(PANICKED_RECORD, record).into()
        })
    }

    /// The denial of what could not be judged to its end.
    fn fault(line: &[u8], record: &mut Vec<u8>) -> Checked {
        record.extend_from_slice(line);
        let (answer, elapsed) = (Answer::fault(), Duration::ZERO);
        Checked { answer, code: "internal_error", audited: None, ambiguity: None, elapsed }
    }

    fn check_once(
        &self,
        question: Question<'_>,
        attempt: &Attempt<'_>,
        record: &mut Vec<u8>,
    ) -> Outcome {
        let span = CheckSpan::begin();
        let times = (self.clock.now(), attempt.began);
        let snapshot = self.snapshot.load();
        let (envelope, request, abilities) = question.read(snapshot.mesh());
        let ambiguity = request.as_ref().err().and_then(|malformed| malformed.ambiguity());
        let judged = match request {
            Ok(request) => {
                let told = (Told::of(question), envelope, request);
                match self.judge(&snapshot, told, times, attempt.learned) {
                    Ok(judged) => carried(judged, abilities),
                    Err(needs) => return Outcome::Unknown(needs),
                }
            }
            Err(malformed) => {
                Judged::refused(&snapshot, envelope, denial::unreadable(malformed), times)
            }
        };
        let (judged, checked) = self.finish(judged, record);
        if span.is_exported() {
            trace(span, &judged);
        }
        Outcome::Answered(Checked { ambiguity, ..checked })
    }

    fn judge<'s, 'a>(
        &self,
        snapshot: &'s Snapshot,
        (told, envelope, request): (Told<'_>, Envelope<'a>, Request<'a>),
        (now, began): (SystemTime, Instant),
        learned: &Learned,
    ) -> Result<Judged<'s, 'a>, Vec<Need>> {
        let roots = self.roots.load();
        let members = Members::of(&self.domain).with_aliases(&snapshot.mesh().aliases);
        let rules = PeerRules { members, forward: &self.forward, roots: roots.as_deref() };
        if let Some(denial) = self.revoked.own(members, now) {
            let refused = Judged::refused(snapshot, envelope, denial, (now, began));
            return Ok(Judged { request: Some(request), ..refused });
        }
        let authenticated = authenticate(
            &self.verifier,
            snapshot.providers(),
            &request.evidence(),
            rules,
            learned.callers(),
            now,
        );
        if let (Ok(principals), None) = (&authenticated, &request.http)
            && let Some(peer) = principals.peer()
        {
            self.connections.note(peer.id(), now);
        }
        let (callers, verdict, audited) = match authenticated {
            Ok(principals) => match self.revoked.caller(&principals, members, now) {
                Some(denial) => (Callers::Proven(principals), Verdict::Denial(denial), None),
                None => {
                    let callers = Callers::Proven(principals);
                    let memory = Some((&*self.engines, learned));
                    let engines = RequestEngines::new(snapshot.engines(), told, memory, now);
                    let (verdict, audited) =
                        by_rules(snapshot, &request, &callers, (&engines, now))?;
                    (callers, verdict, audited)
                }
            },
            Err(Unproven::Refused(refused)) => {
                (Callers::Unproven, Verdict::Denial(denial::unauthenticated(&refused)), None)
            }
            Err(Unproven::Unknown(needs)) => {
                return Err(needs.into_iter().map(Need::Caller).collect());
            }
        };
        Ok(Judged {
            snapshot,
            request_id: RequestId::of(&envelope),
            envelope,
            request: Some(request),
            callers,
            verdict,
            audited,
            received: now,
            began,
        })
    }

    fn finish<'s, 'a>(
        &self,
        mut judged: Judged<'s, 'a>,
        record: &mut Vec<u8>,
    ) -> (Judged<'s, 'a>, Checked) {
        let answer = respond::answer(&mut judged);
        let elapsed = judged.began.elapsed();
        Record::of(&judged, elapsed, self.attributes).write(record);
        let code = judged.verdict.code();
        let audited = judged.audited.as_ref().map(|audited| audited.code);
        (judged, Checked { answer, code, audited, ambiguity: None, elapsed })
    }
}

/// The span of the Check, joined to the caller's trace.
fn trace(span: CheckSpan, judged: &Judged<'_, '_>) {
    let http = judged.request.as_ref().and_then(|request| request.http.as_ref());
    if let Some(http) = http.filter(|_| judged.envelope.trace_id.is_some()) {
        let text = |name| match http.headers.value(name) {
            HeaderValue::One(value) => std::str::from_utf8(value).ok(),
            HeaderValue::Absent | HeaderValue::Many => None,
        };
        if let Some(parent) = text("traceparent") {
            span.join(parent, text("tracestate"));
        }
    }
    let rule = judged.verdict.rule().map(|rule| rule.as_str());
    span.end(judged.verdict.code(), rule, judged.snapshot.revision());
}

impl<'s, 'a> Judged<'s, 'a> {
    /// Refused before anybody was asked who they are.
    fn refused(
        snapshot: &'s Snapshot,
        envelope: Envelope<'a>,
        denial: Denial<'s>,
        (received, began): (SystemTime, Instant),
    ) -> Self {
        Self {
            snapshot,
            request_id: RequestId::of(&envelope),
            envelope,
            request: None,
            callers: Callers::Unproven,
            verdict: Verdict::Denial(denial),
            audited: None,
            received,
            began,
        }
    }
}

#[cfg(test)]
mod tests;
