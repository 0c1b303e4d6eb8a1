//! YAML with the place of each mistake: for resources and for configuration files alike.
//!
//! Types lead: a field that is text stays text, whatever it looks like (`no`, `0123`, `1.10`). Repeated keys,
//! unknown tags and documents past the bounds below are errors. An unknown field is answered with the fields that
//! are allowed there and, where one is close, with what was probably meant.

use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_saphyr::options::AliasLimits;
use serde_saphyr::{MessageFormatter, Options, Spanned, UserMessageFormatter};

use super::field::{FieldPath, Step};
use super::problem::{Problem, did_you_mean, quoted};

/// The largest text that is read, in bytes.
const MAX_BYTES: usize = 16 * 1024 * 1024;
const MAX_DEPTH: usize = 32;

/// A text that is not the YAML that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}{}{problem}", Shown(*.place))]
pub struct YamlError {
    source_name: String,
    place: Option<(u64, u64)>,
    problem: Problem,
}

/// Reads a text that holds exactly one document.
///
/// # Errors
/// With the place, the field and what is allowed there, when the text is no `T`.
pub fn parse_one<T: DeserializeOwned>(source: &str, text: &str) -> Result<T, YamlError> {
    check_size(source, text)?;
    Document { text, first_line: 1 }.read(source)
}

/// Reads an optional field that, once written, must have a value: `peers:` with nothing behind it is an error and not
/// an absent field. For `#[serde(default, deserialize_with = "..")]`.
///
/// # Errors
/// When there is no value, or it is no `T`.
pub fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl YamlError {
    /// Line and column, counted from one, where they are known.
    #[must_use]
    pub fn place(&self) -> Option<(u64, u64)> {
        self.place
    }

    /// The path of the field, for example `spec.rules[0].allow`; empty for the document itself.
    #[must_use]
    pub fn field(&self) -> String {
        self.problem.path.to_string()
    }

    pub(super) fn into_parts(self) -> (String, Option<(u64, u64)>, Problem) {
        (self.source_name, self.place, self.problem)
    }
}

/// One document of a stream, and the line of the stream it starts on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Document<'a> {
    text: &'a str,
    first_line: u64,
}

/// Cuts a stream into its documents; those without content are left out.
///
/// A line that starts with `---` and white space is a marker wherever it stands, block scalars included (YAML 1.2,
/// rule `c-forbidden`), so cutting by lines is what a YAML parser does too.
pub(super) fn documents<'a>(source: &str, text: &'a str) -> Result<Vec<Document<'a>>, YamlError> {
    check_size(source, text)?;
    let mut found = Vec::new();
    let (mut start, mut first_line) = (0, 1);
    let mut at = 0;
    for (line, number) in text.split_inclusive('\n').zip(1_u64..) {
        if is_marker(line) && at > start {
            found.push(Document { text: text.get(start..at).unwrap_or_default(), first_line });
            (start, first_line) = (at, number);
        }
        at += line.len();
    }
    found.push(Document { text: text.get(start..).unwrap_or_default(), first_line });
    found.retain(Document::has_content);
    Ok(found)
}

fn is_marker(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn check_size(source: &str, text: &str) -> Result<(), YamlError> {
    if text.len() <= MAX_BYTES {
        return Ok(());
    }
    let message = format!("is {} bytes long; at most {MAX_BYTES} are read", text.len());
    Err(YamlError {
        source_name: source.to_owned(),
        place: None,
        problem: Problem::new(FieldPath::root(), message),
    })
}

impl Document<'_> {
    /// The text, with its marker if it has one.
    pub(super) fn text(&self) -> &str {
        self.text
    }

    pub(super) fn read<T: DeserializeOwned>(&self, source: &str) -> Result<T, YamlError> {
        let mut track = serde_path_to_error::Track::new();
        let outcome =
            serde_saphyr::with_deserializer_from_str_with_options(self.text, options(), |yaml| {
                T::deserialize(serde_path_to_error::Deserializer::new(yaml, &mut track))
            });
        outcome.map_err(|error| self.explain(source, &error, FieldPath::from(&track.path())))
    }

    /// The places of all values, for mistakes that only show after reading. Empty if the text is no YAML.
    pub(super) fn places(&self) -> Places {
        let tree =
            serde_saphyr::from_str_with_options(self.text, options()).unwrap_or(Tree::Scalar);
        Places { tree, lines_before: self.first_line - 1 }
    }

    fn has_content(&self) -> bool {
        // A carriage return alone ends a line too, and with it a comment.
        self.text.split(['\n', '\r']).any(|line| {
            let line = line.trim_start_matches('\u{feff}');
            let line = if is_marker(line) { line.get(3..).unwrap_or_default() } else { line };
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#') && line != "..."
        })
    }

    fn explain(&self, source: &str, error: &serde_saphyr::Error, path: FieldPath) -> YamlError {
        let error = error.without_snippet();
        let place = error
            .location()
            .map(|location| (location.line() + self.first_line - 1, location.column()));
        YamlError { source_name: source.to_owned(), place, problem: problem(error, path) }
    }
}

