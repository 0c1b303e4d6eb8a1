//! The policy file, looked through line by line: casbin-rs passes over what it does not know.

use std::collections::HashSet;

use super::model::Shape;
use super::{InvalidCasbin, MAX_LINES};

/// The lines of a policy, with their numbers.
pub(super) struct Lines {
    pub(super) all: Vec<Line>,
}

/// One line.
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) kind: Kind,
    pub(super) values: Vec<String>,
}

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Policy,
    Role,
}

impl Lines {
    /// Every name that stands for a role.
    pub(super) fn roles(&self) -> HashSet<String> {
        let roles = self.all.iter().filter(|line| line.kind == Kind::Role);
        roles.filter_map(|line| line.values.get(1).cloned()).collect()
    }
}

/// Reads all lines, or says which cannot be used.
pub(super) fn check(file: &str, text: &str, shape: &Shape) -> Result<Lines, InvalidCasbin> {
    let mut all: Vec<Line> = Vec::new();
    let mut seen = HashSet::new();
    for (number, line) in (1..).zip(text.split('\n')).map(|(number, line)| (number, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong =
            |message: String| InvalidCasbin::Line { file: file.to_owned(), line: number, message };
        let line = read(line, shape).map_err(wrong)?;
        if !seen.insert((line.0 == Kind::Role, line.1.clone())) {
            return Err(wrong("is written twice".to_owned()));
        }
        all.push(Line { number, kind: line.0, values: line.1 });
    }
    let whole = |message: String| InvalidCasbin::Policy { file: file.to_owned(), message };
    if !all.iter().any(|line| line.kind == Kind::Policy) {
        // casbin-rs would ask the matcher once with empty texts, and a clause that needs no line would then admit.
        return Err(whole("has no line that begins with `p`".to_owned()));
    }
    if all.len() > MAX_LINES {
        return Err(whole(format!(
            "has {} lines, and at most {MAX_LINES} are used, because each request looks at all of them",
            all.len()
        )));
    }
    Ok(Lines { all })
}

fn read(line: &str, shape: &Shape) -> Result<(Kind, Vec<String>), String> {
    let mut values = split(line)?.into_iter();
    let kind = values.next().unwrap_or_default();
    let values: Vec<String> = values.collect();
    let (kind, wanted) = match (kind.as_str(), shape.role) {
        ("p", _) => (Kind::Policy, shape.policy.len()),
        ("g", Some(count)) => (Kind::Role, count),
        ("g", None) => return Err("is a role, and the model defines none".to_owned()),
        (other, _) => {
            return Err(format!("begins with `{other}`, expected `p` or `g`"));
        }
    };
    if values.len() != wanted {
        return Err(format!("has {} values after its first, expected {wanted}", values.len()));
    }
    let effect = shape.policy.iter().position(|name| name == "eft");
    if let (Kind::Policy, Some(effect)) = (kind, effect.and_then(|place| values.get(place)))
        && !matches!(effect.as_str(), "allow" | "deny")
    {
        return Err(format!("has the effect `{effect}`, expected `allow` or `deny`"));
    }
    Ok((kind, values))
}

/// Values between commas; `"a,b"` is one value.
fn split(line: &str) -> Result<Vec<String>, String> {
    let mut values = Vec::new();
    let mut value = String::new();
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                value.push(c);
            }
            ',' if !quoted => values.push(std::mem::take(&mut value)),
            _ => value.push(c),
        }
    }
    if quoted {
        return Err("has a quote that is not closed".to_owned());
    }
    values.push(value);
    values.iter().map(|value| unquoted(value.trim())).collect()
}

fn unquoted(value: &str) -> Result<String, String> {
    let inside = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match inside {
        Some(inside) if !inside.contains('"') => Ok(inside.to_owned()),
        None if !value.contains('"') => Ok(value.to_owned()),
        Some(_) | None => Err(format!("has a quote inside `{value}`")),
    }
}
