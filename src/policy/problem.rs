//! What is wrong with a resource or a rule, where, and what to write instead.

use std::fmt;
use std::sync::Arc;

use super::field::FieldPath;

/// The file and line in which something was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    source: Arc<str>,
    line: Option<u64>,
}

/// A document that is no resource: the file, the place, the field and what is allowed there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}{}{}{problem}", Place(*.place), Prefix(.resource))]
pub struct InvalidResource {
    pub(super) source_name: String,
    pub(super) place: Option<(u64, u64)>,
    /// `AccessPolicy shop/orders`, once it is known.
    pub(super) resource: String,
    pub(super) problem: Box<Problem>,
}

/// A rule that is well formed alone but not among the others, or not for this workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {subject}: {problem}")]
pub struct InvalidRule {
    pub(super) origin: Origin,
    /// `shop/orders` or `shop/orders#rule`.
    pub(super) subject: String,
    pub(super) problem: Problem,
}

/// One mistake: the field, what is wrong with it, and a next step where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) path: FieldPath,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Origin {
    pub(super) fn new(source: &str, line: Option<u64>) -> Self {
        Self { source: source.into(), line }
    }

    /// The name of the file.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The line, counted from one, where it is known.
    #[must_use]
    pub fn line(&self) -> Option<u64> {
        self.line
    }
}

impl InvalidResource {
    /// The name of the file or stream it was read from.
    #[must_use]
    pub fn source_name(&self) -> &str {
        &self.source_name
    }

    /// Line and column, counted from one, where they are known.
    #[must_use]
    pub fn place(&self) -> Option<(u64, u64)> {
        self.place
    }

    /// The path of the field, for example `spec.rules[0].allow`.
    #[must_use]
    pub fn field(&self) -> String {
        self.problem.path.to_string()
    }
}

impl InvalidResource {
    /// The field and what is wrong with it: neither file nor place nor resource.
    #[must_use]
    pub fn without_source(&self) -> String {
        self.problem.to_string()
    }
}

impl InvalidRule {
    /// Everything but the file and the place.
    #[must_use]
    pub fn without_source(&self) -> String {
        format!("{}: {}", self.subject, self.problem)
    }

    pub(super) fn new(origin: Origin, subject: impl Into<String>, problem: Problem) -> Self {
        Self { origin, subject: subject.into(), problem }
    }

    /// Where the rule was written.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The policy, `shop/orders`, or the rule, `shop/orders#name`.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

impl Problem {
    pub(super) fn new(path: FieldPath, message: impl Into<String>) -> Self {
        Self { path, message: message.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }
}

/// `did you mean "x"?` for the closest of what is allowed, if one is close.
pub(crate) fn did_you_mean<'a>(
    written: &str,
    allowed: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let bound = (written.chars().count() / 3).clamp(1, 3);
    allowed
        .into_iter()
        // Two letters in the wrong order are one mistake.
        .map(|name| (strsim::osa_distance(&written.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(edits, _)| *edits <= bound)
        .min()
        .map(|(_, name)| format!("did you mean `{name}`?"))
}

/// Joins names for a message: "`a`, `b`".
pub(super) fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.source),
            None => f.write_str(&self.source),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.steps().is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

struct Place(Option<(u64, u64)>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((line, column)) => write!(f, ":{line}:{column}: "),
            None => f.write_str(": "),
        }
    }
}

struct Prefix<'a>(&'a str);

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "{}: ", self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_name_is_offered_and_a_distant_one_is_not() {
        let fields = ["peers", "users", "requests", "when"];
        assert_eq!(did_you_mean("peer", fields).as_deref(), Some("did you mean `peers`?"));
        assert_eq!(did_you_mean("reqeusts", fields).as_deref(), Some("did you mean `requests`?"));
        assert_eq!(did_you_mean("Users", fields).as_deref(), Some("did you mean `users`?"));
        assert_eq!(did_you_mean("stepUp", fields), None);
        assert_eq!(did_you_mean("usres", fields).as_deref(), Some("did you mean `users`?"));
        assert_eq!(did_you_mean("", fields), None);
    }
}
