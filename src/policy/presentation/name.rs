//! The names under which headers may be set.

use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::resource::Checked;

/// The caller's spellings of a name (dash or underscore) double with each dash, and all of them are removed.
const MAX_DASHES: usize = 5;
const MAX_NAME: usize = 64;

/// Names that mean something to HTTP, to Envoy, to proxies in front or to the application's own security.
const TAKEN: &[&str] = &[
    "accept",
    "age",
    "authorization",
    "b3",
    "baggage",
    "cache-control",
    "client-cert",
    "client-cert-chain",
    "connection",
    "cookie",
    "date",
    "dpop",
    "etag",
    "expect",
    "fastly-client-ip",
    "forwarded",
    "from",
    "host",
    "keep-alive",
    "last-event-id",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "prefer",
    "priority",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "referer",
    "server",
    "set-cookie",
    "signature",
    "signature-input",
    "te",
    "trace-id",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-amzn-trace-id",
    "x-api-key",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-correlation-id",
    "x-host",
    "x-method-override",
    "x-real-ip",
    "x-request-id",
    "x-requested-with",
    "x-rewrite-url",
];
const TAKEN_PREFIXES: &[&str] = &[
    "accept-",
    "access-control-",
    "cf-",
    "cloudfront-",
    "content-",
    "grpc-",
    "if-",
    "sec-",
    "ssl-client-",
    "x-b3-",
    "x-client-cert",
    "x-cloud-trace-",
    "x-csrf",
    "x-datadog-",
    "x-envoy-",
    "x-forwarded",
    "x-http-method",
    "x-original-",
    "x-ot-span-",
    "x-ssl-",
    "x-xsrf",
];

/// Names of a response that HTTP, Envoy or the gate itself sets, and cookies, of which there may be several.
const TAKEN_OF_RESPONSES: &[&str] = &[
    "connection",
    "content-disposition",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "dpop-nonce",
    "keep-alive",
    "location",
    "proxy-authenticate",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
    "x-request-id",
];
const TAKEN_PREFIXES_OF_RESPONSES: &[&str] = &["grpc-", "x-envoy-"];

/// True for one name in two spellings: many servers read an underscore as a dash.
pub(super) fn is_same(left: &str, right: &str) -> bool {
    left.replace('_', "-").eq_ignore_ascii_case(&right.replace('_', "-"))
}

/// A header that the application reads.
pub(super) fn check_request(name: &str, at: &FieldPath) -> Checked<()> {
    check_shape(name, at)?;
    let problem = |message: String| Err(Problem::new(at.clone(), message));
    let dashes = name.matches('-').count();
    if dashes > MAX_DASHES {
        return problem(format!("`{name}` has {dashes} dashes; at most {MAX_DASHES} are allowed"));
    }
    if TAKEN.contains(&name) || TAKEN_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return problem(format!("`{name}` has a meaning of its own; choose a name such as x-user"));
    }
    Ok(())
}

/// A header that the client reads.
pub(super) fn check_response(name: &str, at: &FieldPath) -> Checked<()> {
    check_shape(name, at)?;
    let is_prefixed = TAKEN_PREFIXES_OF_RESPONSES.iter().any(|prefix| name.starts_with(prefix));
    if TAKEN_OF_RESPONSES.contains(&name) || is_prefixed {
        return Err(Problem::new(
            at.clone(),
            format!("`{name}` is for HTTP, Envoy, the application or the gate to set"),
        ));
    }
    Ok(())
}

fn check_shape(name: &str, at: &FieldPath) -> Checked<()> {
    let shaped = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-'));
    if shaped && name.len() <= MAX_NAME {
        return Ok(());
    }
    let message = format!(
        "`{name}` is no header name of lower-case letters, digits and dashes, at most {MAX_NAME} long"
    );
    Err(Problem::new(at.clone(), message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_meaning_are_refused() {
        for name in [
            "host",
            "authorization",
            "x-forwarded-user",
            "x-http-method",
            "x-http-method-override",
            "x-method-override",
            "x-original-url",
            "x-original-method",
            "x-rewrite-url",
            "x-real-ip",
            "true-client-ip",
            "cf-connecting-ip",
            "x-client-ip",
            "x-cluster-client-ip",
            "fastly-client-ip",
            "x-client-cert",
            "x-ssl-client-cert",
            "ssl-client-cert",
            "client-cert",
            "client-cert-chain",
            "dpop",
            "accept",
            "accept-encoding",
            "access-control-request-method",
            "range",
            "if-none-match",
            "origin",
            "referer",
            "user-agent",
            "cache-control",
            "traceparent",
            "tracestate",
            "baggage",
            "b3",
            "x-b3-traceid",
            "x-csrf-token",
            "x-requested-with",
            "x-amzn-trace-id",
            "priority",
            "signature",
            "signature-input",
        ] {
            let refused = check_request(name, &FieldPath::root()).expect_err(name).to_string();
            assert!(refused.contains("has a meaning of its own"), "{name}: {refused}");
        }
        for name in ["x-user", "x-hopgate-user", "x-account-id", "remote-user", "x-webauth-user"] {
            assert!(check_request(name, &FieldPath::root()).is_ok(), "{name}");
        }
    }

    #[test]
    fn names_of_responses_that_others_set_are_refused() {
        for name in ["content-length", "set-cookie", "www-authenticate", "grpc-status", "x-envoy-x"]
        {
            let refused = check_response(name, &FieldPath::root()).expect_err(name).to_string();
            assert!(refused.contains("to set"), "{name}: {refused}");
        }
        for name in [":status", "X-A", "x_a", "a b", "", "-a"] {
            assert!(check_response(name, &FieldPath::root()).is_err(), "{name}");
        }
        for name in ["x-frame-options", "cache-control", "strict-transport-security"] {
            assert!(check_response(name, &FieldPath::root()).is_ok(), "{name}");
        }
    }
}
