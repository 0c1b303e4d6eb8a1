//! The gate judges one request under one snapshot, synchronously.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;

use super::record::Record;
use super::request::{Envelope, Malformed, Request};
use super::respond;
use super::snapshot::Snapshot;
use super::verdict::{Challenge, Denial, Permit, Verdict};
use crate::authn::{Principals, TokenFault, Unauthenticated, Verifier, authenticate};
use crate::identity::TrustDomain;
use crate::policy::{Decision, Facts, HeaderValue, Headers as _, RequestFacts, UndecidableReason};
use crate::proto::answer::RefusalStatus;
use crate::proto::check::Check;
use crate::runtime::Clock;
use crate::telemetry::CheckSpan;

/// Judges requests. Shared by all connections; replaces its snapshot whole.
pub struct Gate {
    snapshot: ArcSwap<Snapshot>,
    verifier: Verifier,
    domain: TrustDomain,
    clock: Clock,
}

/// One request, judged: everything that the answer and the record are made from.
pub struct Judged<'s, 'a> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) envelope: Envelope<'a>,
    /// Nothing where it cannot be judged.
    pub(super) request: Option<Request<'a>>,
    pub(super) principals: Option<Principals>,
    pub(super) verdict: Verdict<'s>,
    pub(super) request_id: RequestId<'a>,
    /// Whose key was not known, if that is why the token was refused.
    unknown_key_of: Option<String>,
    pub(super) received: SystemTime,
    began: Instant,
}

/// The id that client and operator share: the request's own, or one made here.
#[derive(Debug)]
pub(super) enum RequestId<'a> {
    Given(&'a str),
    Made(String),
}

/// What the caller does after a Check: send the answer, write the record, count.
#[derive(Debug)]
pub struct Checked {
    /// The encoded CheckResponse.
    pub answer: Bytes,
    /// `allow`, or the code of the denial.
    pub code: &'static str,
    /// The provider whose key was not known, if that is why the token was refused.
    pub unknown_key_of: Option<String>,
    /// The time it took.
    pub elapsed: Duration,
}

impl RequestId<'_> {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Given(id) => id,
            Self::Made(id) => id,
        }
    }
}

impl Gate {
    /// A gate that judges under `snapshot` until it is replaced. Peers must be members of `domain`.
    #[must_use]
    pub fn new(snapshot: Snapshot, verifier: Verifier, domain: TrustDomain, clock: Clock) -> Self {
        Self { snapshot: ArcSwap::from_pointee(snapshot), verifier, domain, clock }
    }

    /// Judges every later request under `snapshot`; requests already being judged finish under theirs.
    pub fn replace(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
    }

    /// The snapshot of this moment.
    #[must_use]
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Judges one encoded CheckRequest and appends one line to `record`.
    ///
    /// Total: a panic inside is a denial with its own code, like everything else that goes wrong.
    pub fn check(&self, message: &[u8], record: &mut Vec<u8>) -> Checked {
        // Nothing that is shared is left half-changed by a panic: the snapshot is immutable, the caches hold whole
        // entries, and the record is cut back.
        self.guard(record, |record| self.check_once(message, record))
    }

    fn guard(&self, record: &mut Vec<u8>, check: impl FnOnce(&mut Vec<u8>) -> Checked) -> Checked {
        let length = record.len();
        let checked = catch_unwind(AssertUnwindSafe(|| check(record)));
        checked.unwrap_or_else(|_| {
            record.truncate(length);
            let snapshot = self.snapshot.load();
            let denial =
                Denial::new(RefusalStatus::Internal, "internal_error", "the check panicked");
            let times = (self.clock.now(), Instant::now());
            Self::finish(&Judged::refused(&snapshot, Envelope::default(), denial, times), record)
        })
    }

    fn check_once(&self, message: &[u8], record: &mut Vec<u8>) -> Checked {
        let span = CheckSpan::begin();
        let times = (self.clock.now(), Instant::now());
        let snapshot = self.snapshot.load();
        let (envelope, request) = match Check::decode(message) {
            Ok(check) => Request::read(check),
            Err(error) => (Envelope::default(), Err(Malformed::Wire(error))),
        };
        let judged = match request {
            Ok(request) => self.judge(&snapshot, envelope, request, times),
            Err(malformed) => {
                let (status, code) = (RefusalStatus::BadRequest, malformed.code());
                let denial = Denial::new(status, code, malformed.to_string());
                Judged::refused(&snapshot, envelope, denial, times)
            }
        };
        if span.is_exported() {
            trace(span, &judged);
        }
        Self::finish(&judged, record)
    }

    fn judge<'s, 'a>(
        &self,
        snapshot: &'s Snapshot,
        envelope: Envelope<'a>,
        request: Request<'a>,
        (now, began): (SystemTime, Instant),
    ) -> Judged<'s, 'a> {
        let token = request.http.as_ref().map_or(crate::authn::Evidence::None, |http| http.token);
        let authenticated = authenticate(
            &self.verifier,
            snapshot.providers(),
            request.peer,
            token,
            &self.domain,
            now,
        );
        let mut unknown_key_of = None;
        let (principals, verdict) = match authenticated {
            Ok(principals) => {
                let verdict = decide(snapshot, &request, &principals, now);
                (Some(principals), verdict)
            }
            Err(refused) => {
                unknown_key_of = unknown_key(&refused);
                (None, Verdict::Denial(unauthenticated(&refused)))
            }
        };
        Judged {
            snapshot,
            request_id: RequestId::of(&envelope),
            envelope,
            request: Some(request),
            principals,
            verdict,
            unknown_key_of,
            received: now,
            began,
        }
    }

