//! The part of a sidecar's configuration that opens doors for proxies which do not ask by gRPC.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;

use ipnet::IpNet;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::runtime::{Address, InvalidAddress};
use crate::sidecar::config::{InvalidConfig, invalid};

/// Where a proxy asks over plain HTTP, one request for each of its clients' requests.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DoorConfig {
    /// Its name, in flags, errors and `/config`.
    pub name: String,
    /// What asks, and so how a request is told and what an answer may be.
    pub proxy: DoorProxy,
    /// Unix sockets and TCP addresses. Whoever may open a unix socket (its mode is 0660) is taken for the proxy.
    pub listen: Vec<Address>,
    /// The addresses of the proxy. Whoever comes over TCP from elsewhere is refused.
    #[serde(default, deserialize_with = "ranges")]
    pub from: Vec<IpNet>,
    /// What Envoy is told to put before the path of every request that it asks about (`path_prefix`).
    #[serde(default)]
    pub path_prefix: String,
    /// The port at which the proxy's clients arrive, for rules that ask for it; unknown without.
    #[serde(default, deserialize_with = "crate::policy::yaml::present")]
    pub port: Option<u16>,
}

/// The proxies that can be answered over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum DoorProxy {
    /// Envoy's ext_authz filter with an `http_service`: the request is asked about in its own words.
    Envoy,
    /// nginx's `auth_request`: `X-Original-Method`, `X-Original-URI`, `Host` and `X-Forwarded-For` say what it is about.
    Nginx,
    /// Traefik's ForwardAuth: `X-Forwarded-Method`, `-Uri`, `-Host` and `-For` say what it is about.
    Traefik,
    /// Caddy's `forward_auth`: the same headers.
    Caddy,
}

/// An address that takes the place of those of a door: `NAME=ADDRESS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorAddress {
    /// The door.
    pub name: String,
    /// Where it listens instead.
    pub address: Address,
}

/// A text that names no door and address.
#[derive(Debug, thiserror::Error)]
pub enum InvalidDoorAddress {
    /// There is no `=`.
    #[error("write NAME=ADDRESS, such as edge=127.0.0.1:9002 or edge=unix:/run/door.sock")]
    NoName,
    /// What stands behind it is no address.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
}

impl FromStr for DoorAddress {
    type Err = InvalidDoorAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, address) = text.split_once('=').ok_or(InvalidDoorAddress::NoName)?;
        Ok(Self { name: name.to_owned(), address: address.parse()? })
    }
}

/// Has the doors that are named listen there instead.
pub(in crate::sidecar) fn relocate(
    doors: &mut [DoorConfig],
    addresses: &[DoorAddress],
) -> Result<(), InvalidConfig> {
    let names = || doors.iter().map(|door| door.name.as_str()).collect::<Vec<_>>().join(", ");
    for DoorAddress { name, address: _ } in addresses {
        if !doors.iter().any(|door| door.name == *name) {
            return Err(invalid(
                "doors",
                format!("none is named {name:?}; there are: {}", names()),
            ));
        }
    }
    for door in doors {
        let mut own = addresses.iter().filter(|address| address.name == door.name).peekable();
        if own.peek().is_some() {
            door.listen = own.map(|own| own.address.clone()).collect();
        }
    }
    Ok(())
}

fn ranges<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| range(text).map_err(D::Error::custom)).collect()
}

/// A range, or one address.
fn range(text: &str) -> Result<IpNet, String> {
    let one = text.parse::<IpAddr>().map(IpNet::from);
    let range = one.or_else(|_| text.parse::<IpNet>()).map_err(|_| {
        format!("{text:?} is no address range; write 10.1.0.0/16, 2001:db8::/32 or one address")
    })?;
    if range.trunc() == range {
        Ok(range)
    } else {
        Err(format!("{text:?} has bits set behind its prefix; write {}", range.trunc()))
    }
}

impl DoorConfig {
    /// Makes relative paths relative to `base`.
    pub(crate) fn resolve(&mut self, base: &Path) {
        for address in &mut self.listen {
            if let Address::Unix(path) = address {
                *path = base.join(&*path);
            }
        }
    }

    /// Checks what a type cannot say.
    pub(in crate::sidecar) fn validate(&self, field: &str) -> Result<(), InvalidConfig> {
        let at = |name: &str| format!("{field}.{name}");
        if self.name.is_empty() || !self.name.bytes().all(is_plain) {
            return Err(invalid(&at("name"), "must be letters, digits and dashes"));
        }
        if self.listen.is_empty() {
            return Err(invalid(
                &at("listen"),
                "list at least one address, such as unix:run/door.sock",
            ));
        }
        let over_tcp = self.listen.iter().any(|address| matches!(address, Address::Tcp(_)));
        if over_tcp && self.from.is_empty() {
            return Err(invalid(
                &at("from"),
                "is needed with a TCP address: list the addresses of the proxy, since whoever asks from there is believed",
            ));
        }
        if let Some(range) = self.from.iter().find(|range| range.prefix_len() == 0) {
            return Err(invalid(
                &at("from"),
                format!("{range} is everybody: list the addresses of the proxy alone"),
            ));
        }
        self.validate_prefix(&at("pathPrefix"))
    }

    fn validate_prefix(&self, field: &str) -> Result<(), InvalidConfig> {
        if self.path_prefix.is_empty() {
            return Ok(());
        }
        if self.proxy != DoorProxy::Envoy {
            return Err(invalid(
                field,
                "is for `proxy: Envoy`; the others name the path in a header",
            ));
        }
        let plain = |byte: u8| is_plain(byte) || matches!(byte, b'/' | b'_' | b'.' | b'~');
        let good = self.path_prefix.starts_with('/')
            && !self.path_prefix.ends_with('/')
            && self.path_prefix.bytes().all(plain);
        if good {
            Ok(())
        } else {
            Err(invalid(field, "must begin with `/`, end with none, and be plain: /check"))
        }
    }

