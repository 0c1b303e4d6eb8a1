//! `when`: conditions over one attribute each.

use std::collections::BTreeMap;

use super::super::ImportError;
use super::super::bound::Bound;
use super::super::cel::{any, literal};
use super::super::out::{Asked, Matcher, Pattern};
use super::draft::{Draft, Unsayable};
use super::operation::numbers;
use super::principal::{self, Principals};
use super::raw::RawCondition;
use super::source::{self, Kind, deduplicated};
use super::text::Text;

/// What conditions ask of requests beside their operation.
#[derive(Debug, Clone, Default)]
pub(super) struct Beside {
    /// Joined with the pattern of every operation.
    pattern: Pattern,
    not: Vec<Pattern>,
}

/// Adds one condition to every alternative of who calls, or to what requests must be.
pub(super) fn add(
    draft: &mut Draft<'_>,
    raw: &RawCondition,
    (all, beside): (&mut Vec<Matcher>, &mut Beside),
) -> Result<(), ImportError> {
    let RawCondition { key, values, not_values } = raw;
    if values.is_empty() && not_values.is_empty() {
        return Err(super::super::wrong(
            draft.document,
            format!("{}.when[{key}]", draft.at),
            "has neither `values` nor `notValues`",
        ));
    }
    match key.as_str() {
        "source.ip" => source::addresses(draft, values, not_values, all)?,
        "remote.ip" => source::forwarded(draft, values, not_values, all)?,
        "source.namespace" => {
            source::peers(draft, ("namespaces", Kind::Namespace), values, all);
            source::not_peers(draft, ("namespaces", Kind::Namespace), not_values, all);
        }
        "source.principal" => {
            source::peers(draft, ("principals", Kind::Principal), values, all);
            source::not_peers(draft, ("principals", Kind::Principal), not_values, all);
        }
        "source.serviceAccount" => {
            source::peers(draft, ("serviceAccounts", Kind::ServiceAccount), values, all);
            source::not_peers(draft, ("serviceAccounts", Kind::ServiceAccount), not_values, all);
        }
        "request.auth.principal" => {
            let field = "when[request.auth.principal]";
            principal::positive(draft, field, &Principals::of(values), all);
            principal::negative(draft, field, &Principals::of(not_values), all);
        }
        "destination.port" => ports(draft, (values, not_values), (all, beside))?,
        "connection.sni" => sni(draft, (values, not_values), (all, beside)),
        "request.auth.audiences" => claim(draft, raw, &["aud"], all),
        "request.auth.presenter" => claim(draft, raw, &["azp"], all),
        other => match (inside(other, "request.headers"), inside(other, "request.auth.claims")) {
            (Some(name), _) => header(draft, raw, &name.join(""), (all, beside)),
            (None, Some(path)) => claim(draft, raw, &path, all),
            (None, None) => {
                let why = "this attribute is not known here";
                if draft.unsayable(&format!("when[{other}]"), why) == Unsayable::Drop {
                    all.clear();
                }
            }
        },
    }
    Ok(())
}

/// The names in `attribute[a][b]`.
fn inside<'a>(key: &'a str, attribute: &str) -> Option<Vec<&'a str>> {
    let names = key.strip_prefix(attribute)?.strip_prefix('[')?.strip_suffix(']')?;
    Some(names.split("][").collect())
}

fn ports(
    draft: &mut Draft<'_>,
    (values, not): (&[String], &[String]),
    (all, beside): (&mut Vec<Matcher>, &mut Beside),
) -> Result<(), ImportError> {
    if !values.is_empty() {
        let ports = numbers(draft, "when[destination.port]", values)?;
        match &mut beside.pattern.ports {
            None => beside.pattern.ports = Some(ports),
            Some(before) => before.retain(|port| ports.contains(port)),
        }
        if beside.pattern.ports.as_ref().is_some_and(Vec::is_empty) {
            all.clear();
        }
    }
    if !not.is_empty() {
        let ports = Some(numbers(draft, "when[destination.port]", not)?);
        beside.not.push(Pattern { ports, ..Pattern::default() });
    }
    Ok(())
}

/// Exact texts of a list, or nothing where it cannot stay on its side.
fn exact(draft: &mut Draft<'_>, field: &str, list: &[String], bound: Bound) -> Option<Vec<String>> {
    let mut texts = Vec::new();
    for text in list {
        match (Text::parse(text), bound) {
            (Text::Exactly(text), _) if !text.is_empty() => texts.push(text.to_owned()),
            (_, Bound::Around) => return None,
            (_, Bound::Inside) => {
                draft.narrower(
                    field,
                    &format!("`{text}` has no translation and is left out of the list"),
                );
            }
        }
    }
    (!texts.is_empty()).then(|| deduplicated(texts))
}

fn sni(
    draft: &mut Draft<'_>,
    (values, not): (&[String], &[String]),
    (all, beside): (&mut Vec<Matcher>, &mut Beside),
) {
    let field = "when[connection.sni]";
    let why = "such server names cannot be compared here";
    if !values.is_empty() {
        let bound = draft.bound;
        match exact(draft, field, values, bound) {
            Some(names) => {
                let both: Vec<String> = match beside.pattern.sni.take() {
                    Some(held) => held.into_iter().filter(|name| names.contains(name)).collect(),
                    None => names,
                };
                if both.is_empty() {
                    all.clear();
                }
                beside.pattern.sni = Some(both);
            }
            None if draft.unsayable(field, why) == Unsayable::Drop => all.clear(),
            None => {}
        }
    }
    if !not.is_empty() {
        let bound = draft.bound.negated();
        match exact(draft, field, not, bound) {
            Some(names) => beside.not.push(Pattern { sni: Some(names), ..Pattern::default() }),
            None if draft.unsayable(field, why) == Unsayable::Drop => all.clear(),
            None => {}
        }
    }
}

