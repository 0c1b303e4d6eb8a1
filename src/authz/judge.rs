//! The one judgement of a request that was read and of callers that are known: the gate's and a rehearsal's alike.

use std::time::SystemTime;

use super::body::LazyBody;
use super::callers::Callers;
use super::denial::{self, Audited};
use super::engine::RequestEngines;
use super::need::Need;
use super::request::Request;
use super::snapshot::Snapshot;
use super::verdict::Verdict;
use crate::policy::{Body, Decision, Engines, Facts, NoBody, NoRecorder, Recorder, RequestFacts};

/// What the rules say of a request.
pub(super) struct Judgement<'s> {
    /// What decides.
    pub(super) decision: Decision<'s>,
    /// What would decide if the policies in audit were enforced too; nothing where there are none. Engines are not
    /// asked for its sake.
    pub(super) audited: Option<Decision<'s>>,
}

/// Decides by the rules of the snapshot. The recorder is told of every rule that was looked at and changes nothing.
pub(super) fn judge<'s>(
    snapshot: &'s Snapshot,
    request: &Request<'_>,
    callers: &Callers,
    (engines, now): (&dyn Engines, SystemTime),
    recorder: &mut impl Recorder,
) -> Judgement<'s> {
    let body = request
        .http
        .as_ref()
        .map(|http| LazyBody::new(http, snapshot.descriptors(), &snapshot.mesh().limits));
    let body: &dyn Body = match &body {
        Some(body) => body,
        None => &NoBody,
    };
    let facts = Facts {
        peer: callers.peer(),
        user: callers.user(),
        client: callers.client(),
        request: request.http.as_ref().map(|http| RequestFacts {
            method: &http.method,
            host: &http.host,
            path: http.path.decoded(),
            segments: http.path.segments(),
            query: http.path.query(),
            headers: &http.headers,
            body,
        }),
        connection: request.connection,
        engines,
        now,
    };
    let policies = snapshot.policies();
    let decision = policies.decide_recorded(&facts, recorder);
    let audited = match decision {
        // It is judged again once they were asked.
        Decision::AskFirst(_) => None,
        _ => policies.audit(&facts),
    };
    Judgement { decision, audited }
}

/// What the rules say, and what they would say if those in audit were enforced.
pub(super) type ByRules<'s> = (Verdict<'s>, Option<Audited<'s>>);

/// Judges by the rules, unless engines have to be asked first.
pub(super) fn by_rules<'s>(
    snapshot: &'s Snapshot,
    request: &Request<'_>,
    callers: &Callers,
    (engines, now): (&RequestEngines<'_>, SystemTime),
) -> Result<ByRules<'s>, Vec<Need>> {
    let Judgement { decision, audited } =
        judge(snapshot, request, callers, (engines, now), &mut NoRecorder);
    let questions = engines.questions(&decision);
    if !questions.is_empty() {
        return Err(questions.into_iter().map(Need::Engine).collect());
    }
    let audited = audited.map(|decision| Audited::of(decision, callers.user()));
    Ok((denial::verdict(decision, callers.user()), audited))
}
