//! The way to reach a rule that comes closest to the request.

use super::held;
use super::known::{Fact, Known};
use super::parts::{Field, Part, State};
use super::wording;
use crate::policy::facts::Facts;
use crate::policy::rule::RequestPattern;
use crate::policy::template::{PathTemplate, Slash};

/// The closest pattern and path, and each thing that they ask.
pub(super) fn closest<'r>(
    patterns: Option<&'r [RequestPattern]>,
    facts: &Facts<'_>,
    (slash, known): (Slash, &Known),
) -> (Option<&'r PathTemplate>, Vec<Part>) {
    let ways = patterns.unwrap_or_default().iter().flat_map(|pattern| {
        pattern.each_path().map(move |path| (path, parts(pattern, path, facts, (slash, known))))
    });
    let distance = |parts: &[Part]| -> u32 { parts.iter().map(Part::distance).sum() };
    ways.min_by_key(|(path, parts)| (distance(parts), path.map_or(0, |path| miss(path, facts))))
        .unwrap_or_default()
}

/// Of templates that do not match, the one that begins like the path is closer.
fn miss(path: &PathTemplate, facts: &Facts<'_>) -> usize {
    let Some(request) = &facts.request else { return 0 };
    let wanted = path.as_str().split('/').skip(1);
    let same = wanted
        .zip(request.segments)
        .take_while(|(wanted, held)| *wanted == held.as_ref() || wanted.starts_with(['{', '*']))
        .count();
    usize::MAX - same
}

fn parts(
    pattern: &RequestPattern,
    path: Option<&PathTemplate>,
    facts: &Facts<'_>,
    (slash, known): (Slash, &Known),
) -> Vec<Part> {
    if facts.request.is_none() && !pattern.fits_connections() {
        let (wanted, held) = ("an HTTP request".to_owned(), "a TCP connection".to_owned());
        return vec![Part { field: Field::Request, state: State::Unmet, wanted, held }];
    }
    let RequestPattern { hosts, ports, methods, paths: _, headers, query, rpc, sni } = pattern;
    let nothing = RequestPattern::anything;
    let mut parts = Vec::new();
    let mut add = |field, only: &RequestPattern, path, wanted, held| {
        let truth = only.matches_by(path, facts, slash);
        parts.push(Part::new(field, truth, wanted, held));
    };
    if hosts.is_some() {
        let only = RequestPattern { hosts: hosts.clone(), ..nothing() };
        add(Field::Host, &only, None, wording::hosts(hosts), held::host(facts));
    }
    if let Some(path) = path {
        let held = held::path(facts);
        add(Field::Path, &nothing(), Some(path), path.as_str().to_owned(), held);
    }
    if let Some(wanted) = methods {
        let only = RequestPattern { methods: methods.clone(), ..nothing() };
        add(Field::Method, &only, None, wording::list(wanted), held::method(facts));
    }
    if let Some(wanted) = ports {
        let only = RequestPattern { ports: ports.clone(), ..nothing() };
        add(Field::Port, &only, None, wording::list(wanted), held::port(facts));
    }
    if sni.is_some() {
        let only = RequestPattern { sni: sni.clone(), ..nothing() };
        add(Field::Sni, &only, None, wording::hosts(sni), held::sni(facts));
    }
    for (name, wanted) in headers {
        let only = RequestPattern { headers: vec![(name.clone(), wanted.clone())], ..nothing() };
        let held = held::header(name, facts);
        add(Field::Header, &only, None, format!("{name}: {}", wording::list(wanted)), held);
    }
    for (name, wanted) in query {
        let only = RequestPattern { query: vec![(name.clone(), wanted.clone())], ..nothing() };
        let wanted = format!("{name}={}", wording::list(wanted));
        add(Field::Query, &only, None, wanted, String::new());
    }
    if let Some(calls) = rpc {
        let only = RequestPattern { rpc: rpc.clone(), ..nothing() };
        add(Field::Rpc, &only, None, wording::calls(calls), held::call(facts));
    }
    parts
        .into_iter()
        .map(|part| match missing(part.field) {
            Some(fact) => part.unless_missing(known, fact),
            None => part,
        })
        .collect()
}

fn missing(field: Field) -> Option<Fact> {
    match field {
        Field::Port => Some(Fact::Port),
        Field::Sni => Some(Fact::Sni),
        Field::Header => Some(Fact::Headers),
        Field::Query => Some(Fact::Query),
        Field::Rpc => Some(Fact::Body),
        _ => None,
    }
}