fn problem(error: &serde_saphyr::Error, path: FieldPath) -> Problem {
    use serde_saphyr::Error;
    match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            let path = if path.ends_with_field(field) { path } else { path.field(field) };
            Problem::new(path, format!("unknown field `{field}`, expected {}", one_of(expected)))
                .maybe_hint(did_you_mean(field, expected.iter().copied()))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            Problem::new(path, format!("unknown value `{variant}`, expected {}", one_of(expected)))
                .maybe_hint(did_you_mean(variant, expected.iter().copied()))
        }
        Error::SerdeMissingField { field, .. } => {
            Problem::new(path, format!("the field `{field}` is missing"))
        }
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            Problem::new(path, format!("is {unexpected}, expected {expected}"))
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            Problem::new(path, format!("the key `{key}` is written twice"))
        }
        Error::Unexpected { expected: "sequence start", .. } => {
            Problem::new(path, "is no list").hint("write [a, b], or one line `- a` for each")
        }
        Error::Unexpected { expected: "mapping start", .. } => {
            Problem::new(path, "is no mapping").hint("write fields below it, or {} for none")
        }
        Error::NullIntoString { .. } => Problem::new(path, "has no value, expected text")
            .hint("quote it if the word null is meant"),
        other => Problem::new(path, UserMessageFormatter.format_message(other).into_owned()),
    }
}

fn one_of(expected: &[&str]) -> String {
    match expected {
        [] => "no field at all".to_owned(),
        [only] => format!("only `{only}`"),
        several => format!("one of {}", quoted(several.iter().copied())),
    }
}

fn options() -> Options {
    let mut aliases = AliasLimits::default();
    aliases.max_total_replayed_events = 20_000;
    aliases.max_replay_stack_depth = 8;
    serde_saphyr::options! {
        alias_limits: aliases,
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_events: 10_000_000,
            max_nodes: 5_000_000,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_recorded_anchor_events: 100_000,
            max_documents: 1,
            max_total_scalar_bytes: MAX_BYTES,
        },
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// Where each value of a document stands.
#[derive(Debug)]
pub(super) struct Places {
    tree: Tree,
    lines_before: u64,
}

#[derive(Debug)]
enum Tree {
    Scalar,
    List(Vec<(Place, Self)>),
    Map(Vec<(String, Place, Self)>),
}

type Place = (u64, u64);

impl Places {
    /// The place of a value, or of the nearest value around it that is written: at last the document itself.
    pub(super) fn find(&self, path: &FieldPath) -> Option<Place> {
        let mut tree = &self.tree;
        let mut nearest = Some((self.lines_before + 1, 1));
        for step in path.steps() {
            let inside = match (tree, step) {
                (Tree::List(items), Step::Item(item)) => {
                    items.get(*item).map(|(place, tree)| (place, tree))
                }
                (Tree::Map(entries), Step::Key(key)) => entries
                    .iter()
                    .find(|(name, _, _)| name == key)
                    .map(|(_, place, tree)| (place, tree)),
                (Tree::Scalar | Tree::List(_) | Tree::Map(_), _) => None,
            };
            let Some((place, inner)) = inside else { break };
            nearest = Some((place.0 + self.lines_before, place.1));
            tree = inner;
        }
        nearest
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Tree>>()? {
            list.push(((item.referenced.line(), item.referenced.column()), item.value));
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let place = (key.referenced.line(), key.referenced.column());
            map.push((key.value, place, entries.next_value()?));
        }
        Ok(Tree::Map(map))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_none<E: de::Error>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Tree, D::Error> {
        Tree::deserialize(inner)
    }
}

struct Shown(Option<Place>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((line, column)) => write!(f, ":{line}:{column}: "),
            None => f.write_str(": "),
        }
    }
}
