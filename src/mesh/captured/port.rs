//! Ports of the application, and what is spoken on them.

use serde::{Deserialize, Serialize};

use crate::mesh::body::RequestBody;
use crate::mesh::config::Protocol;
use crate::policy::MtlsMode;

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
        let first_word = |name: &str| name.split('-').next().unwrap_or_default().to_owned();
        let said = match app_protocol {
            Some(said) => said.to_owned(),
            None => port_name.map(first_word).unwrap_or_default(),
        };
        let said = said.to_ascii_lowercase();
        match said.as_str() {
            "http" | "ws" | "grpc-web" | "kubernetes.io/ws" => Self::Http,
            "http2" | "h2c" | "kubernetes.io/h2c" => Self::Http2,
            "grpc" => Self::Grpc,
            said if SERVER_FIRST.contains(&said) => Self::ServerFirst,
            _ => Self::Tcp,
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

#[cfg(test)]
mod tests {
    use super::*;

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
