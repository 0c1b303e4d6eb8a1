//! One case, rehearsed.

use std::collections::BTreeMap;

use crate::authz::{Changes, Ending, Refusal, Rehearsal, Rehearsed, Snapshot, Supposed, rehearse};
use crate::policy::suite::{Case, CaseConnection, CaseRequest, Outcome, Target};
use crate::policy::{Difference, Effect, Fate, Mismatch, Recorder, RuleName, UserFacts};
use crate::proto::check::{Address, Check, Http, Peer};

/// Envoy says so of every body that it handed on whole.
const WHOLE_BODY: &str = "x-envoy-auth-partial-body";

/// What came of a case.
pub(super) struct Got<'s> {
    pub(super) outcome: Outcome,
    pub(super) code: &'static str,
    pub(super) rule: Option<&'s RuleName>,
    pub(super) reason: Option<String>,
    /// The headers that the application receives, by name; nothing for a refusal.
    pub(super) received: BTreeMap<String, Vec<String>>,
    pub(super) refusal: Option<Refusal>,
    /// The rules that were looked at.
    pub(super) candidates: Candidates,
}

impl Got<'_> {
    /// True when the rule that is named matched: not when it could not be told, or was only in reach.
    pub(super) fn is_decided_by_its_match(&self) -> bool {
        matches!(self.code, "allow" | "denied_by_rule")
    }
}

/// Rehearses a case.
pub(super) fn run<'s>(snapshot: &'s Snapshot, case: &Case) -> Got<'s> {
    let user = |parts: &Option<_>| parts.clone().map(UserFacts::new);
    let callers =
        Supposed { peer: case.peer.clone(), user: user(&case.user), client: user(&case.client) };
    let mut candidates = Candidates::default();
    let rehearsed = envoy_check(&case.target, |check| {
        rehearse(snapshot, Rehearsal { check, callers, now: case.now }, &mut candidates)
    });
    let Rehearsed { ending, code, rule, reason } = rehearsed;
    let (outcome, received, refusal) = match ending {
        Ending::Passes(changes) => (Outcome::Allow, received(&case.target, changes), None),
        Ending::Refused(refusal) => (Outcome::Deny, BTreeMap::new(), Some(refusal)),
    };
    Got { outcome, code, rule, reason, received, refusal, candidates }
}

/// Makes the Check that Envoy would send of it.
pub(in crate::cli) fn envoy_check<T>(target: &Target, with: impl FnOnce(Check<'_>) -> T) -> T {
    let connection = match target {
        Target::Request(request) => &request.connection,
        Target::Connection(connection) => connection,
    };
    let source = connection.source.map(|address| address.to_string());
    with(check(target, connection, source.as_deref()))
}

fn check<'c>(
    target: &'c Target,
    connection: &'c CaseConnection,
    source: Option<&'c str>,
) -> Check<'c> {
    let end = |address, port| Peer {
        address: Some(Address::Socket { address, port: Some(port) }),
        ..Peer::default()
    };
    Check {
        source: source.map(|address| end(address, 40_000)),
        destination: connection.port.map(|port| end("127.0.0.1", u32::from(port))),
        http: match target {
            Target::Request(request) => Some(http(request)),
            Target::Connection(_) => None,
        },
        sni: connection.sni.as_deref(),
        has_attributes: true,
        ..Check::default()
    }
}

fn http(request: &CaseRequest) -> Http<'_> {
    let mut headers: Vec<(&str, &[u8])> =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    if request.body.is_some() && !headers.iter().any(|(name, _)| *name == WHOLE_BODY) {
        headers.push((WHOLE_BODY, b"false"));
    }
    let body = request.body.as_deref().unwrap_or_default();
    Http {
        method: &request.method,
        host: &request.host,
        path: &request.path,
        headers,
        size: i64::try_from(body.len()).unwrap_or(i64::MAX),
        raw_body: body.as_bytes(),
        ..Http::default()
    }
}

