//! What a proxy asks over HTTP, read as the same value that a CheckRequest decodes to.
//!
//! The gate is not told through which door a request came, so everything about the asking itself is left out here: the
//! headers that say what the request is, and those that belong to the connection between the proxy and this door.

use std::net::IpAddr;

use http::header::HeaderMap;
use http::request::Parts;

use super::config::{DoorConfig, DoorProxy};
use crate::authz::DoorFault;
use crate::proto::check::{Address, Check, HeaderForm, Http, Peer};

/// In which Envoy is told to name the client (`headers_to_add`), whose own header of this name it overwrites.
const CLIENT_ADDRESS: &str = "x-hopgate-client-address";
const FORWARDED_FOR: &str = "x-forwarded-for";
/// By which Envoy says that it hands on a body, and whether that is all of it.
const PARTIAL_BODY: &str = "x-envoy-auth-partial-body";

/// What says what a request is about.
struct Told {
    method: &'static str,
    target: &'static str,
    host: &'static str,
}

const NGINX: Told = Told { method: "x-original-method", target: "x-original-uri", host: "host" };
const FORWARDED: Told =
    Told { method: "x-forwarded-method", target: "x-forwarded-uri", host: "x-forwarded-host" };

/// Of the asking itself, or of its connection. The length of the original's body is not known.
const OF_ALL: [&str; 4] = ["host", "content-length", "transfer-encoding", "keep-alive"];
/// Envoy says these of the request that it asks with.
const OF_ENVOY: [&str; 3] = [CLIENT_ADDRESS, "x-envoy-internal", "x-envoy-expected-rq-timeout-ms"];
/// The others pass on what clients send, and only Envoy's own word about a body counts.
const OF_OTHERS: [&str; 2] = ["connection", PARTIAL_BODY];

/// One request of a proxy, as it came.
#[derive(Clone, Copy)]
pub(super) struct Asked<'r> {
    pub(super) door: &'r DoorConfig,
    pub(super) parts: &'r Parts,
    /// What came of the body of the request that is asked about.
    pub(super) body: &'r [u8],
}

impl<'r> Asked<'r> {
    /// Reads it. Nothing is guessed: what is missing, comes twice or cannot be read is told by name.
    pub(super) fn check(self) -> Result<Check<'r>, DoorFault> {
        let Self { door, parts, body } = self;
        let headers = &parts.headers;
        let (method, path, host, client) = match door.proxy {
            DoorProxy::Envoy => (
                parts.method.as_str(),
                own_path(parts, &door.path_prefix)?,
                one(headers, "host")?,
                one(headers, CLIENT_ADDRESS)?,
            ),
            DoorProxy::Nginx | DoorProxy::Traefik | DoorProxy::Caddy => {
                let Told { method, target, host } = told(door.proxy);
                (
                    one(headers, method)?,
                    one(headers, target)?,
                    one(headers, host)?,
                    last(one(headers, FORWARDED_FOR)?),
                )
            }
        };
        if client.parse::<IpAddr>().is_err() {
            return Err(DoorFault::Unreadable(client_header(door.proxy)));
        }
        let mut lines: Vec<(&str, &[u8])> = Vec::with_capacity(headers.len() + 4);
        for (name, value) in [(":method", method), (":path", path), (":authority", host)] {
            lines.push((name, value.as_bytes()));
        }
        let kept = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        lines.extend(kept.filter(|(name, _)| !is_of_the_asking(name, door.proxy)));
        match door.proxy {
            DoorProxy::Envoy => {}
            // It came whole, and these proxies send all of it or nothing.
            DoorProxy::Nginx | DoorProxy::Traefik | DoorProxy::Caddy if body.is_empty() => {}
            DoorProxy::Nginx | DoorProxy::Traefik | DoorProxy::Caddy => {
                lines.push((PARTIAL_BODY, b"false"));
            }
        }
        Ok(Check {
            source: Some(Peer { address: Some(address(client)), ..Peer::default() }),
            destination: door.port.map(|port| Peer {
                address: Some(Address::Socket { address: "", port: Some(port.into()) }),
                ..Peer::default()
            }),
            http: Some(Http {
                method,
                headers: lines,
                header_form: header_form(door.proxy),
                path,
                host,
                size: i64::try_from(body.len()).unwrap_or(i64::MAX),
                raw_body: body,
                ..Http::default()
            }),
            has_attributes: true,
            ..Check::default()
        })
    }
}

/// What is known of a request that cannot be read: who asked.
pub(super) fn unread(caller: Option<&str>) -> Check<'_> {
    Check {
        source: caller.map(|caller| Peer { address: Some(address(caller)), ..Peer::default() }),
        has_attributes: true,
        ..Check::default()
    }
}

fn address(text: &str) -> Address<'_> {
    Address::Socket { address: text, port: None }
}

fn told(proxy: DoorProxy) -> Told {
    match proxy {
        DoorProxy::Nginx => NGINX,
        DoorProxy::Envoy | DoorProxy::Traefik | DoorProxy::Caddy => FORWARDED,
    }
}

fn client_header(proxy: DoorProxy) -> &'static str {
    match proxy {
        DoorProxy::Envoy => CLIENT_ADDRESS,
        DoorProxy::Nginx | DoorProxy::Traefik | DoorProxy::Caddy => FORWARDED_FOR,
    }
}

/// Envoy joins the lines of one name with commas; the others pass them on as they came.
fn header_form(proxy: DoorProxy) -> HeaderForm {
    match proxy {
        DoorProxy::Envoy => HeaderForm::Joined,
        DoorProxy::Nginx | DoorProxy::Traefik | DoorProxy::Caddy => HeaderForm::Lines,
    }
}

fn is_of_the_asking(name: &str, proxy: DoorProxy) -> bool {
    let of_this_proxy = match proxy {
        DoorProxy::Envoy => OF_ENVOY.contains(&name),
        DoorProxy::Nginx | DoorProxy::Traefik | DoorProxy::Caddy => {
            let Told { method, target, host: _ } = told(proxy);
            name == method || name == target || OF_OTHERS.contains(&name)
        }
    };
    of_this_proxy || OF_ALL.contains(&name)
}

/// The target that Envoy asks about: its own, behind the prefix.
fn own_path<'r>(parts: &'r Parts, prefix: &str) -> Result<&'r str, DoorFault> {
    if parts.uri.authority().is_some() {
        return Err(DoorFault::Target);
    }
    let target = parts.uri.path_and_query().ok_or(DoorFault::Target)?.as_str();
    let path = target.strip_prefix(prefix).ok_or(DoorFault::Target)?;
    // `/checks/a` does not lie behind `/check`.
    if path.starts_with('/') { Ok(path) } else { Err(DoorFault::Target) }
}

/// The only line of this name.
fn one<'r>(headers: &'r HeaderMap, name: &'static str) -> Result<&'r str, DoorFault> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Err(DoorFault::Missing(name)),
        (Some(_), Some(_)) => Err(DoorFault::Repeated(name)),
        (Some(line), None) => std::str::from_utf8(line.as_bytes())
            .ok()
            .filter(|text| !text.is_empty())
            .ok_or(DoorFault::Unreadable(name)),
    }
}

/// Whoever holds the connection to the proxy: a proxy puts that address behind all that it was told.
fn last(forwarded_for: &str) -> &str {
    forwarded_for.rsplit(',').next().unwrap_or_default().trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests;
