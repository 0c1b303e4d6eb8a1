//! The texts of refusals for each kind of client, with words that are filled in.
//!
//! A word is `{name}` of the few that there are; every other brace stands as it is written. What is filled in is escaped
//! for the format, and none of it tells why a request was refused.

use super::join::agreed;
use super::raw::RawBodies;
use crate::policy::field::FieldPath;
use crate::policy::problem::{InvalidRule, Problem, did_you_mean, quoted};
use crate::policy::resource::Checked;
use crate::policy::set::SelectedPolicy;

const MAX_BODY: usize = 16 * 1024;

/// The texts of refusals; what is absent is the gate's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bodies {
    /// For API clients: JSON.
    pub api: Option<Body>,
    /// For browsers: HTML.
    pub browser: Option<Body>,
    /// For gRPC clients: the message.
    pub grpc: Option<Body>,
}

/// A text with words that are filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    pieces: Vec<Piece>,
    format: Format,
}

/// What is filled in.
#[derive(Debug, Clone, Copy)]
pub struct BodyWords<'a> {
    /// `{requestId}`: by which the operator finds the record.
    pub request_id: &'a str,
    /// `{status}`: the HTTP status.
    pub status: u16,
    /// `{error}`: the kind of refusal, in one word.
    pub error: &'a str,
    /// `{message}`: the kind of refusal, in a sentence.
    pub message: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Word(Word),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    RequestId,
    Status,
    Error,
    Message,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Html,
    Plain,
}

const WORDS: [(&str, Word); 4] = [
    ("requestId", Word::RequestId),
    ("status", Word::Status),
    ("error", Word::Error),
    ("message", Word::Message),
];

impl Bodies {
    pub(super) fn check(raw: RawBodies, at: &FieldPath) -> Checked<Self> {
        let RawBodies { api, browser, grpc } = raw;
        if api.is_none() && browser.is_none() && grpc.is_none() {
            return Err(Problem::new(at.clone(), "needs `api`, `browser` or `grpc`"));
        }
        let body = |text: Option<String>, field: &str, format| {
            text.map(|text| Body::check(&text, &at.field(field), format)).transpose()
        };
        Ok(Self {
            api: body(api, "api", Format::Json)?,
            browser: body(browser, "browser", Format::Html)?,
            grpc: body(grpc, "grpc", Format::Plain)?,
        })
    }

    pub(super) fn join(
        selected: &[SelectedPolicy<'_>],
        at: &FieldPath,
        of: impl for<'p> Fn(&'p SelectedPolicy<'_>) -> Option<&'p Self>,
        problems: &mut Vec<InvalidRule>,
    ) -> Self {
        let mut one = |field: &str, choice: fn(&Self) -> &Option<Body>| {
            let choice = |policy: &SelectedPolicy<'_>| choice(of(policy)?).clone();
            agreed(selected, &at.field(field), choice, problems)
        };
        Self {
            api: one("api", |bodies| &bodies.api),
            browser: one("browser", |bodies| &bodies.browser),
            grpc: one("grpc", |bodies| &bodies.grpc),
        }
    }
}

impl Body {
    fn check(text: &str, at: &FieldPath, format: Format) -> Checked<Self> {
        if text.trim().is_empty() || text.len() > MAX_BODY {
            let message = format!("is no text of 1 to {MAX_BODY} bytes");
            return Err(Problem::new(at.clone(), message));
        }
        let body = Self { pieces: pieces(text, at)?, format };
        if format == Format::Json {
            let words = BodyWords { request_id: "\"", status: 403, error: "\"", message: "\"" };
            if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&body.fill(&words)) {
                return Err(Problem::new(
                    at.clone(),
                    format!("is no JSON once its words are filled in: {error}"),
                )
                .hint("words stand inside quotes; {status} may stand alone"));
            }
        }
        Ok(body)
    }

