//! What identity the application gets, and under which header names.

use super::field::FieldPath;
use super::problem::{InvalidRule, Problem};
use super::raw::{RawCredentials, RawIdentity};
use super::resource::Checked;
use super::set::SelectedPolicy;

const DEFAULT_USER_HEADER: &str = "x-hopgate-user";
const DEFAULT_PEER_HEADER: &str = "x-hopgate-peer";
/// The caller's spellings of a name (dash or underscore) double with each dash, and all of them are removed.
const MAX_DASHES: usize = 5;
const MAX_NAME: usize = 64;

/// Names that mean something to HTTP, to Envoy, to proxies in front or to the application's own security.
const TAKEN: [&str; 60] = [
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
const TAKEN_PREFIXES: [&str; 21] = [
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

/// How the verified identity is presented to the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presentation {
    /// The header that carries the user.
    pub user_header: String,
    /// The header that carries the peer.
    pub peer_header: String,
    /// What happens to the caller's credentials.
    pub credentials: Credentials,
}

/// What happens to the credentials of a permitted request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credentials {
    /// Removed: the application cannot pass them on by mistake.
    Strip,
    /// Passed to the application.
    Keep,
}

/// What one policy says of the presentation; what it leaves out is for others or the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentationChoice {
    /// The header that carries the user.
    pub user_header: Option<String>,
    /// The header that carries the peer.
    pub peer_header: Option<String>,
    /// What happens to the caller's credentials.
    pub credentials: Option<Credentials>,
}

impl PresentationChoice {
    pub(super) fn check(raw: RawIdentity, at: &FieldPath) -> Checked<Self> {
        let RawIdentity { user_header, peer_header, credentials } = raw;
        for (name, field) in [(&user_header, "userHeader"), (&peer_header, "peerHeader")] {
            if let Some(name) = name {
                check_header(name, &at.field(field))?;
            }
        }
        if user_header.is_none() && peer_header.is_none() && credentials.is_none() {
            return Err(Problem::new(at.clone(), "says nothing: leave it out"));
        }
        Ok(Self {
            user_header,
            peer_header,
            credentials: credentials.map(|choice| match choice {
                RawCredentials::Strip => Credentials::Strip,
                RawCredentials::Keep => Credentials::Keep,
            }),
        })
    }
}

impl Presentation {
    /// Joins what the policies of one workload say. Two that differ are a mistake: there is no order among policies
    /// by which one of them could win.
    pub(super) fn join(selected: &[SelectedPolicy<'_>]) -> Result<Self, Vec<InvalidRule>> {
        let mut problems = Vec::new();
        let user_header = agreed(selected, "userHeader", |c| c.user_header.clone(), &mut problems)
            .unwrap_or_else(|| DEFAULT_USER_HEADER.to_owned());
        let peer_header = agreed(selected, "peerHeader", |c| c.peer_header.clone(), &mut problems)
            .unwrap_or_else(|| DEFAULT_PEER_HEADER.to_owned());
        let credentials = agreed(selected, "credentials", |c| c.credentials, &mut problems)
            .unwrap_or(Credentials::Strip);
        if let Some(policy) = same_names(selected, &user_header, &peer_header) {
            let message = format!("the user and the peer would both be told in `{user_header}`");
            problems.push(policy.problem(Problem::new(identity_path(), message)));
        }
        if problems.is_empty() {
            Ok(Self { user_header, peer_header, credentials })
        } else {
            Err(problems)
        }
    }
}

fn identity_path() -> FieldPath {
    FieldPath::root().field("spec").field("identity")
}

/// The policy to name when both headers are one. The defaults differ, so some policy chose.
fn same_names<'s, 'p>(
    selected: &'s [SelectedPolicy<'p>],
    user_header: &str,
    peer_header: &str,
) -> Option<&'s SelectedPolicy<'p>> {
    if !same_header(user_header, peer_header) {
        return None;
    }
    selected.iter().find(|policy| {
        policy
            .spec
            .identity
            .as_ref()
            .is_some_and(|choice| choice.user_header.is_some() || choice.peer_header.is_some())
    })
}

fn same_header(left: &str, right: &str) -> bool {
    left.replace('_', "-").eq_ignore_ascii_case(&right.replace('_', "-"))
}

fn agreed<T: PartialEq + std::fmt::Debug>(
    selected: &[SelectedPolicy<'_>],
    field: &str,
    choice: impl Fn(&PresentationChoice) -> Option<T>,
    problems: &mut Vec<InvalidRule>,
) -> Option<T> {
    let mut first: Option<(T, &SelectedPolicy<'_>)> = None;
    for policy in selected {
        let Some(chosen) = policy.spec.identity.as_ref().and_then(&choice) else { continue };
        match &first {
            None => first = Some((chosen, policy)),
            Some((agreed, _)) if *agreed == chosen => {}
            Some((agreed, other)) => {
                let message = format!(
                    "is {chosen:?} here and {agreed:?} in {} ({}); both select this workload",
                    other.metadata, other.origin
                );
                problems.push(policy.problem(Problem::new(identity_path().field(field), message)));
            }
        }
    }
    first.map(|(value, _)| value)
}

fn check_header(name: &str, at: &FieldPath) -> Checked<()> {
    let problem = |message: String| Err(Problem::new(at.clone(), message));
    let dashes = name.matches('-').count();
    let shaped = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-'));
    if !shaped || name.len() > MAX_NAME {
        return problem(format!(
            "`{name}` is no header name of lower-case letters, digits and dashes, at most {MAX_NAME} long"
        ));
    }
    if dashes > MAX_DASHES {
        return problem(format!("`{name}` has {dashes} dashes; at most {MAX_DASHES} are allowed"));
    }
    if TAKEN.contains(&name) || TAKEN_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return problem(format!("`{name}` has a meaning of its own; choose a name such as x-user"));
    }
    Ok(())
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
            let refused = check_header(name, &FieldPath::root()).expect_err(name).to_string();
            assert!(refused.contains("has a meaning of its own"), "{name}: {refused}");
        }
        for name in ["x-user", "x-hopgate-user", "x-account-id", "remote-user", "x-webauth-user"] {
            assert!(check_header(name, &FieldPath::root()).is_ok(), "{name}");
        }
    }
}