    /// Is somebody at this address the proxy? Nothing: it came over a unix socket.
    pub(super) fn is_proxy(&self, caller: Option<SocketAddr>) -> bool {
        caller.is_none_or(|caller| {
            // Of a socket that takes both kinds, 10.1.2.3 comes as ::ffff:10.1.2.3.
            let address = caller.ip().to_canonical();
            self.from.iter().any(|range| range.contains(&address))
        })
    }

    /// What `/config` shows.
    pub(in crate::sidecar) fn to_json(&self) -> Value {
        let Self { name, proxy, listen, from, path_prefix, port } = self;
        json!({
            "name": name,
            "proxy": format!("{proxy:?}"),
            "listen": listen,
            "from": from.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "pathPrefix": path_prefix,
            "port": port,
        })
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

/// Checks all doors.
pub(in crate::sidecar) fn validate(doors: &[DoorConfig]) -> Result<(), InvalidConfig> {
    for (place, door) in doors.iter().enumerate() {
        door.validate(&format!("doors[{place}]"))?;
        if doors.iter().take(place).any(|other| other.name == door.name) {
            let problem = format!("{:?} is the name of two doors", door.name);
            return Err(invalid(&format!("doors[{place}].name"), problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(yaml: &str) -> Result<DoorConfig, String> {
        let door: DoorConfig = crate::policy::yaml::parse_one("doors.yaml", yaml)
            .map_err(|error| error.to_string())?;
        door.validate("doors[0]").map_err(|error| error.to_string())?;
        Ok(door)
    }

    #[test]
    fn a_door_over_tcp_says_who_may_ask() {
        let good = door(
            "{ name: edge, proxy: Nginx, listen: ['127.0.0.1:1'], from: [127.0.0.1, '10.0.0.0/8'] }",
        );
        let good = good.unwrap();
        for (caller, is_proxy) in [
            ("127.0.0.1:5", true),
            ("[::ffff:127.0.0.1]:5", true),
            ("10.255.0.1:5", true),
            ("127.0.0.2:5", false),
            ("[::1]:5", false),
            ("11.0.0.1:5", false),
        ] {
            assert_eq!(good.is_proxy(Some(caller.parse().unwrap())), is_proxy, "{caller}");
        }
        assert!(good.is_proxy(None), "over the unix socket");
        let socket = door("{ name: edge, proxy: Caddy, listen: ['unix:a.sock'] }").unwrap();
        assert!(!socket.is_proxy(Some("127.0.0.1:5".parse().unwrap())));
    }

    #[test]
    fn what_would_believe_everybody_is_a_mistake() {
        for (yaml, says) in [
            ("{ name: a, proxy: Nginx, listen: ['127.0.0.1:1'] }", "doors[0].from: is needed"),
            (
                "{ name: a, proxy: Nginx, listen: ['127.0.0.1:1'], from: ['0.0.0.0/0'] }",
                "is everybody",
            ),
            ("{ name: a, proxy: Nginx, listen: ['127.0.0.1:1'], from: ['::/0'] }", "is everybody"),
            (
                "{ name: a, proxy: Nginx, listen: ['127.0.0.1:1'], from: ['10.0.0.1/8'] }",
                "10.0.0.0/8",
            ),
            (
                "{ name: a, proxy: Nginx, listen: ['127.0.0.1:1'], from: [everybody] }",
                "no address range",
            ),
            ("{ name: a, proxy: Nginx, listen: [] }", "doors[0].listen"),
            ("{ name: '', proxy: Nginx, listen: ['unix:a'] }", "doors[0].name"),
            ("{ name: a, proxy: Haproxy, listen: ['unix:a'] }", "Haproxy"),
            (
                "{ name: a, proxy: Nginx, listen: ['unix:a'], pathPrefix: /x }",
                "doors[0].pathPrefix",
            ),
            ("{ name: a, proxy: Envoy, listen: ['unix:a'], pathPrefix: x }", "doors[0].pathPrefix"),
            (
                "{ name: a, proxy: Envoy, listen: ['unix:a'], pathPrefix: /x/ }",
                "doors[0].pathPrefix",
            ),
            ("{ name: a, proxy: Nginx, listen: ['unix:a'], trust: all }", "trust"),
        ] {
            let error = door(yaml).expect_err(yaml);
            assert!(error.contains(says), "{yaml}: {error}");
        }
        let one = door("{ name: a, proxy: Nginx, listen: ['unix:a'] }").unwrap();
        let mut doors = [one.clone()];
        let moved = ["a=127.0.0.1:0", "a=unix:/b"].map(|text| text.parse().unwrap());
        relocate(&mut doors, &moved).unwrap();
        assert_eq!(doors[0].listen, moved.map(|moved| moved.address));
        let error = validate(&doors).unwrap_err().to_string();
        assert!(error.starts_with("doors[0].from: is needed"), "{error}");
        let unknown = relocate(&mut doors, &["b=unix:/b".parse().unwrap()]).unwrap_err();
        assert_eq!(unknown.to_string(), "doors: none is named \"b\"; there are: a");
        assert!("unix:/b".parse::<DoorAddress>().is_err());
        assert!("a=".parse::<DoorAddress>().is_err());

        let error = validate(&[one.clone(), one]).unwrap_err().to_string();
        assert_eq!(error, "doors[1].name: \"a\" is the name of two doors");
    }
}
