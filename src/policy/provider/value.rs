//! Values that several parts of a provider are written with: URLs, durations, claim names.

use std::time::Duration;

use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::resource::Checked;

/// An absolute http or https URL without user information and fragment.
pub(in crate::policy) fn check_uri(text: &str, at: &FieldPath) -> Checked<()> {
    let problem = |message: &str| {
        Problem::new(at.clone(), format!("{message}: `{text}`"))
            .hint("for example https://idp.example/keys")
    };
    let uri: http::Uri = text.parse().map_err(|_| problem("is no URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(problem("is no http or https URL"));
    }
    let authority = uri.authority().ok_or_else(|| problem("names no host"))?;
    if authority.host().is_empty() {
        return Err(problem("names no host"));
    }
    if authority.as_str().contains('@') {
        // The text is not repeated: it may hold a password.
        return Err(Problem::new(at.clone(), "holds a user or a password; it must not"));
    }
    Ok(())
}

/// A checked URL, or nothing.
pub(super) fn optional_uri(text: Option<String>, at: &FieldPath) -> Checked<Option<String>> {
    if let Some(text) = &text {
        check_uri(text, at)?;
    }
    Ok(text)
}

/// `scheme://host[:port]` and nothing else, in lower case: what a browser sends as `Origin`.
pub(super) fn check_origin(text: &str, at: &FieldPath) -> Checked<()> {
    check_uri(text, at)?;
    let plain = text.split_once("://").is_some_and(|(_, rest)| {
        !rest.contains(['/', '?', '#']) && !rest.chars().any(|c| c.is_ascii_uppercase())
    });
    if plain {
        return Ok(());
    }
    Err(Problem::new(at.clone(), format!("`{text}` is no origin")).hint(
        "scheme, host and port in lower case, without a slash at the end: https://shop.example",
    ))
}

/// A duration within bounds.
pub(in crate::policy) fn duration(
    text: &str,
    at: &FieldPath,
    (least, most): (Duration, Duration),
) -> Checked<Duration> {
    use humantime_serde::re::humantime::{format_duration, parse_duration};
    let parsed = parse_duration(text).map_err(|error| {
        Problem::new(at.clone(), format!("`{text}` is no duration: {error}"))
            .hint("for example 30s, 5m or 1h")
    })?;
    if parsed < least || parsed > most {
        let message = format!(
            "`{text}` is out of bounds, expected {} to {}",
            format_duration(least),
            format_duration(most)
        );
        return Err(Problem::new(at.clone(), message));
    }
    Ok(parsed)
}

/// A duration that may be left out.
pub(in crate::policy) fn duration_or(
    text: Option<String>,
    at: &FieldPath,
    bounds: (Duration, Duration),
    default: Duration,
) -> Checked<Duration> {
    text.map_or(Ok(default), |text| duration(&text, at, bounds))
}

/// A path of claim names.
pub(super) fn check_path(path: Vec<String>, at: &FieldPath) -> Checked<Vec<String>> {
    if path.is_empty() || path.iter().any(String::is_empty) {
        return Err(Problem::new(at.clone(), "is no path of claim names")
            .hint("for example [realm_access, roles]"));
    }
    Ok(path)
}
