//! `to`: what is asked for.

use super::super::bound::Bound;
use super::super::cel::any;
use super::super::out::{Matcher, Pattern};
use super::super::{ImportError, wrong};
use super::draft::{Draft, Unsayable};
use super::path::{self, Paths};
use super::raw::RawOperation;
use super::source::deduplicated;
use super::text::Text;

/// Requests of one kind, and what they must not be.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests {
    pub(super) pattern: Pattern,
    not: Vec<Pattern>,
    when: Vec<String>,
}

/// The alternatives that together stand for one operation; none where it is left out.
pub(super) fn translate(
    draft: &mut Draft<'_>,
    raw: &RawOperation,
) -> Result<Vec<Requests>, ImportError> {
    let RawOperation { hosts, not_hosts, ports, not_ports, methods, not_methods, paths, not_paths } =
        raw;
    if *raw == RawOperation::default() {
        let field = format!("{}.to.operation", draft.at);
        return Err(wrong(draft.document, field, "says nothing; leave it out for any request"));
    }
    let mut requests = Requests::default();
    let steps = [
        one_of(
            draft,
            "to.operation.hosts",
            hosts,
            host,
            |pattern| &mut pattern.hosts,
            &mut requests,
        ),
        one_of(draft, "to.operation.methods", methods, method, |p| &mut p.methods, &mut requests),
        none_of(draft, "to.operation.notHosts", not_hosts, host, |p| &mut p.hosts, &mut requests),
        none_of(
            draft,
            "to.operation.notMethods",
            not_methods,
            method,
            |p| &mut p.methods,
            &mut requests,
        ),
    ];
    if steps.contains(&Step::Dropped) {
        return Ok(Vec::new());
    }
    if !ports.is_empty() {
        requests.pattern.ports = Some(numbers(draft, "to.operation.ports", ports)?);
    }
    if !not_ports.is_empty() {
        let ports = Some(numbers(draft, "to.operation.notPorts", not_ports)?);
        requests.not.push(Pattern { ports, ..Pattern::default() });
    }
    if not_these_paths(draft, not_paths, &mut requests) == Step::Dropped {
        return Ok(Vec::new());
    }
    let asks_for_http =
        [not_hosts, not_methods, not_paths, hosts, methods].iter().any(|list| !list.is_empty());
    if asks_for_http && requests.pattern.fits_connections() {
        requests.pattern.paths = Pattern::http().paths;
    }
    Ok(these_paths(draft, paths, requests))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Done,
    Dropped,
}

impl From<Unsayable> for Step {
    fn from(unsayable: Unsayable) -> Self {
        match unsayable {
            Unsayable::Drop => Self::Dropped,
            Unsayable::Ignore => Self::Done,
        }
    }
}

/// What one member of a list is here.
enum Member {
    /// Anything that there is.
    Anything,
    /// This.
    This(String),
    /// It cannot be said.
    Unsayable,
}

fn host(text: &str) -> Member {
    let name = |text: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        !text.is_empty() && text.chars().all(plain)
    };
    match Text::parse(text) {
        Text::Present => Member::Anything,
        Text::Exactly(host) if name(host) => Member::This(host.to_ascii_lowercase()),
        Text::Suffix(rest) if rest.starts_with('.') && name(rest) => {
            Member::This(format!("*{}", rest.to_ascii_lowercase()))
        }
        Text::Exactly(_) | Text::Prefix(_) | Text::Suffix(_) => Member::Unsayable,
    }
}

fn method(text: &str) -> Member {
    match Text::parse(text) {
        Text::Present => Member::Anything,
        Text::Exactly(method) if method.chars().all(|c| c.is_ascii_uppercase() || c == '-') => {
            Member::This(method.to_owned())
        }
        Text::Exactly(_) | Text::Prefix(_) | Text::Suffix(_) => Member::Unsayable,
    }
}

/// The members that stay on this side; nothing where the list as a whole cannot.
fn members(
    draft: &mut Draft<'_>,
    (field, bound): (&str, Bound),
    list: &[String],
    read: fn(&str) -> Member,
) -> Option<Members> {
    let mut named = Vec::new();
    for text in list {
        match (read(text), bound) {
            (Member::Anything, _) => return Some(Members::Anything),
            (Member::This(text), _) => named.push(text),
            (Member::Unsayable, Bound::Around) => return None,
            (Member::Unsayable, Bound::Inside) => {
                draft.narrower(
                    field,
                    &format!("`{text}` has no translation and is left out of the list"),
                );
            }
        }
    }
    (!named.is_empty()).then(|| Members::These(deduplicated(named)))
}

enum Members {
    Anything,
    These(Vec<String>),
}

fn one_of(
    draft: &mut Draft<'_>,
    field: &str,
    list: &[String],
    read: fn(&str) -> Member,
    part: fn(&mut Pattern) -> &mut Option<Vec<String>>,
    requests: &mut Requests,
) -> Step {
    if list.is_empty() {
        return Step::Done;
    }
    match members(draft, (field, draft.bound), list, read) {
        Some(Members::Anything) => Step::Done,
        Some(Members::These(named)) => {
            *part(&mut requests.pattern) = Some(named);
            Step::Done
        }
        None => draft.unsayable(field, "such texts cannot be compared here").into(),
    }
}

