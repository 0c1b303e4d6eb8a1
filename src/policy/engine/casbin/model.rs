//! The model file, looked through before casbin-rs reads it: it would pass over what it does not know.

use crate::policy::problem::{did_you_mean, quoted};

/// The only effects there are, compared as text.
const EFFECTS: [&str; 4] = [
    "some(where (p.eft == allow))",
    "!some(where (p.eft == deny))",
    "some(where (p.eft == allow)) && !some(where (p.eft == deny))",
    "priority(p.eft) || deny",
];
const SECTIONS: [(&str, &str); 5] = [
    ("request_definition", "r"),
    ("policy_definition", "p"),
    ("role_definition", "g"),
    ("policy_effect", "e"),
    ("matchers", "m"),
];

/// What a model says of its requests and policies.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// The names of a request.
    pub(super) request: Vec<String>,
    /// The names of a policy line.
    pub(super) policy: Vec<String>,
    /// How many names a role line has; nothing without roles.
    pub(super) role: Option<usize>,
    /// The matcher.
    pub(super) matcher: String,
}

/// Reads a model, or says what of it cannot be used.
pub(super) fn check(text: &str) -> Result<Shape, String> {
    let mut found: [Option<String>; 5] = Default::default();
    let mut section = None;
    for line in logical_lines(text) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = Some(section_named(name)?);
            continue;
        }
        let (name, value) =
            line.split_once('=').ok_or_else(|| format!("`{line}` is no `name = value`"))?;
        let (name, value) = (name.trim(), value.split('#').next().unwrap_or_default().trim());
        let at = section.ok_or_else(|| format!("`{name}` stands before the first section"))?;
        let (title, only) = SECTIONS.get(at).copied().unwrap_or_default();
        if name != only {
            return Err(format!(
                "[{title}] defines `{name}`, and only `{only}` is used here; several definitions would share their roles"
            ));
        }
        if let Some(place) = found.get_mut(at)
            && place.replace(value.to_owned()).is_some()
        {
            return Err(format!("[{title}] defines `{only}` twice"));
        }
    }
    let [request, policy, role, effect, matcher] = found;
    let needed = |value: Option<String>, title: &str| {
        value.filter(|text| !text.is_empty()).ok_or_else(|| format!("[{title}] is missing"))
    };
    let effect = needed(effect, "policy_effect")?;
    if !EFFECTS.contains(&effect.as_str()) {
        return Err(format!("the effect `{effect}` is none of {}", quoted(EFFECTS)));
    }
    let matcher = needed(matcher, "matchers")?;
    if matcher.contains("eval(") {
        return Err("the matcher calls `eval`, whose cost nobody can bound".to_owned());
    }
    Ok(Shape {
        request: names(&needed(request, "request_definition")?)?,
        policy: names(&needed(policy, "policy_definition")?)?,
        role: role.map(|text| roles(&text)).transpose()?,
        matcher,
    })
}

fn section_named(name: &str) -> Result<usize, String> {
    let known = || SECTIONS.iter().map(|(title, _)| *title);
    SECTIONS.iter().position(|(title, _)| *title == name).ok_or_else(|| {
        let hint = did_you_mean(name, known()).map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("[{name}] is no section, expected one of {}{hint}", quoted(known()))
    })
}

fn names(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    let plain = |name: &String| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    match names.iter().find(|name| !plain(name)) {
        Some(name) => Err(format!("`{name}` in `{text}` is no name")),
        None => Ok(names),
    }
}

fn roles(text: &str) -> Result<usize, String> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    match (parts.len(), parts.iter().all(|part| *part == "_")) {
        (count @ (2 | 3), true) => Ok(count),
        (_, _) => Err(format!("the role definition `{text}` is neither `_, _` nor `_, _, _`")),
    }
}

/// Lines without comments and blanks, those that end in a backslash joined with what follows.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut joins = false;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let (part, more) = match line.strip_suffix('\\') {
            Some(part) => (part.trim_end(), true),
            None => (line, false),
        };
        match lines.last_mut() {
            Some(last) if joins => last.push_str(part),
            Some(_) | None => lines.push(part.to_owned()),
        }
        joins = more;
    }
    lines
}
