//! A header or parameter whose content is written in the policy or told by who calls.

use super::name;
use super::raw::{RawContent, RawWhenPresent};
use super::source::Value;
use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::resource::Checked;

const MAX_LITERAL: usize = 4096;

/// What a header or parameter holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// This text.
    Literal(String),
    /// What is told by who calls.
    Told(Value),
}

/// A header of the application's response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHeader {
    /// The name.
    pub name: String,
    /// What it holds. A literal is printable ASCII.
    pub content: Content,
    /// What happens when the application sets it too.
    pub when_present: WhenPresent,
}

/// What happens to a header that the application sets too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenPresent {
    /// The application's is replaced.
    Replace,
    /// The application's stays.
    Keep,
}

impl Content {
    /// With its name, and what is written of `whenPresent`.
    pub(super) fn check(
        raw: RawContent,
        at: &FieldPath,
    ) -> Checked<(String, Self, Option<RawWhenPresent>)> {
        let RawContent { name, value, from, form, max_bytes, too_long, when_present } = raw;
        let content = match (value, from) {
            (Some(_), Some(_)) => {
                return Err(Problem::new(at.clone(), "has both `value` and `from`"));
            }
            (None, None) => return Err(Problem::new(at.clone(), "needs `value` or `from`")),
            (None, Some(from)) => Self::Told(Value::check((from, at), form, max_bytes, too_long)?),
            (Some(text), None) => {
                let told_only = [
                    ("as", form.is_some()),
                    ("maxBytes", max_bytes.is_some()),
                    ("tooLong", too_long.is_some()),
                ];
                if let Some((field, _)) = told_only.iter().find(|(_, there)| *there) {
                    let message = "is for `from`: a `value` stands as it is written";
                    return Err(Problem::new(at.field(field), message));
                }
                if text.len() > MAX_LITERAL {
                    let message = format!("is longer than {MAX_LITERAL} bytes");
                    return Err(Problem::new(at.field("value"), message));
                }
                Self::Literal(text)
            }
        };
        Ok((name, content, when_present))
    }
}

impl ResponseHeader {
    pub(super) fn check(raw: RawContent, at: &FieldPath) -> Checked<Self> {
        let (name, content, when_present) = Content::check(raw, at)?;
        name::check_response(&name, &at.field("name"))?;
        if let Content::Literal(text) = &content {
            let plain = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
            if text.is_empty() || text.trim() != text || !plain {
                let message = "is no header value of printable ASCII without blanks around it";
                return Err(Problem::new(at.field("value"), message));
            }
        }
        Ok(Self {
            name,
            content,
            when_present: match when_present {
                None | Some(RawWhenPresent::Replace) => WhenPresent::Replace,
                Some(RawWhenPresent::Keep) => WhenPresent::Keep,
            },
        })
    }
}
