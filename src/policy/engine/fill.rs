//! Texts that a request fills in: literal, or one variable of a path template.

use super::super::template::PathTemplate;
use crate::policy::field::FieldPath;
use crate::policy::problem::{Problem, did_you_mean, quoted};
use crate::policy::resource::{Checked, check_text};

/// A text of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fill {
    /// Always this.
    Literal(String),
    /// The segment of the path that stands here, by its place.
    Segment(usize),
}

impl Fill {
    /// `{name}` is a variable of `path`; everything else is literal.
    pub(super) fn check(text: String, path: Option<&PathTemplate>, at: FieldPath) -> Checked<Self> {
        let text = check_text(text, at.clone())?;
        let Some(name) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
            if text.contains(['{', '}']) {
                return Err(Problem::new(at, format!("`{text}` is neither text nor one variable"))
                    .hint("a variable is the whole text: \"{id}\""));
            }
            return Ok(Self::Literal(text));
        };
        let Some(path) = path else {
            return Err(Problem::new(
                at,
                format!("`{text}` is a variable, and there is no `path`"),
            ));
        };
        path.place_of(name).map(Self::Segment).ok_or_else(|| {
            let known = || path.variables();
            Problem::new(at, format!("`path` has no variable `{name}`; it has {}", quoted(known())))
                .maybe_hint(did_you_mean(name, known()))
        })
    }

    /// The text for a request with these decoded segments.
    #[must_use]
    pub fn of<'t>(&'t self, segments: &'t [std::borrow::Cow<'_, str>]) -> Option<&'t str> {
        match self {
            Self::Literal(text) => Some(text),
            Self::Segment(place) => segments.get(*place).map(AsRef::as_ref),
        }
    }
}