/// What is left of the request's headers once Envoy changed them: it removes after it sets.
fn received(target: &Target, changes: Changes) -> BTreeMap<String, Vec<String>> {
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    if let Target::Request(request) = target {
        for (name, value) in &request.headers {
            headers.entry(name.clone()).or_default().push(value.clone());
        }
    }
    for (name, value) in changes.set {
        headers.insert(name, vec![value]);
    }
    for name in changes.removed {
        headers.remove(&name);
    }
    headers
}

/// What became of each rule that was looked at.
#[derive(Default)]
pub(super) struct Candidates(Vec<(String, Effect, Fate)>);

impl Recorder for Candidates {
    const EVERY: bool = true;

    fn candidate(&mut self, rule: &RuleName, effect: Effect, fate: &Fate) {
        let told = (rule.as_str().to_owned(), effect, fate.clone());
        if !self.0.contains(&told) {
            self.0.push(told);
        }
    }
}

impl Candidates {
    /// A line for each, for a person.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(rule, effect, fate)| {
            let effect = match effect {
                Effect::Allow => "allow",
                Effect::Deny => "deny",
            };
            format!("{effect} {rule}: {}", told(fate))
        })
    }
}

fn told(fate: &Fate) -> String {
    match fate {
        Fate::Matched => "matches".to_owned(),
        Fate::Differs(Difference::User(lack)) => {
            format!("does not match: {}", lacks("user", *lack))
        }
        Fate::Differs(Difference::Client(lack)) => {
            format!("does not match: {}", lacks("client", *lack))
        }
        Fate::Differs(difference) => format!("does not match: {}", other(*difference)),
        Fate::StepUp => "would match after a stronger or more recent sign-in".to_owned(),
        Fate::NotAsked => "would match if its engine said yes".to_owned(),
        Fate::Undecidable(reason) => format!("cannot be decided: {reason}"),
    }
}

fn other(difference: Difference) -> &'static str {
    match difference {
        Difference::User(_) | Difference::Client(_) => "somebody else calls",
        Difference::Peer => "it is for other peers",
        Difference::Connection => "it is for requests, and this is a connection",
        Difference::Host => "it is for other hosts",
        Difference::Port => "it is for other ports",
        Difference::Method => "it is for other methods",
        Difference::Path => "it is for other paths",
        Difference::Header => "a header is not there, or has another value",
        Difference::Query => "a query parameter is not there, or has another value",
        Difference::Rpc => "it is for other JSON-RPC calls",
        Difference::Sni => "it is for other TLS server names",
        Difference::Source => "the address of the caller is in none of its ranges",
        Difference::Forwarded => "the address of the client is in none of its ranges",
        Difference::Time => "it is not the time for it",
        Difference::NotPeer => "the peer is one of `notPeers`",
        Difference::NotUser => "the user is one of `notUsers`",
        Difference::NotClient => "the client is one of `notClients`",
        Difference::NotRequest => "the request is one of `notRequests`",
        Difference::NotSource => "the address of the caller is one of `notSources`",
        Difference::NotForwarded => "the address of the client is one of `notForwardedFor`",
        Difference::NotTime => "the time is one of `notTimes`",
        Difference::Condition => "its condition is false",
        Difference::Engine => "its engine does not say yes",
    }
}

fn lacks(who: &str, lack: Mismatch) -> String {
    match lack {
        Mismatch::NoUser => format!("there is no {who}"),
        Mismatch::SignedIn => format!("it is for nobody, and there is a {who}"),
        Mismatch::Tenant => format!("the {who} is of none of its tenants"),
        Mismatch::Email => format!("the {who} has none of its mail addresses"),
        Mismatch::Provider => format!("another provider vouches for the {who}"),
        Mismatch::Role => format!("the {who} has none of its roles"),
        Mismatch::Scope => format!("the {who} has none of its scopes"),
        Mismatch::Claim => format!("the {who} lacks a claim, or has another value"),
        Mismatch::Subject => format!("it is for other subjects than this {who}"),
        Mismatch::Group => format!("the {who} is in none of its groups"),
        Mismatch::NotBound => format!("the credential of the {who} is not bound in such a way"),
    }
}