fn header(
    draft: &mut Draft<'_>,
    RawCondition { key, values, not_values }: &RawCondition,
    name: &str,
    (all, beside): (&mut Vec<Matcher>, &mut Beside),
) {
    let field = format!("when[{key}]");
    let why = "such values of headers cannot be compared here";
    let name = name.to_ascii_lowercase();
    let pattern = |values| Pattern {
        headers: BTreeMap::from([(name.clone(), values)]),
        ..Pattern::default()
    };
    if !values.is_empty() {
        let bound = draft.bound;
        match exact(draft, &field, values, bound) {
            Some(values) if !beside.pattern.headers.contains_key(&name) => {
                beside.pattern.headers.insert(name.clone(), values);
            }
            Some(_) | None => {
                if draft.unsayable(&field, why) == Unsayable::Drop {
                    all.clear();
                }
            }
        }
    }
    if !not_values.is_empty() {
        let bound = draft.bound.negated();
        match exact(draft, &field, not_values, bound) {
            Some(values) => beside.not.push(pattern(values)),
            None if draft.unsayable(&field, why) == Unsayable::Drop => all.clear(),
            None => {}
        }
    }
}

/// A claim, by the names that lead to it. Several names are a condition.
fn claim(
    draft: &mut Draft<'_>,
    RawCondition { key, values, not_values }: &RawCondition,
    path: &[&str],
    all: &mut Vec<Matcher>,
) {
    let field = format!("when[{key}]");
    let why = "such values of claims cannot be compared here";
    if !values.is_empty() {
        let bound = draft.bound;
        match exact(draft, &field, values, bound) {
            Some(values) => held(draft, &field, (path, values), all),
            None if draft.unsayable(&field, why) == Unsayable::Drop => all.clear(),
            None => {}
        }
    }
    if !not_values.is_empty() {
        let bound = draft.bound.negated();
        let known = match (exact(draft, &field, not_values, bound), path) {
            (Some(values), [name])
                if all.iter().all(|matcher| matcher.not_users.is_none())
                    // There a list of words, here one text.
                    && *name != "permission"
                    && (draft.bound == Bound::Inside || !draft.providers.names().is_empty()) =>
            {
                let mut asked = asked(name, values);
                // Who is excepted from a deny must be known to the original too.
                if draft.bound == Bound::Around {
                    asked.providers = Some(draft.providers.names());
                }
                all.iter_mut().for_each(|matcher| matcher.not_users = Some(asked.clone()));
                true
            }
            (Some(_) | None, _) => false,
        };
        if !known && draft.unsayable(&field, why) == Unsayable::Drop {
            all.clear();
        }
    }
}

/// There the claim `scope` is a list of words; here such a claim is read as scopes.
fn asked(name: &str, values: Vec<String>) -> Asked {
    match name {
        "scope" => Asked { scopes: Some(values), ..Asked::default() },
        _ => Asked { claims: BTreeMap::from([(name.to_owned(), values)]), ..Asked::default() },
    }
}

fn held(
    draft: &mut Draft<'_>,
    field: &str,
    (path, values): (&[&str], Vec<String>),
    all: &mut Vec<Matcher>,
) {
    let mut users = match path {
        [name] => asked(name, values.clone()),
        _ => Asked::default(),
    };
    let providers = draft.providers.names();
    if providers.is_empty() {
        if draft.unsayable(field, principal::NO_PROVIDER) == Unsayable::Drop {
            all.clear();
        }
        return;
    }
    if draft.bound == Bound::Inside {
        users.providers = Some(providers);
    }
    let joined: Option<Vec<Matcher>> =
        all.iter().map(|matcher| matcher.clone().with_users(&users)).collect();
    match joined {
        Some(joined) => *all = joined,
        None => {
            if draft.unsayable(field, "the same is asked of users twice") == Unsayable::Drop {
                all.clear();
            }
            return;
        }
    }
    if path.len() > 1 {
        let condition = nested(path, &values);
        all.iter_mut().for_each(|matcher| matcher.when.push(condition.clone()));
    }
}

/// `user.claims` has every name on the way, and one of the values is in the list at its end.
fn nested(path: &[&str], values: &[String]) -> String {
    let mut at = "user.claims".to_owned();
    let mut parts = Vec::new();
    for name in path {
        parts.push(format!("{} in {at}", literal(name)));
        at = format!("{at}[{}]", literal(name));
    }
    let values: Vec<String> =
        values.iter().map(|value| format!("{} in {at}", literal(value))).collect();
    parts.push(any(&values));
    parts.join(" && ")
}

impl Beside {
    /// True where nothing is asked.
    pub(super) fn is_empty(&self) -> bool {
        self.pattern.is_empty() && self.not.is_empty()
    }

    /// What is asked beside the operations.
    pub(super) fn parts(&self) -> (&Pattern, &[Pattern]) {
        (&self.pattern, &self.not)
    }
}
