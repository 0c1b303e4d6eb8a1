//! Ports of the application, and what is spoken on them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::mesh::body::RequestBody;
use crate::mesh::config::Protocol;
use crate::mesh::pod::OWN_PORTS;
use crate::policy::MtlsMode;

use super::service::Service;

/// A port of the application that others may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// What is spoken there.
    pub protocol: AppProtocol,
    /// Who may come without a certificate.
    pub mtls: MtlsMode,
    /// Hands the bodies of requests to the gate, for rules that ask about them.
    pub request_body: Option<RequestBody>,
}

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AppProtocol {
    /// HTTP/1.1, and HTTP/2 where the client speaks it.
    Http,
    /// HTTP/2.
    Http2,
    /// gRPC.
    Grpc,
    /// Bytes; the client speaks first.
    Tcp,
    /// Bytes; the server greets, as in MySQL and SMTP. Whatever it says before the client has said anything is heard by
    /// any peer that has a certificate of the mesh, because the gate can only be asked at the first byte of the client.
    #[serde(rename = "server-first")]
    ServerFirst,
}

/// Protocols in which the server greets, by the names that are used for them.
const SERVER_FIRST: [&str; 9] =
    ["server-first", "mysql", "mariadb", "smtp", "ftp", "imap", "pop3", "ssh", "nntp"];

impl AppProtocol {
    /// What is spoken on a port of a service: what its `appProtocol` says, else the first word of its name (`grpc-api`),
    /// else bytes. A name that is not known is bytes too, which every protocol can be carried as.
    #[must_use]
    pub fn of(app_protocol: Option<&str>, port_name: Option<&str>) -> Self {
        let known = match app_protocol {
            Some(said) => Self::known(said),
            None => port_name.and_then(Self::named),
        };
        known.unwrap_or(Self::Tcp)
    }

    /// What the first word of the name of a port says; nothing when it is no protocol.
    #[must_use]
    pub fn named(port_name: &str) -> Option<Self> {
        Self::known(port_name.split('-').next().unwrap_or_default())
    }

    fn known(said: &str) -> Option<Self> {
        match said.to_ascii_lowercase().as_str() {
            "http" | "ws" | "grpc-web" | "kubernetes.io/ws" => Some(Self::Http),
            "http2" | "h2c" | "kubernetes.io/h2c" => Some(Self::Http2),
            "grpc" => Some(Self::Grpc),
            "tcp" | "tls" | "https" | "kubernetes.io/wss" => Some(Self::Tcp),
            said if SERVER_FIRST.contains(&said) => Some(Self::ServerFirst),
            _ => None,
        }
    }

    /// Whether requests can be told apart.
    pub(super) fn inside_tls(self) -> Protocol {
        match self {
            Self::Http | Self::Http2 | Self::Grpc => Protocol::Http,
            Self::Tcp | Self::ServerFirst => Protocol::Tcp,
        }
    }
}

/// The ports at these addresses to which services of their namespace lead, and what is spoken there. Where services say
/// different things, it is requests if one says so: they are judged one by one, and bytes would pass rules that ask about
/// requests. Services of other namespaces do not count: whoever writes endpoints by hand there must not open a port here.
#[must_use]
pub fn served(
    services: &[Service],
    (namespace, addresses): (&str, &[IpAddr]),
) -> BTreeMap<u16, AppProtocol> {
    let mut ports: BTreeMap<u16, AppProtocol> = BTreeMap::new();
    let own = services.iter().filter(|service| service.namespace.as_str() == namespace);
    for port in own.flat_map(|service| &service.ports) {
        let here = port.endpoints.iter().map(|endpoint| endpoint.address);
        for at in here.filter(|at| addresses.contains(&at.ip()) && !OWN_PORTS.contains(&at.port()))
        {
            let held = ports.entry(at.port()).or_insert(port.protocol);
            *held = (*held).min(port.protocol);
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_to_which_services_lead_are_served() {
        let text = r#"
services:
  - { name: a, namespace: n, ports: [
      { port: 80, appProtocol: tcp, endpoints: [{ address: "10.0.0.1:8080" }, { address: "10.0.0.2:9090" }] },
      { port: 81, appProtocol: mysql, endpoints: [{ address: "[fd00::1]:3306" }, { address: "10.0.0.1:15021" }] }] }
  - { name: b, namespace: n, ports: [{ port: 80, name: http, endpoints: [{ address: "10.0.0.1:8080" }] }] }
  - { name: c, namespace: other, ports: [{ port: 80, name: http, endpoints: [{ address: "10.0.0.1:9999" }, { address: "[fd00::1]:3306" }] }] }
"#;
        let file: crate::mesh::captured::ServicesFile = serde_saphyr::from_str(text).unwrap();
        let domain = crate::identity::TrustDomain::parse("mesh.test").unwrap();
        let services = file.services(&domain).unwrap();
        let own = ["10.0.0.1", "fd00::1"].map(|ip| ip.parse().unwrap());
        let expected = [(8080, AppProtocol::Http), (3306, AppProtocol::ServerFirst)];
        assert_eq!(served(&services, ("n", &own)), expected.into());
        assert_eq!(served(&services, ("nowhere", &own)), BTreeMap::new());
    }

    #[test]
    fn what_is_spoken_is_what_was_said_and_bytes_where_nothing_was() {
        for (app_protocol, name, expected) in [
            (Some("http"), Some("tcp-db"), AppProtocol::Http),
            (Some("kubernetes.io/h2c"), None, AppProtocol::Http2),
            (Some("kubernetes.io/wss"), None, AppProtocol::Tcp),
            (Some("GRPC"), None, AppProtocol::Grpc),
            (Some("mysql"), Some("http"), AppProtocol::ServerFirst),
            (Some("example.com/own"), Some("http"), AppProtocol::Tcp),
            (None, Some("http"), AppProtocol::Http),
            (None, Some("http-metrics"), AppProtocol::Http),
            (None, Some("https"), AppProtocol::Tcp),
            (None, Some("httpfoo"), AppProtocol::Tcp),
            (None, Some("smtp"), AppProtocol::ServerFirst),
            (None, None, AppProtocol::Tcp),
        ] {
            assert_eq!(AppProtocol::of(app_protocol, name), expected, "{app_protocol:?} {name:?}");
        }
    }
}
