//! `HTTPRoute`: which requests, and which of several routes takes one.

use super::super::ImportError;
use super::super::bound::Difference;
use super::super::document::Foreign;
use super::super::note::Notes;
use super::super::out::Pattern;
use super::raw::{RawMatch, RawNamed, RawPath, RawRoute};
use crate::policy::PathTemplate;

/// The requests of one route.
pub(super) struct Route {
    pub(super) name: String,
    namespace: String,
    servers: Vec<String>,
    matches: Vec<Match>,
    /// Some of its matches have no translation: it may take requests that are not known here.
    hidden: Vec<Precedence>,
}

struct Match {
    pattern: Pattern,
    precedence: Precedence,
}

/// Of two matches of one request the greater takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Precedence {
    path: Kind,
    length: usize,
    method: usize,
    headers: usize,
    query: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Prefix,
    Regex,
    Exact,
}

impl Route {
    pub(super) fn read(document: &Foreign, notes: &mut Notes) -> Result<Self, ImportError> {
        let RawRoute { parent_refs, hostnames, rules } = document.spec()?;
        let servers = parent_refs
            .into_iter()
            .filter(|parent| parent.kind == "Server")
            .map(|parent| parent.name)
            .collect();
        let mut route = Self {
            name: document.name.clone(),
            namespace: document.namespace.clone(),
            servers,
            matches: Vec::new(),
            hidden: Vec::new(),
        };
        let hosts = (!hostnames.is_empty()).then(|| {
            hostnames.iter().map(|host| host.to_ascii_lowercase()).collect::<Vec<String>>()
        });
        for (place, rule) in rules.iter().enumerate() {
            if !rule.filters.is_empty() {
                let message = "filters change requests; they are no part of who may do what";
                let field = format!("spec.rules[{place}].filters");
                notes.add(&document.subject(), field, Difference::Elsewhere, message);
            }
            let anything = [RawMatch {
                path: None,
                headers: Vec::new(),
                query_params: Vec::new(),
                method: None,
            }];
            let matches = if rule.matches.is_empty() { &anything } else { rule.matches.as_slice() };
            for (number, raw) in matches.iter().enumerate() {
                let precedence = Precedence::of(raw);
                match pattern(raw) {
                    Ok(pattern) => {
                        let pattern = Pattern { hosts: hosts.clone(), ..pattern };
                        route.matches.push(Match { pattern, precedence });
                    }
                    Err(why) => {
                        let field = format!("spec.rules[{place}].matches[{number}]");
                        let message = format!("{why}; what is allowed on it is left out");
                        notes.add(&document.subject(), field, Difference::LeftOut, message);
                        route.hidden.push(precedence);
                    }
                }
            }
        }
        Ok(route)
    }

    pub(super) fn is_of(&self, server: &str, namespace: &str) -> bool {
        self.namespace == namespace && self.servers.iter().any(|name| name == server)
    }

    pub(super) fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.matches.iter().map(|one| &one.pattern)
    }

    /// Each of its patterns, with those of other routes that may take the request before it. One is left out where such
    /// a route is not known.
    pub(super) fn alone(&self, all: &[&Self]) -> Vec<(Pattern, Vec<Pattern>)> {
        let others = || all.iter().filter(|other| other.name != self.name);
        self.matches
            .iter()
            .filter(|one| {
                !others().any(|other| other.hidden.iter().any(|hidden| *hidden >= one.precedence))
            })
            .map(|one| {
                let before = others()
                    .flat_map(|other| &other.matches)
                    .filter(|other| other.precedence >= one.precedence)
                    .map(|other| other.pattern.clone())
                    .collect();
                (one.pattern.clone(), before)
            })
            .collect()
    }
}

impl Precedence {
    fn of(raw: &RawMatch) -> Self {
        let (path, length) = match &raw.path {
            None => (Kind::Prefix, 1),
            Some(RawPath { r#type, value }) => match r#type.as_str() {
                "Exact" => (Kind::Exact, value.len()),
                "PathPrefix" => (Kind::Prefix, value.len()),
                _ => (Kind::Regex, usize::MAX),
            },
        };
        Self {
            path,
            length,
            method: usize::from(raw.method.is_some()),
            headers: raw.headers.len(),
            query: raw.query_params.len(),
        }
    }
}

fn pattern(raw: &RawMatch) -> Result<Pattern, String> {
    let RawMatch { path, headers, query_params, method } = raw;
    let mut pattern = Pattern::http();
    if let Some(RawPath { r#type, value }) = path {
        let folder = value.trim_end_matches('/');
        let text = match r#type.as_str() {
            "Exact" => value.clone(),
            "PathPrefix" => format!("{folder}/**"),
            other => return Err(format!("a path of the type {other} cannot be compared here")),
        };
        if value.contains(['*', '{', '}']) || PathTemplate::parse(&text).is_err() {
            return Err(format!("the path `{value}` cannot be compared here"));
        }
        pattern.paths = Some(vec![text]);
    }
    let named = |all: &[RawNamed], what: &str| {
        all.iter()
            .map(|RawNamed { r#type, name, value }| match r#type.as_str() {
                "Exact" => Ok((name.clone(), vec![value.clone()])),
                other => Err(format!("a {what} of the type {other} cannot be compared here")),
            })
            .collect::<Result<Vec<_>, String>>()
    };
    pattern.headers = named(headers, "header")?
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    pattern.query = named(query_params, "parameter of the query")?.into_iter().collect();
    pattern.methods = method.clone().map(|method| vec![method]);
    Ok(pattern)
}
