//! Patterns of a policy, compiled once before they are used: casbin-rs panics on one that does not compile.

use std::panic::catch_unwind;

use casbin::function_map::{self as functions, OperatorFunction};
use casbin::rhai::Dynamic;

use super::InvalidCasbin;
use super::lines::{Kind, Lines};
use super::model::Shape;

/// Calls a function with a pattern, and panics when it is none.
type Compiles = fn(&str) -> bool;

/// Functions whose second argument is a pattern, and how each is called.
const PATTERNS: [(&str, Compiles); 8] = [
    ("regexMatch", |pattern| functions::regex_match("", pattern)),
    ("keyMatch2", |pattern| functions::key_match2("", pattern)),
    ("keyMatch3", |pattern| functions::key_match3("", pattern)),
    ("keyMatch4", |pattern| functions::key_match4("", pattern)),
    ("keyMatch5", |pattern| functions::key_match5("", pattern)),
    ("keyGet2", |pattern| functions::key_get2("", pattern, "").is_empty()),
    ("keyGet3", |pattern| functions::key_get3("", pattern, "").is_empty()),
    ("keyMatch", |_| true),
];

/// In place of casbin-rs's own, which panics when the star stands where a character of the request begins before and
/// ends after.
pub(super) const SAFE: [(&str, OperatorFunction); 1] =
    [("keyMatch", OperatorFunction::Arg2(key_match))];

#[expect(clippy::needless_pass_by_value, reason = "casbin-rs calls it so")]
fn key_match(path: Dynamic, pattern: Dynamic) -> Dynamic {
    let path = functions::dynamic_to_str(&path);
    let pattern = functions::dynamic_to_str(&pattern);
    let matches = match pattern.split_once('*') {
        Some((prefix, _)) => path.starts_with(prefix),
        None => path == pattern,
    };
    matches.into()
}

/// Compiles every pattern that the matcher may come to.
pub(super) fn check(file: &str, shape: &Shape, lines: &Lines) -> Result<(), InvalidCasbin> {
    for (name, compiles) in PATTERNS {
        for argument in second_arguments(&shape.matcher, name) {
            let column = argument
                .strip_prefix("p.")
                .and_then(|column| shape.policy.iter().position(|known| known == column));
            let literal = argument.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            match (column, literal) {
                (Some(column), _) => {
                    for line in lines.all.iter().filter(|line| line.kind == Kind::Policy) {
                        let pattern =
                            line.values.get(column).map(String::as_str).unwrap_or_default();
                        if catch_unwind(|| compiles(pattern)).is_err() {
                            return Err(InvalidCasbin::Line {
                                file: file.to_owned(),
                                line: line.number,
                                message: format!("`{pattern}` is no pattern for {name}"),
                            });
                        }
                    }
                }
                (None, Some(literal)) if catch_unwind(|| compiles(literal)).is_ok() => {}
                (None, _) => {
                    let message = format!(
                        "the matcher calls {name} with the pattern `{argument}`, expected a column of the policy"
                    );
                    return Err(InvalidCasbin::Policy { file: file.to_owned(), message });
                }
            }
        }
    }
    Ok(())
}

/// The second argument of each call of a function.
fn second_arguments<'m>(matcher: &'m str, function: &str) -> Vec<&'m str> {
    let calls = matcher.match_indices(function).filter_map(|(at, name)| {
        let before = matcher.get(..at)?.chars().next_back();
        let whole = before.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_');
        let after = matcher.get(at + name.len()..)?.trim_start().strip_prefix('(')?;
        whole.then_some(after)
    });
    // What cannot be read here is shown as an argument that is refused.
    calls.map(|after| arguments(after).get(1).copied().unwrap_or("nothing")).collect()
}

fn arguments(text: &str) -> Vec<&str> {
    let (mut depth, mut quoted, mut start) = (0_usize, false, 0);
    let mut found = Vec::new();
    for (at, c) in text.char_indices() {
        let ends = match c {
            '"' => {
                quoted = !quoted;
                false
            }
            _ if quoted => false,
            '(' | '[' => {
                depth += 1;
                false
            }
            ')' if depth == 0 => {
                found.push(text.get(start..at).unwrap_or_default().trim());
                break;
            }
            ')' | ']' => {
                depth = depth.saturating_sub(1);
                false
            }
            ',' => depth == 0,
            _ => false,
        };
        if ends {
            found.push(text.get(start..at).unwrap_or_default().trim());
            start = at + 1;
        }
    }
    found
}
