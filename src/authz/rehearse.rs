//! A rehearsal: what the gate would make of a request if these were calling.
//!
//! The request is read, judged and answered by the code of the gate; only who is calling is supposed instead of
//! proven. Therefore what comes of it is a report about an answer and never one: it holds no [`super::Permit`] and no
//! encoded CheckResponse. Tests of policies and explanations are made of rehearsals; nothing that serves a workload
//! imports this module.

use std::time::{Instant, SystemTime};

use envoy_types::pb::envoy::service::auth::v3::{
    CheckResponse, DeniedHttpResponse, OkHttpResponse, check_response::HttpResponse,
};
use prost::Message as _;

use super::callers::{Callers, Supposed};
use super::denial;
use super::engine::{RequestEngines, Told};
use super::gate::Judged;
use super::judge::judge;
use super::request::Request;
use super::request_id::RequestId;
use super::respond;
use super::snapshot::Snapshot;
use super::verdict::Verdict;
use crate::policy::{Recorder, RuleName};
use crate::proto::check::Check;

/// A request that might come, from whom and when.
#[derive(Debug)]
pub struct Rehearsal<'r> {
    /// As Envoy would send it. Its source's certificate is not looked at.
    pub check: Check<'r>,
    /// Who is calling.
    pub callers: Supposed,
    /// The time of the decision.
    pub now: SystemTime,
}

/// What the gate would make of it.
#[derive(Debug)]
pub struct Rehearsed<'s> {
    /// Whether it would pass.
    pub ending: Ending,
    /// `allow`, or the operator's code of the refusal.
    pub code: &'static str,
    /// The rule that decides, where it is one.
    pub rule: Option<&'s RuleName>,
    /// The operator's sentence about a refusal.
    pub reason: Option<String>,
}

/// Where the request ends.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// It passes, changed like this.
    Passes(Changes),
    /// It is refused, and the client receives this.
    Refused(Refusal),
}

/// What is changed of a request on its way to the application.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Headers that are set, whatever they were before.
    pub set: Vec<(String, String)>,
    /// Headers that are removed.
    pub removed: Vec<String>,
    /// Parameters of the query that are set.
    pub parameters_set: Vec<(String, String)>,
    /// Parameters of the query that are removed.
    pub parameters_removed: Vec<String>,
    /// Headers that are added to the application's answer.
    pub answer_headers: Vec<(String, String)>,
}

/// What a client receives.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

/// Judges it under the snapshot. The recorder is told of every rule that was looked at.
pub fn rehearse<'s>(
    snapshot: &'s Snapshot,
    rehearsal: Rehearsal<'_>,
    recorder: &mut impl Recorder,
) -> Rehearsed<'s> {
    let Rehearsal { check, callers, now } = rehearsal;
    let callers = Callers::Supposed(Box::new(callers));
    let whole = check.clone();
    // Servers are not asked: whoever rehearses asks nobody.
    let engines = RequestEngines::new(snapshot.engines(), Told::Check(&whole), None, now);
    let (envelope, request) = Request::read(check, snapshot.mesh());
    let (request, verdict) = match request {
        Ok(request) => {
            let decision = judge(snapshot, &request, &callers, (&engines, now), recorder).decision;
            (Some(request), denial::verdict(decision, callers.user()))
        }
        Err(malformed) => (None, Verdict::Denial(denial::unreadable(malformed))),
    };
    let mut judged = Judged {
        snapshot,
        // A made one would differ from run to run.
        request_id: RequestId::Given(envelope.request_id.unwrap_or("rehearsal")),
        envelope,
        request,
        callers,
        verdict,
        audited: None,
        received: now,
        began: Instant::now(),
    };
    Rehearsed::of(&mut judged)
}

impl<'s> Rehearsed<'s> {
    fn of(judged: &mut Judged<'s, '_>) -> Self {
        let answer = respond::answer(judged);
        let response = CheckResponse::decode(answer.as_bytes()).unwrap_or_default();
        let ending = match (&judged.verdict, response.http_response) {
            (Verdict::Permit(_), Some(HttpResponse::OkResponse(ok))) => {
                Ending::Passes(Changes::of(ok))
            }
            (Verdict::Denial(_), Some(HttpResponse::DeniedResponse(denied))) => {
                Ending::Refused(Refusal::of(denied))
            }
            // Not made by `respond`: told as the refusal that Envoy would make of it.
            (Verdict::Permit(_) | Verdict::Denial(_), _) => Ending::Refused(Refusal::default()),
        };
        let reason = match &judged.verdict {
            Verdict::Permit(_) => None,
            Verdict::Denial(denial) => Some(denial.reason().to_owned()),
        };
        Self { ending, code: judged.verdict.code(), rule: judged.verdict.rule(), reason }
    }
}

type HeaderOption = envoy_types::pb::envoy::config::core::v3::HeaderValueOption;

fn headers(options: Vec<HeaderOption>) -> Vec<(String, String)> {
    let header = |option: HeaderOption| option.header.map(|header| (header.key, header.value));
    options.into_iter().filter_map(header).collect()
}

impl Changes {
    fn of(ok: OkHttpResponse) -> Self {
        Self {
            set: headers(ok.headers),
            removed: ok.headers_to_remove,
            parameters_set: ok
                .query_parameters_to_set
                .into_iter()
                .map(|parameter| (parameter.key, parameter.value))
                .collect(),
            parameters_removed: ok.query_parameters_to_remove,
            answer_headers: headers(ok.response_headers_to_add),
        }
    }
}

impl Refusal {
    fn of(denied: DeniedHttpResponse) -> Self {
        let status = denied.status.map(|status| status.code).unwrap_or_default();
        Self {
            status: u16::try_from(status).unwrap_or_default(),
            headers: headers(denied.headers),
            body: denied.body,
        }
    }
}
