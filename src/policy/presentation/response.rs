//! `response` of a policy: what becomes of permitted requests and of refusals beside the identity headers.

use super::body::Bodies;
use super::content::{Content, ResponseHeader};
use super::join::{agreed, union};
use super::login::Login;
use super::raw::{RawContent, RawQuery, RawResponse};
use super::{Named, name};
use crate::policy::field::FieldPath;
use crate::policy::problem::{InvalidRule, Problem};
use crate::policy::resource::Checked;
use crate::policy::set::SelectedPolicy;

const MAX_ITEMS: usize = 32;
const MAX_NAME: usize = 64;
/// What the gate itself says in the metadata.
const OF_THE_GATE: [&str; 7] =
    ["decision", "code", "rule", "user", "peer", "revision", "request_id"];

/// What all policies of one workload say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// Headers of the responses to permitted requests.
    pub headers: Vec<ResponseHeader>,
    /// Parameters that are set in the query, by name. They stand behind what is left of it.
    pub query_set: Vec<(String, Content)>,
    /// Parameters that are removed from the query.
    pub query_removed: Vec<String>,
    /// Where browsers sign in.
    pub login: Option<Login>,
    /// The texts of refusals.
    pub bodies: Bodies,
    /// Fields of the metadata, for Envoy's access logs and rate limits.
    pub metadata: Vec<Named>,
}

/// What one policy says; what it leaves out is for others or the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseChoice(Response);

impl ResponseChoice {
    pub(in crate::policy) fn check(raw: RawResponse, at: &FieldPath) -> Checked<Self> {
        let RawResponse { headers, query, login, bodies, metadata } = raw;
        let is_silent = headers.is_none()
            && query.is_none()
            && login.is_none()
            && bodies.is_none()
            && metadata.is_none();
        if is_silent {
            return Err(Problem::new(at.clone(), "says nothing: leave it out"));
        }
        let (query_set, query_removed) = match query {
            Some(raw) => check_query(raw, &at.field("query"))?,
            None => (Vec::new(), Vec::new()),
        };
        let metadata_at = at.field("metadata");
        Ok(Self(Response {
            headers: headers
                .map(|raw| check_headers(raw, &at.field("headers")))
                .transpose()?
                .unwrap_or_default(),
            query_set,
            query_removed,
            login: login.map(|raw| Login::check(raw, &at.field("login"))).transpose()?,
            bodies: match bodies {
                Some(raw) => Bodies::check(raw, &at.field("bodies"))?,
                None => Bodies::default(),
            },
            metadata: match metadata {
                Some(raw) => Named::check_all(raw, &metadata_at, check_field)?,
                None => Vec::new(),
            },
        }))
    }
}

