//! Whether one match takes in everything that another does.
//!
//! Compared as they are written. What is not understood here must be the same in both, so that a field this module has
//! never met makes it say less, never something wrong.

use serde_json::{Map, Value};

use crate::policy::rule::Effect;
use crate::policy::template::{PathTemplate, Rest, Segment};

/// The part of a rule below `allow` or `deny`.
pub(super) type Match = Map<String, Value>;

/// Lists of alternatives in `users` and `clients`.
const USER_LISTS: [&str; 8] =
    ["providers", "subjects", "roles", "groups", "scopes", "tenants", "emails", "boundBy"];
/// Fields that a rule may also turn round: `notPeers` beside `peers`.
pub(super) const TURNED: [(&str, &str); 7] = [
    ("peers", "notPeers"),
    ("users", "notUsers"),
    ("clients", "notClients"),
    ("requests", "notRequests"),
    ("sources", "notSources"),
    ("forwardedFor", "notForwardedFor"),
    ("times", "notTimes"),
];

/// True when whatever the narrow match takes is taken by the wide one too. `effect` is that of the wide one: a `deny`
/// takes a path with and without a slash at its end.
pub(super) fn covers(wide: &Match, narrow: &Match, effect: Effect) -> bool {
    wide.iter().all(|(field, wide)| {
        let Some(narrow) = narrow.get(field) else { return false };
        match TURNED.iter().find(|(_, turned)| turned == field) {
            Some((plain, _)) => field_covers(plain, narrow, wide, effect),
            None => field_covers(field, wide, narrow, effect),
        }
    })
}

/// The same of one field.
pub(super) fn field_covers(field: &str, wide: &Value, narrow: &Value, effect: Effect) -> bool {
    match (field, wide, narrow) {
        ("peers", Value::Array(wide), Value::Array(narrow)) => each(wide, narrow, peer_covers),
        ("users" | "clients", Value::Object(wide), Value::Object(narrow)) => {
            users_cover(wide, narrow)
        }
        ("requests", Value::Array(wide), Value::Array(narrow)) => {
            each(wide, narrow, |wide, narrow| request_covers(wide, narrow, effect))
        }
        ("sources" | "forwardedFor", Value::Array(wide), Value::Array(narrow)) => {
            each(wide, narrow, range_covers)
        }
        ("times", Value::Array(wide), Value::Array(narrow)) => each(wide, narrow, Value::eq),
        (_, wide, narrow) => wide == narrow,
    }
}

/// Every narrow member is taken by some wide one.
fn each(wide: &[Value], narrow: &[Value], takes: impl Fn(&Value, &Value) -> bool) -> bool {
    narrow.iter().all(|narrow| wide.iter().any(|wide| takes(wide, narrow)))
}

fn subset(wide: &Value, narrow: &Value) -> bool {
    match (wide, narrow) {
        (Value::Array(wide), Value::Array(narrow)) => each(wide, narrow, Value::eq),
        (wide, narrow) => wide == narrow,
    }
}

fn peer_covers(wide: &Value, narrow: &Value) -> bool {
    let (Some(wide), Some(narrow)) = (wide.as_str(), narrow.as_str()) else { return false };
    let inside = || narrow.strip_prefix(wide).is_some_and(|rest| rest.starts_with('/'));
    wide == narrow || (wide == "*" && narrow != "none") || inside()
}

fn users_cover(wide: &Match, narrow: &Match) -> bool {
    // Nobody at all is another thing than any user.
    if wide.get("anonymous") != narrow.get("anonymous") {
        return false;
    }
    wide.iter().all(|(field, wide)| {
        let Some(narrow) = narrow.get(field) else { return false };
        match (field.as_str(), wide, narrow) {
            ("claims", Value::Object(wide), Value::Object(narrow)) => fields_cover(wide, narrow),
            (list, wide, narrow) if USER_LISTS.contains(&list) => subset(wide, narrow),
            (_, wide, narrow) => wide == narrow,
        }
    })
}

/// Names with lists of alternatives: each that the wide one asks for is asked for by the narrow one, and not for more.
fn fields_cover(wide: &Match, narrow: &Match) -> bool {
    wide.iter().all(|(name, wide)| narrow.get(name).is_some_and(|narrow| subset(wide, narrow)))
}

