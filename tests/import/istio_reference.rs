//! What Istio does, written down from its documentation and as slowly as it pleases.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub action: &'static str,
    pub rules: Vec<Rule>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Rule {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<From>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<To>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<Condition>,
}

#[derive(Debug, Clone, Serialize)]
pub struct From {
    pub source: Source,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    pub principals: Vec<String>,
    pub not_principals: Vec<String>,
    pub request_principals: Vec<String>,
    pub not_request_principals: Vec<String>,
    pub namespaces: Vec<String>,
    pub not_namespaces: Vec<String>,
    pub ip_blocks: Vec<String>,
    pub not_ip_blocks: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct To {
    pub operation: Operation,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    pub hosts: Vec<String>,
    pub not_hosts: Vec<String>,
    pub ports: Vec<String>,
    pub not_ports: Vec<String>,
    pub methods: Vec<String>,
    pub not_methods: Vec<String>,
    pub paths: Vec<String>,
    pub not_paths: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    pub key: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_values: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Call {
    /// Without its scheme.
    pub principal: Option<&'static str>,
    pub user: Option<User>,
    pub source: IpAddr,
    pub port: u16,
    /// Nothing for a TCP connection.
    pub http: Option<Http>,
}

#[derive(Debug, Clone)]
pub struct User {
    pub issuer: &'static str,
    pub subject: &'static str,
    pub group: &'static str,
    /// In the claim `realm`, under the name `roles`.
    pub roles: Vec<&'static str>,
}

#[derive(Debug, Clone)]
pub struct Http {
    pub host: &'static str,
    pub method: &'static str,
    pub path: &'static str,
    pub env: Option<&'static str>,
}

/// DENY, then ALLOW; without an ALLOW policy everything passes.
pub fn admits(policies: &[Policy], call: &Call) -> bool {
    let of = |action| policies.iter().filter(move |policy| policy.action == action);
    if of("DENY").any(|policy| policy.rules.iter().any(|rule| matches(rule, call, Part::Ignored))) {
        return false;
    }
    of("ALLOW").next().is_none()
        || of("ALLOW")
            .any(|policy| policy.rules.iter().any(|rule| matches(rule, call, Part::Never)))
}

/// What a part that asks for HTTP says of a TCP connection.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Ignored,
    Never,
}

fn matches(rule: &Rule, call: &Call, http: Part) -> bool {
    (rule.from.is_empty() || rule.from.iter().any(|from| source(&from.source, call, http)))
        && (rule.to.is_empty() || rule.to.iter().any(|to| operation(&to.operation, call, http)))
        && rule.when.iter().all(|condition| when(condition, call, http))
}

/// One of `list`, if it says anything, and none of `not`.
fn one_of(list: &[String], not: &[String], is: impl Fn(&str) -> bool) -> bool {
    (list.is_empty() || list.iter().any(|text| is(text))) && !not.iter().any(|text| is(text))
}

/// The same for what only HTTP has; `value` is nothing on a TCP connection.
fn of_http<T>(
    (list, not): (&[String], &[String]),
    value: Option<T>,
    part: Part,
    is: impl Fn(&str, &T) -> bool,
) -> bool {
    if list.is_empty() && not.is_empty() {
        return true;
    }
    match value {
        Some(value) => one_of(list, not, |text| is(text, &value)),
        None => part == Part::Ignored,
    }
}

fn text(pattern: &str, value: &str) -> bool {
    if pattern == "*" {
        !value.is_empty()
    } else if let Some(rest) = pattern.strip_prefix('*') {
        value.ends_with(rest)
    } else if let Some(rest) = pattern.strip_suffix('*') {
        value.starts_with(rest)
    } else {
        pattern == value
    }
}

fn principal(pattern: &str, value: Option<&str>) -> bool {
    let own = |text: &str| match text.strip_prefix("mesh.example/") {
        Some(rest) => format!("cluster.local/{rest}"),
        None => text.to_owned(),
    };
    value.is_some_and(|value| text(&own(pattern), &own(value)))
}

fn namespace(pattern: &str, value: Option<&str>) -> bool {
    let held = value.and_then(|value| value.split('/').nth(2));
    held.is_some_and(|held| text(pattern, held))
}

fn source(source: &Source, call: &Call, http: Part) -> bool {
    let user = call
        .http
        .as_ref()
        .map(|_| call.user.as_ref().map(|user| format!("{}/{}", user.issuer, user.subject)));
    one_of(&source.principals, &source.not_principals, |text| principal(text, call.principal))
        && one_of(&source.namespaces, &source.not_namespaces, |text| {
            namespace(text, call.principal)
        })
        && one_of(&source.ip_blocks, &source.not_ip_blocks, |text| block(text, call.source))
        && of_http(
            (&source.request_principals, &source.not_request_principals),
            user,
            http,
            |pattern, user: &Option<String>| user.as_ref().is_some_and(|user| text(pattern, user)),
        )
}

fn block(text: &str, address: IpAddr) -> bool {
    match text.parse::<IpNet>() {
        Ok(range) => range.contains(&address),
        Err(_) => text.parse::<IpAddr>().unwrap() == address,
    }
}

fn operation(operation: &Operation, call: &Call, part: Part) -> bool {
    let http = call.http.as_ref();
    let port = call.port.to_string();
    one_of(&operation.ports, &operation.not_ports, |text| text == port)
        && of_http((&operation.hosts, &operation.not_hosts), http, part, |pattern, http| {
            text(pattern, http.host)
        })
        && of_http((&operation.methods, &operation.not_methods), http, part, |pattern, http| {
            text(pattern, http.method)
        })
        && of_http((&operation.paths, &operation.not_paths), http, part, |pattern, http| {
            path(pattern, http.path)
        })
}

fn path(pattern: &str, value: &str) -> bool {
    if !pattern.contains("{*") {
        return text(pattern, value);
    }
    let wanted: Vec<&str> = pattern.split('/').collect();
    let held: Vec<&str> = value.split('/').collect();
    for (place, wanted) in wanted.iter().enumerate() {
        match (*wanted, held.get(place)) {
            ("{**}", found) => return found.is_some(),
            ("{*}", Some(held)) if !held.is_empty() => {}
            (literal, Some(held)) if literal == *held => {}
            _ => return false,
        }
    }
    wanted.len() == held.len()
}

fn when(condition: &Condition, call: &Call, part: Part) -> bool {
    let lists = (condition.values.as_slice(), condition.not_values.as_slice());
    let user = call.http.as_ref().map(|_| call.user.as_ref());
    match condition.key {
        "source.ip" => one_of(lists.0, lists.1, |text| block(text, call.source)),
        "source.namespace" => one_of(lists.0, lists.1, |text| namespace(text, call.principal)),
        "destination.port" => one_of(lists.0, lists.1, |text| text == call.port.to_string()),
        "request.headers[x-env]" => {
            of_http(lists, call.http.as_ref(), part, |pattern, http: &&Http| {
                http.env.is_some_and(|env| text(pattern, env))
            })
        }
        "request.auth.claims[group]" => of_http(lists, user, part, |pattern, user| {
            user.is_some_and(|user| text(pattern, user.group))
        }),
        "request.auth.claims[realm][roles]" => of_http(lists, user, part, |pattern, user| {
            user.is_some_and(|user| user.roles.iter().any(|role| text(pattern, role)))
        }),
        other => panic!("{other} is not written down"),
    }
}
