//! Where Envoy listens and where it connects to.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use serde_json::{Value, json};

/// The longest path of a unix socket that the kernel takes.
const MAX_SOCKET_PATH: usize = 107;

/// An IP address with a port, or a unix socket on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Endpoint {
    /// TCP.
    Tcp(SocketAddr),
    /// The path of a unix socket.
    Unix(PathBuf),
}

/// A text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// It is neither an address nor a socket.
    #[error(
        "{0:?} is no address; write IP:PORT (127.0.0.1:9001, [::1]:9001) or unix:/path/to.sock"
    )]
    Unreadable(String),
    /// The kernel takes shorter paths only.
    #[error("the socket path {0:?} is longer than {MAX_SOCKET_PATH} bytes")]
    PathTooLong(String),
}

/// One address of an upstream: an IP address or a DNS name, with a port.
///
/// A name is only a way to find the peer. Who it is, its certificate says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Upstream {
    /// An IP address.
    Ip(SocketAddr),
    /// A DNS name.
    Name {
        /// Letters, digits, dots and dashes.
        host: String,
        /// Not 0.
        port: u16,
    },
}

/// A text is no upstream address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no upstream; write IP:PORT (10.0.0.7:8443, [fd00::7]:8443) or NAME:PORT")]
pub struct InvalidUpstream(String);

impl Endpoint {
    /// True when only this machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// The same endpoint, a relative socket path taken from `directory`.
    #[must_use]
    pub fn relative_to(self, directory: &Path) -> Self {
        match self {
            Self::Tcp(address) => Self::Tcp(address),
            Self::Unix(path) => Self::Unix(directory.join(path)),
        }
    }

    /// False when the kernel would refuse the socket's path, or a configuration could not name it.
    pub(super) fn fits(&self) -> bool {
        match self {
            Self::Tcp(_) => true,
            Self::Unix(path) => path.to_str().is_some_and(|path| path.len() <= MAX_SOCKET_PATH),
        }
    }

    /// An Envoy address to connect to.
    pub(super) fn to_envoy(&self) -> Value {
        match self {
            Self::Tcp(address) => socket_address(*address),
            Self::Unix(path) => json!({ "pipe": { "path": path.to_string_lossy() } }),
        }
    }

    /// An Envoy address to listen on; a socket is open to its owner only.
    pub(super) fn to_private_envoy(&self) -> Value {
        self.to_open_envoy(0o600)
    }

    /// The same, open to its group too: where Envoy and its sidecar are two users of one group.
    pub(super) fn to_shared_envoy(&self) -> Value {
        self.to_open_envoy(0o660)
    }

    fn to_open_envoy(&self, mode: u32) -> Value {
        match self {
            Self::Tcp(address) => socket_address(*address),
            // Written as a decimal, because YAML versions disagree about octal numbers.
            Self::Unix(path) => json!({ "pipe": { "path": path.to_string_lossy(), "mode": mode } }),
        }
    }
}

impl Upstream {
    pub(super) fn port(&self) -> u16 {
        match self {
            Self::Ip(address) => address.port(),
            Self::Name { port, .. } => *port,
        }
    }

    pub(super) fn to_envoy(&self) -> Value {
        match self {
            Self::Ip(address) => socket_address(*address),
            Self::Name { host, port } => {
                json!({ "socket_address": { "address": host, "port_value": port } })
            }
        }
    }
}

pub(super) fn socket_address(address: SocketAddr) -> Value {
    json!({
        "socket_address": { "address": address.ip().to_string(), "port_value": address.port() }
    })
}

/// Sets one field of an object.
pub(super) fn set(object: &mut Value, field: &str, value: Value) {
    if let Value::Object(fields) = object {
        fields.insert(field.to_owned(), value);
    }
}

/// Reads `IP:PORT` and says how it is written when it is not.
pub(super) fn deserialize_tcp<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        serde::de::Error::custom(format!(
            "{text:?} is no address; write IP:PORT (127.0.0.1:9001, [::1]:9001)"
        ))
    })
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unreadable = || InvalidEndpoint::Unreadable(text.to_owned());
        let endpoint = match text.strip_prefix("unix:") {
            Some("") => return Err(unreadable()),
            Some(path) => Self::Unix(path.into()),
            None => text.parse().map(Self::Tcp).map_err(|_| unreadable())?,
        };
        if endpoint.fits() {
            Ok(endpoint)
        } else {
            Err(InvalidEndpoint::PathTooLong(text.to_owned()))
        }
    }
}

impl TryFrom<String> for Endpoint {
    type Error = InvalidEndpoint;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Upstream {
    type Err = InvalidUpstream;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        let invalid = || InvalidUpstream(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let port = port.parse().map_err(|_| invalid())?;
        let is_label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        // A name of digits and dots that is no address is a mistyped address.
        let is_name = host.bytes().any(|b| b.is_ascii_alphabetic());
        if host.len() > 253 || !is_name || !host.split('.').all(is_label) {
            return Err(invalid());
        }
        Ok(Self::Name { host: host.to_owned(), port })
    }
}

impl TryFrom<String> for Upstream {
    type Error = InvalidUpstream;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_or_refused() {
        assert!("unix:run/a.sock".parse::<Endpoint>().unwrap().is_local());
        assert!("[::1]:80".parse::<Endpoint>().unwrap().is_local());
        assert!(!"10.0.0.1:80".parse::<Endpoint>().unwrap().is_local());
        for bad in ["", "unix:", "localhost:80", "127.0.0.1"] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
        let long = format!("unix:/{}", "a".repeat(107));
        assert!(matches!(long.parse::<Endpoint>(), Err(InvalidEndpoint::PathTooLong(_))));
    }

    #[test]
    fn a_relative_socket_is_taken_from_the_directory() {
        let endpoint =
            "unix:run/a.sock".parse::<Endpoint>().unwrap().relative_to(Path::new("/etc"));
        assert_eq!(endpoint.to_string(), "unix:/etc/run/a.sock");
        let endpoint = "unix:/run/a.sock".parse::<Endpoint>().unwrap();
        assert_eq!(endpoint.clone().relative_to(Path::new("/etc")), endpoint);
    }

    #[test]
    fn upstreams_are_addresses_or_names() {
        for good in ["10.0.0.7:8443", "[fd00::7]:8443", "payments:80", "pay-ments.shop.internal:1"]
        {
            assert!(good.parse::<Upstream>().is_ok(), "{good}");
        }
        for bad in ["", "payments", ":80", "10.0.0:80", "a b:80", "-a:80", "a..b:80", "a:70000"] {
            assert!(bad.parse::<Upstream>().is_err(), "{bad}");
        }
    }
}