fn request_covers(wide: &Value, narrow: &Value, effect: Effect) -> bool {
    let (Some(wide), Some(narrow)) = (wide.as_object(), narrow.as_object()) else { return false };
    wide.iter().all(|(field, wide)| {
        let Some(narrow) = narrow.get(field) else { return false };
        match (field.as_str(), wide, narrow) {
            ("paths", Value::Array(wide), Value::Array(narrow)) => {
                each(wide, narrow, |wide, narrow| path_covers(wide, narrow, effect))
            }
            ("hosts" | "sni", Value::Array(wide), Value::Array(narrow)) => {
                each(wide, narrow, host_covers)
            }
            ("rpc", Value::Array(wide), Value::Array(narrow)) => each(wide, narrow, call_covers),
            ("grpc", Value::Array(wide), Value::Array(narrow)) => each(wide, narrow, grpc_covers),
            ("headers" | "query", Value::Object(wide), Value::Object(narrow)) => {
                fields_cover(wide, narrow)
            }
            ("methods" | "ports", wide, narrow) => subset(wide, narrow),
            (_, wide, narrow) => wide == narrow,
        }
    })
}

/// `*.shop.example` takes every name below it, at any depth, and not the name itself.
fn host_covers(wide: &Value, narrow: &Value) -> bool {
    let (Some(wide), Some(narrow)) = (wide.as_str(), narrow.as_str()) else { return false };
    let below = wide.strip_prefix('*').filter(|suffix| suffix.starts_with('.'));
    wide == narrow
        || below.is_some_and(|suffix| {
            narrow.trim_start_matches('*').ends_with(suffix) && narrow != wide
        })
}

/// All that the wide one asks of a call is asked by the narrow one.
fn call_covers(wide: &Value, narrow: &Value) -> bool {
    let (Some(wide), Some(narrow)) = (wide.as_object(), narrow.as_object()) else { return false };
    wide.iter().all(|(field, wide)| narrow.get(field) == Some(wide))
}

fn grpc_covers(wide: &Value, narrow: &Value) -> bool {
    let (Some(wide), Some(narrow)) = (wide.as_str(), narrow.as_str()) else { return false };
    let service = wide.strip_suffix('*').filter(|service| service.ends_with('/'));
    wide == narrow || service.is_some_and(|service| narrow.starts_with(service))
}

fn range_covers(wide: &Value, narrow: &Value) -> bool {
    let range = |value: &Value| -> Option<ipnet::IpNet> {
        let text = value.as_str()?;
        let single = || text.parse::<std::net::IpAddr>().ok().map(ipnet::IpNet::from);
        text.parse().ok().or_else(single)
    };
    match (range(wide), range(narrow)) {
        (Some(wide), Some(narrow)) => wide.contains(&narrow),
        (_, _) => wide == narrow,
    }
}

fn path_covers(wide: &Value, narrow: &Value, effect: Effect) -> bool {
    let template = |value: &Value| PathTemplate::parse(value.as_str()?).ok();
    let (Some(wide), Some(narrow)) = (template(wide), template(narrow)) else { return false };
    let twin = match effect {
        Effect::Deny => wide.slash_twin(),
        Effect::Allow => None,
    };
    segments_cover(wide.segments(), wide.rest(), &narrow)
        || twin.is_some_and(|twin| segments_cover(&twin, Rest::Nothing, &narrow))
}