fn none_of(
    draft: &mut Draft<'_>,
    field: &str,
    list: &[String],
    read: fn(&str) -> Member,
    part: fn(&mut Pattern) -> &mut Option<Vec<String>>,
    requests: &mut Requests,
) -> Step {
    if list.is_empty() {
        return Step::Done;
    }
    match members(draft, (field, draft.bound.negated()), list, read) {
        Some(Members::Anything) => {
            requests.not.push(Pattern::http());
            Step::Done
        }
        Some(Members::These(named)) => {
            let mut pattern = Pattern::default();
            *part(&mut pattern) = Some(named);
            requests.not.push(pattern);
            Step::Done
        }
        None => draft.unsayable(field, "such texts cannot be compared here").into(),
    }
}

/// One alternative with the paths that are templates, one with those that are conditions.
fn these_paths(draft: &mut Draft<'_>, list: &[String], requests: Requests) -> Vec<Requests> {
    if list.is_empty() {
        return vec![requests];
    }
    let field = "to.operation.paths";
    let Some((templates, conditions)) = paths(draft, (field, draft.bound), list) else {
        return match draft.unsayable(field, "such paths cannot be compared here") {
            Unsayable::Drop => Vec::new(),
            Unsayable::Ignore => {
                let pattern = Pattern { paths: Pattern::http().paths, ..requests.pattern };
                vec![Requests { pattern, ..requests }]
            }
        };
    };
    let mut all = Vec::new();
    if !templates.is_empty() {
        let pattern = Pattern { paths: Some(templates), ..requests.pattern.clone() };
        all.push(Requests { pattern, ..requests.clone() });
    }
    if !conditions.is_empty() {
        let pattern = Pattern { paths: Pattern::http().paths, ..requests.pattern };
        let mut when = requests.when;
        when.push(any(&conditions));
        all.push(Requests { pattern, not: requests.not, when });
    }
    all
}

fn not_these_paths(draft: &mut Draft<'_>, list: &[String], requests: &mut Requests) -> Step {
    if list.is_empty() {
        return Step::Done;
    }
    let field = "to.operation.notPaths";
    match paths(draft, (field, draft.bound.negated()), list) {
        Some((templates, conditions)) => {
            if !templates.is_empty() {
                requests.not.push(Pattern { paths: Some(templates), ..Pattern::default() });
            }
            requests.when.extend(conditions.iter().map(|condition| format!("!({condition})")));
            Step::Done
        }
        None => draft.unsayable(field, "such paths cannot be compared here").into(),
    }
}

/// Templates and conditions for the members of a list; nothing where the list as a whole cannot stay on its side.
fn paths(
    draft: &mut Draft<'_>,
    (field, bound): (&str, Bound),
    list: &[String],
) -> Option<(Vec<String>, Vec<String>)> {
    let (mut templates, mut conditions) = (Vec::new(), Vec::new());
    for text in list {
        match (path::translate(text, bound), bound) {
            (Some(Paths::Templates(paths)), _) => templates.extend(paths),
            (Some(Paths::Condition(condition)), _) => conditions.push(condition),
            (None, Bound::Around) => return None,
            (None, Bound::Inside) => {
                draft.narrower(
                    field,
                    &format!("`{text}` has no translation and is left out of the list"),
                );
            }
        }
    }
    let some = !templates.is_empty() || !conditions.is_empty();
    some.then(|| (deduplicated(templates), conditions))
}

/// Ports, which are texts there.
pub(super) fn numbers(
    draft: &Draft<'_>,
    field: &str,
    list: &[String],
) -> Result<Vec<u16>, ImportError> {
    let ports: Result<std::collections::BTreeSet<u16>, _> = list
        .iter()
        .map(|text| {
            text.parse::<u16>().map_err(|_| {
                let field = format!("{}.{field}", draft.at);
                wrong(draft.document, field, format!("`{text}` is no port"))
            })
        })
        .collect();
    Ok(ports?.into_iter().collect())
}

/// Joins what is asked of requests with what is asked of callers. Kinds of requests that differ in their patterns only
/// share a rule.
pub(super) fn join(matchers: Vec<Matcher>, operations: Vec<Requests>) -> Vec<Matcher> {
    let (plain, others): (Vec<_>, Vec<_>) = operations
        .into_iter()
        .partition(|requests| requests.not.is_empty() && requests.when.is_empty());
    let mut all = Vec::new();
    for matcher in matchers {
        if !plain.is_empty() {
            let mut patterns: Vec<Pattern> = Vec::new();
            for Requests { pattern, .. } in &plain {
                if !patterns.contains(pattern) {
                    patterns.push(pattern.clone());
                }
            }
            // One that asks for nothing takes in all others.
            let requests = (!patterns.iter().any(Pattern::is_empty)).then_some(patterns);
            all.push(Matcher { requests, ..matcher.clone() });
        }
        for Requests { pattern, not, when } in &others {
            let mut matcher = matcher.clone();
            matcher.requests = (!pattern.is_empty()).then(|| vec![pattern.clone()]);
            matcher.not_requests.extend(not.iter().cloned());
            matcher.when.extend(when.iter().cloned());
            all.push(matcher);
        }
    }
    all
}

impl Requests {
    /// None of these, beside what it is already not.
    pub(super) fn except(&mut self, not: &[Pattern]) {
        self.not.extend(not.iter().cloned());
    }
}
