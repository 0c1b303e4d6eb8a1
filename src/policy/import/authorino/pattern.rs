//! Patterns: comparisons of one value each, as conditions.
//!
//! A condition that stands for a pattern is true only where the pattern is. Where it cannot be told, it has no answer,
//! which refuses.

use std::collections::BTreeMap;

use super::super::cel::literal;
use super::raw::{RawNamedPatterns, RawPattern};

/// Deeper groups are not followed: a name may stand for itself.
const MAX_DEPTH: usize = 8;

/// Reads patterns, by the names that stand for some.
pub(super) struct Reader<'a> {
    pub(super) named: &'a BTreeMap<String, RawNamedPatterns>,
}

/// What is compared.
enum Left {
    /// A text that is always there, as `request.method`.
    Text(&'static str),
    /// The path with the query.
    Target,
    /// A claim, by the names that lead to it.
    Claim(Vec<String>),
}

impl Reader<'_> {
    /// All of these.
    pub(super) fn all(&self, patterns: &[RawPattern]) -> Option<String> {
        self.each(patterns, " && ", 0)
    }

    /// Not all of these, exactly: only for what is always there.
    pub(super) fn none(&self, patterns: &[RawPattern]) -> Option<String> {
        let exact = patterns.iter().all(|pattern| {
            let left = pattern.selector.as_deref().and_then(left);
            matches!(left, Some(Left::Text(_)))
                && matches!(pattern.operator.as_deref(), Some("eq" | "neq"))
        });
        exact.then(|| self.all(patterns).map(|all| format!("!({all})")))?
    }

    fn each(&self, patterns: &[RawPattern], joint: &str, depth: usize) -> Option<String> {
        let all: Vec<String> =
            patterns.iter().map(|pattern| self.one(pattern, depth)).collect::<Option<_>>()?;
        match all.as_slice() {
            [] => None,
            [only] => Some(only.clone()),
            several => Some(format!("({})", several.join(joint))),
        }
    }

    fn one(&self, raw: &RawPattern, depth: usize) -> Option<String> {
        if depth > MAX_DEPTH {
            return None;
        }
        match raw {
            RawPattern { predicate: Some(_), .. } => None,
            RawPattern { pattern_ref: Some(name), .. } => {
                self.each(&self.named.get(name)?.all_of, " && ", depth + 1)
            }
            RawPattern { all: Some(all), .. } => self.each(all, " && ", depth + 1),
            RawPattern { any: Some(any), .. } => self.each(any, " || ", depth + 1),
            RawPattern { selector: Some(selector), operator: Some(operator), value, .. } => {
                compare(&left(selector)?, operator, value.as_deref().unwrap_or_default())
            }
            RawPattern { .. } => None,
        }
    }
}

fn left(selector: &str) -> Option<Left> {
    match selector {
        "request.method" | "context.request.http.method" => Some(Left::Text("request.method")),
        "request.url_path" => Some(Left::Text("request.path")),
        "request.path" | "context.request.http.path" => Some(Left::Target),
        other => {
            let claim = other.strip_prefix("auth.identity.")?;
            // `@` begins a modifier, `#` a query, `*` and `?` stand for several names.
            let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
            let names: Vec<String> = claim.split('.').map(str::to_owned).collect();
            (claim.chars().all(plain) && names.iter().all(|name| !name.is_empty()))
                .then_some(Left::Claim(names))
        }
    }
}

fn compare(left: &Left, operator: &str, value: &str) -> Option<String> {
    let wanted = literal(value);
    match (left, operator) {
        (Left::Text(name), "eq") => Some(format!("{name} == {wanted}")),
        (Left::Text(name), "neq") => Some(format!("{name} != {wanted}")),
        (Left::Text(name), "matches") => Some(format!("{name}.matches({wanted})")),
        // What is compared there has the query in it: only where there is none it is the path.
        (Left::Target, "eq") => {
            Some(format!("(request.query == \"\" && request.path == {wanted})"))
        }
        (Left::Target, "matches") => {
            Some(format!("(request.query == \"\" && request.path.matches({wanted}))"))
        }
        (Left::Claim(path), "eq") => Some(there(path, |at| format!("{at} == {wanted}"))),
        (Left::Claim(path), "incl") => Some(there(path, |at| format!("{wanted} in {at}"))),
        (Left::Claim(path), "matches") => Some(there(path, |at| format!("{at}.matches({wanted})"))),
        // What is absent is an empty text there.
        (Left::Claim(path), "neq") if value.is_empty() => {
            Some(there(path, |at| format!("string({at}) != {wanted}")))
        }
        // A number is compared there as a text.
        (Left::Claim(path), "neq") => {
            Some(absent_or(path, |at| format!("string({at}) != {wanted}")))
        }
        (Left::Claim(path), "excl") => {
            Some(absent_or(path, |at| format!("!{at}.exists(x, string(x) == {wanted})")))
        }
        (_, _) => None,
    }
}

/// Every name on the way is there, and what is at the end is as `test` says.
fn there(path: &[String], test: impl FnOnce(&str) -> String) -> String {
    let (mut parts, at) = steps(path);
    parts.push(test(&at));
    format!("({})", parts.join(" && "))
}

/// A name on the way is not there, or what is at the end is as `test` says.
fn absent_or(path: &[String], test: impl FnOnce(&str) -> String) -> String {
    let (parts, at) = steps(path);
    format!("(!({}) || {})", parts.join(" && "), test(&at))
}

fn steps(path: &[String]) -> (Vec<String>, String) {
    let mut at = "user.claims".to_owned();
    let mut parts = Vec::new();
    for name in path {
        parts.push(format!("{} in {at}", literal(name)));
        at = format!("{at}[{}]", literal(name));
    }
    (parts, at)
}