fn segments_cover(wide: &[Segment], rest: Rest, narrow: &PathTemplate) -> bool {
    let Some(before) = narrow.segments().get(..wide.len()) else { return false };
    let same = wide.iter().zip(before).all(|(wide, narrow)| match (wide, narrow) {
        (Segment::Any, Segment::Any) => true,
        (Segment::Any, Segment::Literal(text)) => !text.is_empty(),
        (Segment::Literal(wide), Segment::Literal(narrow)) => wide == narrow,
        (Segment::Literal(_), Segment::Any) => false,
    });
    match rest {
        Rest::Anything => same,
        Rest::Nothing => {
            same && narrow.segments().len() == wide.len() && narrow.rest() == Rest::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(yaml: &str) -> Match {
        crate::policy::yaml::parse_one("test", yaml).unwrap()
    }

    #[test]
    fn the_wider_takes_the_narrower_and_not_the_other_way_round() {
        for (wide, narrow) in [
            ("{}", "{peers: [none]}"),
            ("{peers: ['*']}", "{peers: [ns/a/sa/b]}"),
            ("{peers: [ns/a]}", "{peers: [ns/a/sa/b]}"),
            ("{peers: ['spiffe://x.example']}", "{peers: ['spiffe://x.example/vm/7']}"),
            ("{users: {}}", "{users: {roles: [a]}}"),
            ("{users: {roles: [a, b]}}", "{users: {roles: [b], scopes: [s]}}"),
            ("{users: {claims: {t: [1, 2]}}}", "{users: {claims: {t: [1], u: [x]}}}"),
            (
                "{requests: [{paths: ['/a/**']}]}",
                "{requests: [{paths: ['/a', '/a/{b}'], methods: [GET]}]}",
            ),
            ("{requests: [{paths: ['/**']}]}", "{requests: [{paths: ['/x/{y}/**']}], users: {}}"),
            ("{requests: [{paths: ['/{a}/c']}]}", "{requests: [{paths: ['/b/c']}]}"),
            ("{requests: [{methods: [GET, PUT]}]}", "{requests: [{methods: [PUT]}]}"),
            (
                "{requests: [{hosts: ['*.x.example']}]}",
                "{requests: [{hosts: [a.b.x.example, '*.a.x.example']}]}",
            ),
            ("{requests: [{rpc: [{method: a}]}]}", "{requests: [{rpc: [{method: a, tool: b}]}]}"),
            ("{requests: [{grpc: ['p.S/*']}]}", "{requests: [{grpc: ['p.S/M']}]}"),
            ("{sources: [10.0.0.0/8]}", "{sources: [10.1.0.0/16, 10.2.3.4/32]}"),
            ("{notPeers: [ns/a/sa/b]}", "{notPeers: ['*']}"),
            ("{notUsers: {roles: [a]}}", "{notUsers: {}}"),
            ("{when: 'true'}", "{when: 'true', peers: ['*']}"),
        ] {
            let (wide, narrow) = (part(wide), part(narrow));
            assert!(covers(&wide, &narrow, Effect::Allow), "{wide:?} takes {narrow:?}");
            assert!(covers(&wide, &wide, Effect::Allow), "{wide:?} takes itself");
            assert!(!covers(&narrow, &wide, Effect::Allow), "{narrow:?} does not take {wide:?}");
        }
    }

    #[test]
    fn what_differs_or_is_not_understood_is_not_taken() {
        for (one, other) in [
            ("{peers: ['*']}", "{peers: [none]}"),
            ("{peers: [ns/a]}", "{peers: [ns/ab/sa/c]}"),
            ("{users: {}}", "{users: {anonymous: Only}}"),
            ("{users: {}}", "{clients: {}}"),
            ("{requests: [{paths: ['/a/{b}']}]}", "{requests: [{paths: ['/a/']}]}"),
            ("{requests: [{paths: ['/a/{b}']}]}", "{requests: [{paths: ['/a/**']}]}"),
            ("{requests: [{paths: ['/a']}]}", "{requests: [{paths: ['/a/']}]}"),
            ("{requests: [{hosts: ['*.x.example']}]}", "{requests: [{hosts: [x.example]}]}"),
            ("{requests: [{hosts: [x.example]}]}", "{requests: [{hosts: ['*.x.example']}]}"),
            ("{requests: [{rpc: [{method: a, tool: b}]}]}", "{requests: [{rpc: [{method: a}]}]}"),
            ("{when: now > 1}", "{when: now > 2}"),
            ("{stepUp: {amr: [mfa, hwk]}}", "{stepUp: {amr: [mfa]}}"),
            ("{newField: [a, b]}", "{newField: [a]}"),
        ] {
            assert!(
                !covers(&part(one), &part(other), Effect::Allow),
                "{one} does not take {other}"
            );
        }
        let slash = ("{requests: [{paths: ['/a']}]}", "{requests: [{paths: ['/a/']}]}");
        assert!(covers(&part(slash.0), &part(slash.1), Effect::Deny), "a deny takes both");
    }
}