    fn finish(judged: &Judged<'_, '_>, record: &mut Vec<u8>) -> Checked {
        let answer = respond::answer(judged);
        let elapsed = judged.began.elapsed();
        Record::of(judged, elapsed).write(record);
        let code = judged.verdict.code();
        Checked { answer, code, unknown_key_of: judged.unknown_key_of.clone(), elapsed }
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

fn decide<'s>(
    snapshot: &'s Snapshot,
    request: &Request<'_>,
    principals: &Principals,
    now: SystemTime,
) -> Verdict<'s> {
    let facts = Facts {
        peer: principals.peer().map(crate::authn::Peer::id),
        user: principals.user().map(crate::authn::User::facts),
        request: request.http.as_ref().map(|http| RequestFacts {
            method: http.method,
            host: &http.host,
            path: http.path.as_str(),
            segments: http.path.segments(),
            query: http.path.query(),
            headers: &http.headers,
        }),
        now,
    };
    match snapshot.policies().decide(&facts) {
        Decision::Allow(rule) => Verdict::Permit(Permit::by(rule)),
        Decision::Deny(rule) => Verdict::Denial(
            Denial::new(RefusalStatus::Forbidden, "denied_by_rule", "a deny rule matches").by(rule),
        ),
        // With a user the condition might have had an answer.
        Decision::Undecidable(rule, reason @ UndecidableReason::NoUser) => Verdict::Denial(
            Denial::new(RefusalStatus::Unauthorized, "rule_undecidable", reason.to_string())
                .by(rule)
                .challenge_with(Challenge::Missing),
        ),
        Decision::Undecidable(rule, reason) => Verdict::Denial(
            Denial::new(RefusalStatus::Forbidden, "rule_undecidable", reason.to_string()).by(rule),
        ),
        Decision::NothingAllowsAnonymous => Verdict::Denial(
            Denial::new(
                RefusalStatus::Unauthorized,
                "no_rule_allows_anonymous",
                "no rule allows this request without a user; one for this peer asks for a user",
            )
            .challenge_with(Challenge::Missing),
        ),
        Decision::NothingAllows => Verdict::Denial(Denial::new(
            RefusalStatus::Forbidden,
            "no_rule_allows",
            "no rule allows this request for this peer and user",
        )),
    }
}

fn unknown_key(refused: &Unauthenticated) -> Option<String> {
    match refused {
        Unauthenticated::Token(token) if *token.fault() == TokenFault::UnknownKey => {
            token.provider().map(str::to_owned)
        }
        Unauthenticated::Token(_) | Unauthenticated::Peer(_) | Unauthenticated::Credentials(_) => {
            None
        }
    }
}

fn unauthenticated(refused: &Unauthenticated) -> Denial<'static> {
    match refused {
        Unauthenticated::Peer(peer) => {
            Denial::new(RefusalStatus::Forbidden, peer.code(), peer.to_string())
        }
        // Not the caller's fault: it may come back with the same token.
        Unauthenticated::Token(token) if *token.fault() == TokenFault::KeysUnavailable => {
            Denial::new(RefusalStatus::Unavailable, token.code(), token.to_string())
        }
        Unauthenticated::Token(token) => {
            Denial::new(RefusalStatus::Unauthorized, token.code(), token.to_string())
                .challenge_with(Challenge::Invalid)
        }
        Unauthenticated::Credentials(problem) => {
            Denial::new(RefusalStatus::Unauthorized, problem.code(), problem.to_string())
                .challenge_with(Challenge::Invalid)
        }
    }
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
            principals: None,
            verdict: Verdict::Denial(denial),
            unknown_key_of: None,
            received,
            began,
        }
    }
}

impl<'a> RequestId<'a> {
    fn of(envelope: &Envelope<'a>) -> Self {
        envelope.request_id.map_or_else(Self::random, Self::Given)
    }
}

impl RequestId<'_> {
    /// 64 random bits; an id to find a record by, no secret.
    fn random() -> Self {
        use std::hash::{BuildHasher as _, Hasher as _};
        // Each state is seeded from the system's randomness once and stepped per instance.
        let id = std::hash::RandomState::new().build_hasher().finish();
        Self::Made(format!("{id:016x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::Providers;
    use crate::policy::{PolicySet, Workload};

    #[test]
    fn a_panic_inside_a_check_is_a_denial_with_a_whole_record() {
        let domain = TrustDomain::parse("test.mesh").unwrap();
        let workload = Workload {
            trust_domain: domain.clone(),
            namespace: "shop".to_owned(),
            labels: std::collections::BTreeMap::new(),
        };
        let policies = Arc::new(PolicySet::compile(&[], &[], &workload).unwrap());
        let snapshot = Snapshot::new("r".to_owned(), policies, Providers::new(&[]).unwrap());
        let gate = Gate::new(snapshot, Verifier::new(1), domain, Clock::system());
        let mut record = b"earlier line\n".to_vec();
        let checked = gate.guard(&mut record, |record| {
            record.extend_from_slice(b"half a li");
            panic!("on purpose")
        });
        assert_eq!(checked.code, "internal_error");
        // status { code: 13 }
        assert!(checked.answer.starts_with(&[0x0a, 0x02, 0x08, 13]));
        let text = String::from_utf8(record).unwrap();
        assert!(text.starts_with("earlier line\n{\"time\""), "{text}");
        assert!(text.ends_with("}\n") && !text.contains("half a li"), "{text}");
    }
}