impl Response {
    pub(super) fn join(selected: &[SelectedPolicy<'_>], problems: &mut Vec<InvalidRule>) -> Self {
        let at = FieldPath::root().field("spec").field("response");
        let query = at.field("query");
        fn of<'p>(policy: &'p SelectedPolicy<'_>) -> Option<&'p Response> {
            policy.spec.response.as_ref().map(|choice| &choice.0)
        }
        let joined = Self {
            headers: union(
                selected,
                &at.field("headers"),
                |policy| of(policy).map_or(&[][..], |response| &response.headers),
                |a, b| name::is_same(&a.name, &b.name),
                problems,
            ),
            query_set: union(
                selected,
                &query.field("set"),
                |policy| of(policy).map_or(&[][..], |response| &response.query_set),
                |(a, _), (b, _)| a == b,
                problems,
            ),
            query_removed: union(
                selected,
                &query.field("remove"),
                |policy| of(policy).map_or(&[][..], |response| &response.query_removed),
                |a, b| a == b,
                problems,
            ),
            login: agreed(
                selected,
                &at.field("login"),
                |policy| of(policy)?.login.clone(),
                problems,
            ),
            bodies: Bodies::join(
                selected,
                &at.field("bodies"),
                |policy| of(policy).map(|response| &response.bodies),
                problems,
            ),
            metadata: union(
                selected,
                &at.field("metadata"),
                |policy| of(policy).map_or(&[][..], |response| &response.metadata),
                |a, b| a.name == b.name,
                problems,
            ),
        };
        let both = joined.query_set.iter().find(|(name, _)| joined.query_removed.contains(name));
        if let Some((name, _)) = both {
            let chooser = selected.iter().find(|policy| {
                of(policy).is_some_and(|response| response.query_removed.contains(name))
            });
            let message =
                format!("sets and removes the parameter `{name}`, in one policy or in two");
            problems.extend(chooser.map(|policy| policy.problem(Problem::new(query, message))));
        }
        joined
    }
}

fn check_headers(raw: Vec<RawContent>, at: &FieldPath) -> Checked<Vec<ResponseHeader>> {
    let mut all: Vec<ResponseHeader> = Vec::with_capacity(raw.len());
    for (place, raw) in raw.into_iter().enumerate() {
        let at = at.item(place);
        let header = ResponseHeader::check(raw, &at)?;
        if all.iter().any(|there| name::is_same(&there.name, &header.name)) {
            let message = format!("`{}` is in the list already", header.name);
            return Err(Problem::new(at.field("name"), message));
        }
        all.push(header);
    }
    check_count(all, at)
}

type Query = (Vec<(String, Content)>, Vec<String>);

fn check_query(raw: RawQuery, at: &FieldPath) -> Checked<Query> {
    let RawQuery { set, remove } = raw;
    if set.is_none() && remove.is_none() {
        return Err(Problem::new(at.clone(), "needs `set` or `remove`"));
    }
    let mut all: Vec<(String, Content)> = Vec::new();
    let set_at = at.field("set");
    let set_is_there = set.is_some();
    for (place, raw) in set.into_iter().flatten().enumerate() {
        let at = set_at.item(place);
        let (name, content, when_present) = Content::check(raw, &at)?;
        check_parameter(&name, &at.field("name"))?;
        if when_present.is_some() {
            let message = "is for headers: a parameter that is set replaces every other";
            return Err(Problem::new(at.field("whenPresent"), message));
        }
        if all.iter().any(|(there, _)| *there == name) {
            let message = format!("`{name}` is in the list already");
            return Err(Problem::new(at.field("name"), message));
        }
        all.push((name, content));
    }
    let all = if set_is_there { check_count(all, &set_at)? } else { all };
    let remove_at = at.field("remove");
    let removed = match remove {
        None => Vec::new(),
        Some(names) => check_count(names, &remove_at)?,
    };
    for (place, name) in removed.iter().enumerate() {
        check_parameter(name, &remove_at.item(place))?;
    }
    Ok((all, removed))
}

fn check_parameter(name: &str, at: &FieldPath) -> Checked<()> {
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        let message = format!("is no name of a parameter, 1 to {MAX_NAME} bytes long");
        return Err(Problem::new(at.clone(), message)
            .hint("write it decoded: it is found in every spelling"));
    }
    Ok(())
}

fn check_count<T>(all: Vec<T>, at: &FieldPath) -> Checked<Vec<T>> {
    match all.len() {
        0 => Err(Problem::new(at.clone(), "is empty").hint("leave the field out")),
        count if count > MAX_ITEMS => {
            let message = format!("has {count} members; at most {MAX_ITEMS} are allowed");
            Err(Problem::new(at.clone(), message))
        }
        _ => Ok(all),
    }
}

/// A field of the metadata.
fn check_field(name: &str, at: &FieldPath) -> Checked<()> {
    let shaped = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'));
    if !shaped || name.len() > MAX_NAME {
        let message = format!("`{name}` is no name of lower-case letters, digits and underscores");
        return Err(Problem::new(at.clone(), message));
    }
    if OF_THE_GATE.contains(&name) {
        let message = format!("`{name}` is what the gate itself says there");
        return Err(Problem::new(at.clone(), message));
    }
    Ok(())
}
