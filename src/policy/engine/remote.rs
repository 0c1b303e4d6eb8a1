//! Servers that answer in a word: where they are, how long they may take and how long they are believed.

use std::time::Duration;

use super::local::DEFAULT_RULE;
use super::raw::{RawCredentials, RawExtAuthz, RawOpa};
use crate::policy::field::FieldPath;
use crate::policy::presentation::Credentials;
use crate::policy::problem::Problem;
use crate::policy::provider::{FileRef, check_uri, duration_or};
use crate::policy::resource::{Checked, check_list, is_token};

const TTL: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(60 * 60));
const NEGATIVE_TTL: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(5 * 60));
const TIMEOUT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(30));

/// How long a server may take, and how long it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long one question may take.
    pub timeout: Duration,
    /// How long a yes is believed.
    pub ttl: Duration,
    /// How long a no is believed.
    pub negative_ttl: Duration,
}

/// The data API of an Open Policy Agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opa {
    /// Where it is, without `/v1/data`.
    pub url: String,
    /// The rule whose value is the answer, as `package/path/rule`.
    pub path: String,
    /// Our own bearer token.
    pub token: Option<FileRef>,
    /// What of the request is sent.
    pub sent: Sent,
    /// How long it may take, and how long it is believed.
    pub patience: Patience,
}

/// What of a request's headers is sent to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// These and no others, in lower case; nothing for all but those that differ from request to request.
    pub headers: Option<Vec<String>>,
    /// Whether that includes the credentials of the request.
    pub credentials: Credentials,
}

/// Another `envoy.service.auth.v3.Authorization`. It sees the whole CheckRequest, credentials included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtAuthz {
    /// Where it is: `http` for plain HTTP/2, `https` for TLS.
    pub url: String,
    /// How long one question may take. Answers are not remembered: no two CheckRequests are the same.
    pub timeout: Duration,
}

impl Patience {
    pub(super) fn check(
        [timeout, ttl, negative_ttl]: [Option<String>; 3],
        at: &FieldPath,
    ) -> Checked<Self> {
        let (usual, brief) = (Duration::from_secs(10), Duration::from_secs(1));
        Ok(Self {
            timeout: duration_or(timeout, &at.field("timeout"), TIMEOUT, brief)?,
            ttl: duration_or(ttl, &at.field("ttl"), TTL, usual)?,
            negative_ttl: duration_or(negative_ttl, &at.field("negativeTtl"), NEGATIVE_TTL, brief)?,
        })
    }
}

impl Opa {
    pub(super) fn check(raw: RawOpa, at: &FieldPath, source: &str) -> Checked<Self> {
        let RawOpa { url, path, token_file, headers, credentials, timeout, ttl, negative_ttl } =
            raw;
        check_base(&url, &at.field("url"))?;
        let path = path.unwrap_or_else(|| DEFAULT_RULE.to_owned());
        check_rule_path(&path, &at.field("path"))?;
        let token = token_file.map(|text| FileRef::check(text, at.field("tokenFile"), source));
        Ok(Self {
            url,
            path,
            token: token.transpose()?,
            sent: Sent {
                headers: headers
                    .map(|list| check_headers(list, &at.field("headers")))
                    .transpose()?,
                credentials: match credentials {
                    // It may write them into its log.
                    Some(RawCredentials::Strip) | None => Credentials::Strip,
                    Some(RawCredentials::Keep) => Credentials::Keep,
                },
            },
            patience: Patience::check([timeout, ttl, negative_ttl], at)?,
        })
    }
}

impl ExtAuthz {
    pub(super) fn check(raw: RawExtAuthz, at: &FieldPath) -> Checked<Self> {
        let RawExtAuthz { url, timeout } = raw;
        check_base(&url, &at.field("url"))?;
        let timeout =
            duration_or(timeout, &at.field("timeout"), TIMEOUT, Duration::from_millis(500))?;
        Ok(Self { url, timeout })
    }
}

/// A URL to which a path is added.
pub(super) fn check_base(url: &str, at: &FieldPath) -> Checked<()> {
    check_uri(url, at)?;
    if url.contains(['?', '#']) {
        return Err(Problem::new(at.clone(), format!("`{url}` has a query or a fragment")));
    }
    Ok(())
}

/// `package/path/rule`: names that need no escape, neither in a URL nor in Rego.
pub(super) fn check_rule_path(text: &str, at: &FieldPath) -> Checked<()> {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if text.split('/').count() >= 2 && text.split('/').all(is_name) {
        return Ok(());
    }
    Err(Problem::new(at.clone(), format!("`{text}` is no path of a rule")).hint(
        "package and rule with slashes between names, without `data` and without a slash at either end: envoy/authz/allow",
    ))
}

fn check_headers(list: Vec<String>, at: &FieldPath) -> Checked<Vec<String>> {
    for (place, name) in list.iter().enumerate() {
        if !is_token(name) || name.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(Problem::new(
                at.item(place),
                format!("`{name}` is no header name in lower case"),
            ));
        }
    }
    if list.is_empty() {
        return Ok(list);
    }
    check_list(list, at)
}
