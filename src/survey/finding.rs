//! What a check comes to: one line, and what to do where it is not well.

use serde::Serialize;

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It is well.
    Ok,
    /// Somebody should look at it, or it could not be seen.
    Warning,
    /// It does not work, or is not safe.
    Error,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, as `part/question`.
    pub check: &'static str,
    /// How well it is.
    pub level: Level,
    /// What was seen.
    pub seen: String,
    /// Of what, each one: namespaces and names, with why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<String>,
    /// What to do; always there where it is not well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Level {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl Finding {
    pub(super) fn ok(check: &'static str, seen: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, seen: seen.into(), items: Vec::new(), next: None }
    }

    pub(super) fn warning(
        check: &'static str,
        seen: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { level: Level::Warning, next: Some(next.into()), ..Self::ok(check, seen) }
    }

    pub(super) fn error(
        check: &'static str,
        seen: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { level: Level::Error, next: Some(next.into()), ..Self::ok(check, seen) }
    }

    /// Something that must be read for the check is not.
    pub(super) fn unseen(check: &'static str, what: &str, why: &impl std::fmt::Display) -> Self {
        let next =
            "see that you may read it, and that it is reached; what is not seen counts as not well";
        Self::error(check, format!("{what} cannot be read: {why}"), next)
    }

    pub(super) fn with(self, items: Vec<String>) -> Self {
        Self { items, ..self }
    }
}