    /// The text with its words filled in.
    #[must_use]
    pub fn fill(&self, words: &BodyWords<'_>) -> String {
        let mut text = String::with_capacity(256);
        for piece in &self.pieces {
            match piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::Word(Word::RequestId) => self.format.escape(words.request_id, &mut text),
                Piece::Word(Word::Error) => self.format.escape(words.error, &mut text),
                Piece::Word(Word::Message) => self.format.escape(words.message, &mut text),
                Piece::Word(Word::Status) => text.push_str(&words.status.to_string()),
            }
        }
        text
    }
}

fn pieces(text: &str, at: &FieldPath) -> Checked<Vec<Piece>> {
    let (mut found, mut literal, mut rest) = (Vec::new(), String::new(), text);
    while let Some((before, behind)) = rest.split_once('{') {
        literal.push_str(before);
        let word = behind
            .split_once('}')
            .filter(|(name, _)| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic()));
        let Some((name, after)) = word else {
            literal.push('{');
            rest = behind;
            continue;
        };
        let names = || WORDS.iter().map(|(name, _)| *name);
        let Some((_, word)) = WORDS.iter().find(|(known, _)| *known == name) else {
            let message = format!("`{{{name}}}` is no word; there are {}", quoted(names()));
            return Err(Problem::new(at.clone(), message).maybe_hint(did_you_mean(name, names())));
        };
        if !literal.is_empty() {
            found.push(Piece::Text(std::mem::take(&mut literal)));
        }
        found.push(Piece::Word(*word));
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        found.push(Piece::Text(literal));
    }
    Ok(found)
}

impl Format {
    fn escape(self, word: &str, into: &mut String) {
        for c in word.chars() {
            match (self, c) {
                (Self::Json, '"') => into.push_str("\\\""),
                (Self::Json, '\\') => into.push_str("\\\\"),
                (Self::Json, c) if u32::from(c) < 0x20 => {
                    into.push_str(&format!("\\u{:04x}", u32::from(c)));
                }
                (Self::Html, '<') => into.push_str("&lt;"),
                (Self::Html, '>') => into.push_str("&gt;"),
                (Self::Html, '&') => into.push_str("&amp;"),
                (Self::Html, '"') => into.push_str("&quot;"),
                (Self::Html, '\'') => into.push_str("&#39;"),
                (Self::Json | Self::Html | Self::Plain, c) => into.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, format: Format) -> Result<String, String> {
        let words = BodyWords {
            request_id: "<\"a\\'&\n",
            status: 401,
            error: "unauthenticated",
            message: "A valid credential is required.",
        };
        let body = Body::check(text, &FieldPath::root(), format);
        body.map(|body| body.fill(&words)).map_err(|problem| problem.to_string())
    }

    #[test]
    fn words_are_escaped_for_their_format() {
        let json = filled(
            r#"{"id": "{requestId}", "status": {status}, "x": {"error": "{error}"}}"#,
            Format::Json,
        );
        let json: serde_json::Value = serde_json::from_str(&json.unwrap()).unwrap();
        assert_eq!(json["id"], "<\"a\\'&\n");
        assert_eq!(
            (&json["status"], &json["x"]["error"]),
            (&401.into(), &"unauthenticated".into())
        );
        let html = filled(
            "<style>body{margin:0}a{}</style><p title='{requestId}'>{message}",
            Format::Html,
        )
        .unwrap();
        assert_eq!(
            html,
            "<style>body{margin:0}a{}</style><p title='&lt;&quot;a\\&#39;&amp;\n'>A valid credential is required."
        );
        assert_eq!(filled("{error} {status} {", Format::Plain).unwrap(), "unauthenticated 401 {");
    }

    #[test]
    fn bodies_that_cannot_be_meant_are_refused() {
        for (text, format, told) in [
            ("{code}", Format::Plain, "no word"),
            ("{requestID}", Format::Html, "did you mean `requestId`"),
            ("", Format::Plain, "no text"),
            ("{\"id\": {requestId}}", Format::Json, "no JSON"),
            ("plain text", Format::Json, "no JSON"),
        ] {
            let refused = filled(text, format).unwrap_err();
            assert!(refused.contains(told), "{text}: {refused}");
        }
    }
}
