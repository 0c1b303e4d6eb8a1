//! Why a text is no condition, and what could stand there instead.

use cel::ParseErrors;

use super::MAX_BYTES;
use super::check::{MAX_BRACKETS, MAX_DEPTH};
use crate::policy::problem::{did_you_mean, quoted};

/// Why a text is no condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCondition {
    /// It is longer than 2048 bytes.
    #[error("is longer than {MAX_BYTES} bytes; write several rules")]
    TooLong,
    /// It nests too deep.
    #[error(
        "nests deeper than {MAX_BRACKETS} brackets or {MAX_DEPTH} operators; write several rules"
    )]
    TooDeep,
    /// It is no CEL.
    #[error("is no CEL, at line {line}, column {column}: {message}")]
    Syntax {
        /// The line inside the condition.
        line: isize,
        /// The column.
        column: isize,
        /// What the parser says.
        message: String,
    },
    /// The parser gave up.
    #[error("cannot be parsed")]
    Unreadable,
    /// A name that does not exist.
    #[error("names `{name}`, which does not exist; there are {known}{}", Hint(.hint))]
    UnknownName {
        /// What is written.
        name: String,
        /// What exists there.
        known: String,
        /// What was probably meant.
        hint: Option<String>,
    },
    /// A function that does not exist or takes other arguments.
    #[error("calls `{name}`, which does not exist in this form; there are {known}{}", Hint(.hint))]
    UnknownFunction {
        /// What is written.
        name: String,
        /// What exists.
        known: String,
        /// What was probably meant.
        hint: Option<String>,
    },
    /// A whole group stands where one of its fields is expected.
    #[error("uses `{0}` as a whole; name one of its fields, as in `{1}`")]
    Whole(&'static str, &'static str),
    /// `has` is asked about a field that is always there.
    #[error("asks has({0}), which is always there when it can be asked")]
    AlwaysThere(String),
    /// A header is not named by a lower-case literal.
    #[error(
        "names a header other than by a lower-case literal, as in request.headers[\"x-tenant\"]"
    )]
    HeaderName,
    /// A pseudo header, which holds an undecoded spelling.
    #[error(
        "names the pseudo header `{0}`; write request.path, request.query, request.method or request.host"
    )]
    PseudoHeader(String),
    /// A loop inside a loop, or over the result of one.
    #[error(
        "has a loop (exists, all, map, filter) inside another or over its result; the cost would multiply"
    )]
    NestedLoop,
    /// A loop variable hides a group.
    #[error("names a loop variable `{0}`, which hides what that name means")]
    Hidden(String),
    /// The pattern of `matches` is no valid literal.
    #[error("has a pattern in matches() that is no valid literal regular expression")]
    Pattern,
    /// The pattern of `matches` is large.
    #[error(
        "has a pattern in matches() that is longer than 256 bytes or that repetition makes large; it is built at each request"
    )]
    LargePattern,
    /// A path variable that some path does not capture.
    #[error("names `path.{name}`, which not every path of the rule captures; there are {known}{}", Hint(.hint))]
    UnknownVariable {
        /// What is written.
        name: String,
        /// What every path captures.
        known: String,
        /// What was probably meant.
        hint: Option<String>,
    },
    /// It cannot be true or false.
    #[error("is neither true nor false: compare it with something")]
    NotBoolean,
    /// A kind of expression that has no use here.
    #[error("builds a message, which has no use here")]
    Message,
}

struct Hint<'a>(&'a Option<String>);

impl std::fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl InvalidCondition {
    pub(super) fn syntax(errors: &ParseErrors) -> Self {
        match errors.errors.first() {
            Some(first) => Self::Syntax {
                line: first.pos.0,
                column: first.pos.1,
                message: first.msg.lines().next().unwrap_or_default().to_owned(),
            },
            None => Self::Unreadable,
        }
    }

    pub(super) fn unknown(name: String, written: &str, known: &[&str]) -> Self {
        Self::UnknownName {
            name,
            known: quoted(known.iter().copied()),
            hint: did_you_mean(written, known.iter().copied()),
        }
    }
}
