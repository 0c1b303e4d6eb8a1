//! Why a text is no condition, and what could stand there instead.

use std::fmt;

use cel::ParseErrors;

use super::MAX_BYTES;
use super::check::{MAX_BRACKETS, MAX_DEPTH};
use super::meter::MAX_STEPS;
use super::place::Place;
use crate::policy::problem::{did_you_mean, quoted};

/// Why a text is no condition: the place, the expression there, what it is and what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidCondition {
    place: Option<Place>,
    mistake: Box<Mistake>,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Mistake {
    #[error("is longer than {MAX_BYTES} bytes; write several rules")]
    TooLong,
    #[error(
        "nests deeper than {MAX_BRACKETS} brackets or {MAX_DEPTH} operators; write several rules"
    )]
    TooDeep,
    /// Whatever a request holds.
    #[error("costs more than {MAX_STEPS} steps for every request; write several rules")]
    TooCostly,
    #[error("is no CEL, at line {line}, column {column}: {message}")]
    Syntax { line: isize, column: isize, message: String },
    #[error("cannot be parsed")]
    Unreadable,
    #[error("names `{name}`, which does not exist; there are {known}{}", Hint(.hint))]
    UnknownName { name: String, known: String, hint: Option<String> },
    #[error("calls `{name}`, which does not exist in this form; there are {known}{}", Hint(.hint))]
    UnknownFunction { name: String, known: String, hint: Option<String> },
    #[error("uses `{0}` as a whole; name one of its fields, as in `{1}`")]
    Whole(&'static str, &'static str),
    #[error("asks has({0}), which is always there when it can be asked")]
    AlwaysThere(String),
    #[error(
        "names a header other than by a lower-case literal, as in request.headers[\"x-tenant\"]"
    )]
    HeaderName,
    /// They hold what was sent, undecoded and with the query: a comparison would be dodged by another spelling.
    #[error(
        "names the pseudo header `{0}`; write request.path, request.query, request.method or request.host"
    )]
    PseudoHeader(String),
    #[error(
        "has a loop (exists, all, map, filter) inside another or over its result; the cost would multiply"
    )]
    NestedLoop,
    #[error("names a loop variable `{0}`, which hides what that name means")]
    Hidden(String),
    #[error("has a pattern in matches() that is no valid literal regular expression")]
    Pattern,
    #[error(
        "has a pattern in matches() that is longer than 256 bytes or that repetition makes large"
    )]
    LargePattern,
    #[error("compares {0} with {1}, which is no literal IP address")]
    Address(String, String),
    #[error("gives {0} to within(), which takes literal networks, as in \"10.0.0.0/8\"")]
    Network(String),
    #[error("names `path.{name}`, which not every path of the rule captures; there are {known}{}", Hint(.hint))]
    UnknownVariable { name: String, known: String, hint: Option<String> },
    #[error("is {0}, which is neither true nor false: compare it with something")]
    NotBoolean(String),
    #[error("builds a message, which has no use here")]
    Message,
    /// An operation on a value of a type that it is not for. The text says which, and which it is for.
    #[error("{0}")]
    Type(String),
}

struct Hint<'a>(&'a Option<String>);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl Mistake {
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

    pub(super) fn at(self, place: Option<Place>) -> InvalidCondition {
        InvalidCondition { place, mistake: Box::new(self) }
    }
}

impl From<Mistake> for InvalidCondition {
    fn from(mistake: Mistake) -> Self {
        mistake.at(None)
    }
}

impl fmt::Display for InvalidCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some(place) => write!(f, "{place}: {}", self.mistake),
            None => write!(f, "{}", self.mistake),
        }
    }
}

impl std::error::Error for InvalidCondition {}
