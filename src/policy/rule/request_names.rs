//! Hosts, methods, paths, gRPC methods and header names as they are written in a rule.

use std::collections::BTreeMap;

use super::requests::HostPattern;
use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::resource::{Checked, check_list, is_token};
use crate::policy::template::PathTemplate;

const MAX_METHOD: usize = 32;

/// Headers that are no text to compare, each with what to write instead.
const OTHERWISE: [(&str, &str); 4] = [
    ("authorization", "credentials are verified, not compared: write `users`"),
    ("cookie", "cookies are verified, not compared: write `users`"),
    ("host", "write `hosts`"),
    ("x-forwarded-for", "write `forwardedFor`"),
];

pub(super) fn check_hosts(raw: Vec<String>, at: &FieldPath) -> Checked<Vec<HostPattern>> {
    check_list(raw, at)?
        .into_iter()
        .enumerate()
        .map(|(place, text)| check_host(text, at.item(place)))
        .collect()
}

fn check_host(text: String, at: FieldPath) -> Checked<HostPattern> {
    let (below, name) = match text.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, text.as_str()),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| {
                b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'~')
            })
    };
    let is_address = !below && name.parse::<std::net::Ipv6Addr>().is_ok();
    if text == "*" {
        return Err(Problem::new(at, "is any host").hint("leave `hosts` out for any host"));
    }
    if !is_address && !name.split('.').all(is_label) {
        let hint = if name.bytes().any(|b| b.is_ascii_uppercase()) {
            format!("hosts are compared in lower case; write {}", text.to_ascii_lowercase())
        } else if name.contains(':') {
            "write it without port and brackets; `ports` is a field of its own".to_owned()
        } else {
            "for example shop.example, or *.shop.example for every name below it".to_owned()
        };
        return Err(Problem::new(at, format!("`{text}` is no host")).hint(hint));
    }
    Ok(if below { HostPattern::Below(name.to_owned()) } else { HostPattern::Exactly(text) })
}

pub(super) fn check_ports(raw: Vec<u64>, at: &FieldPath) -> Checked<Vec<u16>> {
    check_list(raw, at)?
        .into_iter()
        .enumerate()
        .map(|(place, number)| {
            let port = u16::try_from(number).ok().filter(|port| *port != 0);
            port.ok_or_else(|| {
                Problem::new(at.item(place), format!("`{number}` is no port"))
                    .hint("a port is a number from 1 to 65535")
            })
        })
        .collect()
}

pub(super) fn check_methods(raw: Vec<String>, at: &FieldPath) -> Checked<Vec<String>> {
    let methods = check_list(raw, at)?;
    for (place, method) in methods.iter().enumerate() {
        let shaped = method.starts_with(|c: char| c.is_ascii_uppercase())
            && method.len() <= MAX_METHOD
            && method.chars().all(|c| matches!(c, 'A'..='Z' | '0'..='9' | '-' | '_'));
        if !shaped {
            let upper = method.to_ascii_uppercase();
            let hint = match method.as_str() {
                "*" => "leave `methods` out for any method".to_owned(),
                _ => format!("methods are compared exactly; write {upper}"),
            };
            return Err(Problem::new(at.item(place), format!("`{method}` is no method")).hint(hint));
        }
    }
    Ok(methods)
}

pub(super) fn check_paths(raw: Vec<String>, at: &FieldPath) -> Checked<Vec<PathTemplate>> {
    check_list(raw, at)?
        .iter()
        .enumerate()
        .map(|(place, text)| {
            PathTemplate::parse(text).map_err(|error| {
                Problem::new(at.item(place), format!("`{}` {error}", text.escape_debug()))
            })
        })
        .collect()
}

/// `package.Service/Method` or `package.Service/*`, as the path that gRPC makes of it.
pub(super) fn check_grpc(raw: Vec<String>, at: &FieldPath) -> Checked<Vec<PathTemplate>> {
    let problem = |place: usize, text: &str| {
        Problem::new(at.item(place), format!("`{text}` is no gRPC method"))
            .hint("write package.Service/Method, or package.Service/* for all of a service")
    };
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    check_list(raw, at)?
        .iter()
        .enumerate()
        .map(|(place, text)| {
            let named = text.split_once('/').filter(|(service, method)| {
                service.split('.').all(is_name) && (*method == "*" || is_name(method))
            });
            named.ok_or_else(|| problem(place, text))?;
            PathTemplate::parse(&format!("/{text}")).map_err(|_| problem(place, text))
        })
        .collect()
}

pub(super) fn check_headers(
    raw: BTreeMap<String, Vec<String>>,
    at: &FieldPath,
) -> Checked<Vec<(String, Vec<String>)>> {
    if raw.is_empty() {
        return Err(Problem::new(at.clone(), "is empty").hint("leave the field out"));
    }
    raw.into_iter()
        .map(|(name, values)| {
            let at = at.field(&name);
            if !is_token(&name) || name.bytes().any(|b| b.is_ascii_uppercase()) {
                return Err(Problem::new(at, format!("`{name}` is no header name in lower case")));
            }
            if let Some((_, instead)) = OTHERWISE.iter().find(|(taken, _)| *taken == name) {
                return Err(Problem::new(at, format!("`{name}` cannot be compared")).hint(*instead));
            }
            Ok((name, check_list(values, &at)?))
        })
        .collect()
}
