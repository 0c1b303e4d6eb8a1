//! Paths: texts of characters there, templates of segments here.

use super::super::bound::Bound;
use super::super::cel::literal;
use super::text::Text;
use crate::policy::PathTemplate;

/// Some paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Paths {
    /// These templates.
    Templates(Vec<String>),
    /// Those for which this condition over `request.path` is true.
    Condition(String),
}

/// One member of `paths`, as paths that stay on the right side. Nothing where there are none.
pub(super) fn translate(text: &str, bound: Bound) -> Option<Paths> {
    if text.contains("{*}") || text.contains("{**}") {
        return template(text, bound);
    }
    if text.contains(['?', '#']) {
        return None;
    }
    match Text::parse(text) {
        Text::Present => Some(Paths::Templates(vec!["/**".to_owned()])),
        Text::Exactly(path) => {
            let path = decoded(path)?;
            let condition = || Paths::Condition(format!("request.path == {}", literal(&path)));
            Some(templates(&path, vec![path.clone()]).unwrap_or_else(condition))
        }
        Text::Prefix(path) => prefix(&decoded(path)?, bound),
        Text::Suffix(path) => {
            Some(Paths::Condition(format!("request.path.endsWith({})", literal(&decoded(path)?))))
        }
    }
}

/// What begins with a whole segment is a template; what ends within one is a condition.
fn prefix(path: &str, bound: Bound) -> Option<Paths> {
    let condition = || Paths::Condition(format!("request.path.startsWith({})", literal(path)));
    let Some(folder) = path.strip_suffix('/') else { return Some(condition()) };
    // `/a/**` takes in `/a`, which does not begin with `/a/`.
    let texts = match (folder, bound) {
        ("", _) | (_, Bound::Around) => vec![format!("{folder}/**")],
        (_, Bound::Inside) => vec![format!("{folder}/"), format!("{folder}/*/**")],
    };
    Some(templates(folder, texts).unwrap_or_else(condition))
}

/// Istio's own templates: `{*}` is one segment, `{**}` any number.
fn template(text: &str, bound: Bound) -> Option<Paths> {
    let literals = text.replace("{*}", "").replace("{**}", "");
    let text = text.replace("{*}", "*");
    let (folder, after) = match text.split_once("/{**}") {
        None => return templates(&literals, vec![text]),
        Some(parts) => parts,
    };
    match (after, bound) {
        ("", Bound::Inside) => {
            templates(&literals, vec![format!("{folder}/"), format!("{folder}/*/**")])
        }
        (_, Bound::Inside) => None,
        (_, Bound::Around) => templates(&literals, vec![format!("{folder}/**")]),
    }
}

/// A star or a brace among the literal parts means itself there, and something else in a template.
fn templates(literals: &str, texts: Vec<String>) -> Option<Paths> {
    let plain = !literals.contains(['*', '{', '}']);
    (plain && texts.iter().all(|text| PathTemplate::parse(text).is_ok()))
        .then_some(Paths::Templates(texts))
}

/// Requests are judged decoded here.
fn decoded(path: &str) -> Option<String> {
    percent_encoding::percent_decode_str(path).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}
