//! A verdict becomes a CheckResponse: an allowing one from a [`Permit`] only, a refusing one from a [`Denial`] only.

use super::challenge::Challenge;
use super::gate::Judged;
use super::headers::ClientKind;
use super::verdict::{Denial, Permit, Verdict};
use crate::identity::SpiffeId;
use crate::policy::UserFacts;
use crate::proto::answer::{self, Answer, HeaderText, MetadataField, Mutations, RefusalStatus};

/// Encodes the answer for Envoy. A permitted request that cannot be handed on as it must be is refused after all.
pub(super) fn answer(judged: &mut Judged<'_, '_>) -> Answer {
    let refused = match &judged.verdict {
        Verdict::Denial(denial) => return deny(judged, denial),
        Verdict::Permit(permit) => match allow(judged, permit) {
            Ok(answer) => return answer,
            Err(refused) => refused.by(permit.rule()),
        },
    };
    let answer = deny(judged, &refused);
    judged.verdict = Verdict::Denial(refused);
    answer
}

fn allow<'s>(judged: &Judged<'s, '_>, permit: &Permit<'s>) -> Result<Answer, Denial<'s>> {
    let presentation = judged.snapshot.presentation();
    let (user, peer) = identities(judged);
    let mut set = Vec::with_capacity(3);
    if let Some(user) = user {
        set.push((presentation.user_header.as_str(), HeaderText::encode(user)));
    }
    if let Some(peer) = peer {
        set.push((presentation.peer_header.as_str(), HeaderText::encode(peer)));
    }
    let http = judged.request.as_ref().and_then(|request| request.http.as_ref());
    let taken = http.map(|http| presentation.without_credentials(http)).unwrap_or_default();
    let (cookies, target) = (taken.cookies.as_deref(), taken.target.as_deref());
    for (name, left) in
        [("cookie", cookies.map(HeaderText::verbatim)), (":path", target.map(HeaderText::target))]
    {
        // A part of it may have been judged, so it is not just left out.
        let left = left.map(|text| text.ok_or_else(|| not_rewritable(name))).transpose()?;
        set.extend(left.map(|text| (name, text)));
    }
    let removed = presentation.removed(user.is_some(), peer.is_some());
    let metadata = [
        ("decision", "allow"),
        ("rule", permit.rule().as_str()),
        ("user", user.unwrap_or_default()),
        ("peer", peer.unwrap_or_default()),
        ("revision", judged.snapshot.revision()),
        ("request_id", judged.request_id.as_str()),
    ];
    let mutations = Mutations { set, removed, removed_too: taken.removed.clone() };
    Ok(answer::allow(&mutations, &metadata))
}

fn not_rewritable(name: &str) -> Denial<'static> {
    let reason = format!("what is left of {name} holds characters that may not stand there");
    Denial::new("request_not_rewritable", reason)
}

fn deny(judged: &Judged<'_, '_>, denial: &Denial<'_>) -> Answer {
    let request_id = judged.request_id.as_str();
    let (user, peer) = identities(judged);
    let metadata: [MetadataField<'_>; 7] = [
        ("decision", "deny"),
        ("code", denial.code()),
        ("rule", denial.rule().map(|rule| rule.as_str()).unwrap_or_default()),
        ("user", user.unwrap_or_default()),
        ("peer", peer.unwrap_or_default()),
        ("revision", judged.snapshot.revision()),
        ("request_id", request_id),
    ];
    let status = denial.status();
    let grpc_status = status.grpc().to_string();
    let mut headers = vec![
        ("x-request-id", HeaderText::encode(request_id)),
        ("cache-control", HeaderText::encode("no-store")),
    ];
    let challenge = judged.snapshot.challenges().value(denial.challenge());
    if let Some(challenge) = &challenge {
        headers.push(("www-authenticate", HeaderText::encode(challenge)));
    }
    if let Challenge::Nonce(nonce) = denial.challenge() {
        headers.push(("dpop-nonce", HeaderText::encode(nonce)));
    }
    let retry_after = denial.retry_seconds().map(|seconds| seconds.to_string());
    if let Some(seconds) = &retry_after {
        headers.push(("retry-after", HeaderText::encode(seconds)));
    }
    let body = match judged.envelope.client {
        ClientKind::Grpc => {
            headers.push(("grpc-status", HeaderText::encode(&grpc_status)));
            format!("{} (request {request_id})", public_text(status).1)
        }
        ClientKind::Browser => {
            headers.push(("content-type", HeaderText::encode("text/html; charset=utf-8")));
            headers.push(("x-content-type-options", HeaderText::encode("nosniff")));
            page(status, request_id)
        }
        ClientKind::Api => {
            headers.push(("content-type", HeaderText::encode("application/json")));
            let (code, text) = public_text(status);
            format!(r#"{{"error":"{code}","message":"{text}","request_id":"{request_id}"}}"#)
        }
    };
    answer::deny(status, &headers, &body, &metadata)
}

fn identities<'j>(judged: &'j Judged<'_, '_>) -> (Option<&'j str>, Option<&'j str>) {
    let callers = &judged.callers;
    (callers.user().map(UserFacts::subject), callers.peer().map(SpiffeId::as_str))
}

/// What any stranger may know: which kind of refusal it is, not why.
fn public_text(status: RefusalStatus) -> (&'static str, &'static str) {
    match status {
        RefusalStatus::BadRequest => ("bad_request", "The request cannot be accepted as it is."),
        RefusalStatus::Unauthorized => ("unauthenticated", "A valid credential is required."),
        RefusalStatus::Forbidden => ("forbidden", "This request is not allowed."),
        RefusalStatus::TooManyRequests => {
            ("too_many_requests", "Too many bad credentials. Try again later.")
        }
        RefusalStatus::Internal => ("internal", "The request could not be checked."),
        RefusalStatus::Unavailable => {
            ("unavailable", "The request cannot be checked right now. Try again later.")
        }
    }
}

/// The request id is plain (letters, digits, `-`, `_`, `.`), so it needs no escaping in HTML or JSON.
fn page(status: RefusalStatus, request_id: &str) -> String {
    let (_, text) = public_text(status);
    let code = status.http();
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{code}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>body{{font:16px/1.5 system-ui,sans-serif;\
         margin:20vh auto;max-width:32em;padding:0 1em}}code{{color:#666}}</style></head>\
         <body><h1>{code}</h1><p>{text}</p><p><code>Request {request_id}</code></p></body></html>"
    )
}
