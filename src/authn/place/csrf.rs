//! Whether a request with a cookie comes from our own pages. Browsers send cookies along with requests that other sites
//! cause, so a cookie alone proves nothing about who wanted the request.

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::super::evidence::HttpEvidence;
use super::{CredentialProblem, cookie};
use crate::policy::Csrf;

/// Refuses a request that may change something and does not show where it comes from.
pub(super) fn check(csrf: &Csrf, http: &HttpEvidence<'_>) -> Result<(), CredentialProblem> {
    if is_safe(http) {
        return Ok(());
    }
    let shown = match csrf {
        Csrf::Origins(origins) => origin(http)
            .is_some_and(|from| origins.iter().any(|ours| ours.eq_ignore_ascii_case(from))),
        Csrf::DoubleSubmit { cookie, header } => is_repeated(cookie, header, http),
    };
    if shown { Ok(()) } else { Err(CredentialProblem::CrossSite) }
}

/// RFC 9110, section 9.2.1. An upgrade opens a channel to send anything on, whatever its method.
fn is_safe(http: &HttpEvidence<'_>) -> bool {
    matches!(http.method, "GET" | "HEAD" | "OPTIONS")
        && http.lines("upgrade").next().is_none()
        && http.lines(":protocol").next().is_none()
}

/// `Origin`, or where a browser leaves it out, the origin of `Referer`.
fn origin<'a>(http: &HttpEvidence<'a>) -> Option<&'a str> {
    if http.lines("origin").next().is_some() {
        return http.one_line("origin");
    }
    let referer = http.one_line("referer")?;
    let (scheme, rest) = referer.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    referer.get(..scheme.len() + "://".len() + host.len())
}

fn is_repeated(name: &str, header: &str, http: &HttpEvidence<'_>) -> bool {
    let (Ok(Some(ours)), Some(theirs)) = (cookie::read(name, http), http.one_line(header)) else {
        return false;
    };
    verify_slices_are_equal(ours.as_bytes(), theirs.as_bytes()).is_ok()
}
