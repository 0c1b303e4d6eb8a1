//! What a refused client receives: status, headers and a body of its kind.

use super::challenge::Challenge;
use super::gate::Judged;
use super::headers::ClientKind;
use super::login;
use super::verdict::Denial;
use crate::policy::presentation::BodyWords;
use crate::proto::answer::{self, Answer, HeaderText, MetadataField, RefusalStatus};

/// Encodes a refusal for Envoy.
pub(super) fn deny(
    judged: &Judged<'_, '_>,
    denial: &Denial<'_>,
    metadata: &[MetadataField<'_>],
) -> Answer {
    let client = judged.envelope.client;
    let http = judged.request.as_ref().and_then(|request| request.http.as_ref());
    let location = http.and_then(|http| login::location(judged.snapshot, denial, (http, client)));
    let status = if location.is_some() { RefusalStatus::SignIn } else { denial.status() };
    let request_id = judged.request_id.as_str();
    let mut headers = vec![
        ("x-request-id", HeaderText::encode(request_id)),
        ("cache-control", HeaderText::encode("no-store")),
    ];
    match &location {
        // Printable ASCII by its making.
        Some(location) => headers.push(("location", HeaderText::encode_url(location))),
        None => {
            let challenge = judged.snapshot.challenges().value(denial.challenge());
            headers.extend(challenge.map(|text| ("www-authenticate", HeaderText::encode(text))));
        }
    }
    if let Challenge::Nonce(nonce) = denial.challenge() {
        headers.push(("dpop-nonce", HeaderText::encode(nonce)));
    }
    if let Some(seconds) = denial.retry_seconds() {
        headers.push(("retry-after", HeaderText::encode(seconds.to_string())));
    }
    let (error, message) = public_text(denial.status());
    let words = BodyWords { request_id, status: status.http(), error, message };
    let bodies = &judged.snapshot.policies().presentation().response.bodies;
    let body = match client {
        ClientKind::Grpc => {
            headers.push(("grpc-status", HeaderText::encode(status.grpc().to_string())));
            let own = || format!("{message} (request {request_id})");
            bodies.grpc.as_ref().map_or_else(own, |body| body.fill(&words))
        }
        ClientKind::Browser => {
            headers.push(("content-type", HeaderText::encode("text/html; charset=utf-8")));
            headers.push(("x-content-type-options", HeaderText::encode("nosniff")));
            bodies.browser.as_ref().map_or_else(|| page(&words), |body| body.fill(&words))
        }
        ClientKind::Api => {
            headers.push(("content-type", HeaderText::encode("application/json")));
            let own = || {
                format!(
                    r#"{{"error":"{error}","message":"{message}","request_id":"{request_id}"}}"#
                )
            };
            bodies.api.as_ref().map_or_else(own, |body| body.fill(&words))
        }
    };
    answer::deny(status, &headers, &body, metadata)
}

/// What any stranger may know: which kind of refusal it is, not why.
fn public_text(status: RefusalStatus) -> (&'static str, &'static str) {
    match status {
        RefusalStatus::BadRequest => ("bad_request", "The request cannot be accepted as it is."),
        RefusalStatus::SignIn | RefusalStatus::Unauthorized => {
            ("unauthenticated", "A valid credential is required.")
        }
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
fn page(words: &BodyWords<'_>) -> String {
    let BodyWords { request_id, status, error: _, message } = words;
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{status}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>body{{font:16px/1.5 system-ui,sans-serif;\
         margin:20vh auto;max-width:32em;padding:0 1em}}code{{color:#666}}</style></head>\
         <body><h1>{status}</h1><p>{message}</p><p><code>Request {request_id}</code></p></body></html>"
    )
}
