//! What a person writes under `envoy:`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::address::{Endpoint, Upstream, deserialize_tcp};
use super::body::RequestBody;

/// The listeners of one workload's Envoy.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Envoy's own admin page: a unix socket (created with mode 0600), or a loopback address, which every user of
    /// this machine can reach.
    pub admin: Endpoint,
    /// Listeners for other workloads: mTLS only.
    #[serde(default)]
    pub inbound: Vec<InboundConfig>,
    /// Listeners for callers outside the mesh: plain HTTP, no peer.
    #[serde(default)]
    pub edge: Vec<EdgeConfig>,
    /// Doors to other workloads.
    #[serde(default)]
    pub outbound: Vec<OutboundConfig>,
    /// Foreign trust domains whose workloads may call, and be called under `outbound`. Their roots come from the sidecar:
    /// until it has them, and once they are withdrawn, their workloads are refused.
    #[serde(default)]
    pub federated_with: Vec<String>,
    /// A file for Envoy's access log, one JSON object per line. Default: none, since the decision log tells more.
    #[serde(default)]
    pub access_log: Option<PathBuf>,
    /// How long Envoy waits for the gate before it refuses a request.
    #[serde(default = "default_authz_timeout", with = "humantime_serde")]
    pub authz_timeout: Duration,
}

/// A listener for other workloads.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InboundConfig {
    /// A name for logs and statistics.
    pub name: Name,
    /// Where Envoy listens.
    #[serde(deserialize_with = "deserialize_tcp")]
    pub listen: SocketAddr,
    /// Where the application listens. Only this Envoy should be able to reach it.
    #[serde(deserialize_with = "deserialize_tcp")]
    pub app: SocketAddr,
    /// What is spoken inside TLS.
    #[serde(default)]
    pub protocol: Protocol,
    /// Hands the bodies of requests to the gate, for rules that ask about them. Streams of requests cannot be had then.
    #[serde(default)]
    pub request_body: Option<RequestBody>,
}

/// A listener for callers outside the mesh. It speaks plain HTTP: put what ends the public TLS in front of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EdgeConfig {
    /// A name for logs and statistics.
    pub name: Name,
    /// Where Envoy listens.
    #[serde(deserialize_with = "deserialize_tcp")]
    pub listen: SocketAddr,
    /// Where the application listens.
    #[serde(deserialize_with = "deserialize_tcp")]
    pub app: SocketAddr,
    /// Hands the bodies of requests to the gate, for rules that ask about them. Streams of requests cannot be had then.
    #[serde(default)]
    pub request_body: Option<RequestBody>,
}

/// A door to another workload: the application dials `listen` in plaintext, Envoy speaks mTLS to `upstream`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutboundConfig {
    /// A name for logs and statistics, and the server name of the TLS session.
    pub name: Name,
    /// Where Envoy listens for the application: a loopback address.
    #[serde(deserialize_with = "deserialize_tcp")]
    pub listen: SocketAddr,
    /// Where the other workload's Envoy listens.
    pub upstream: Vec<Upstream>,
    /// Who may answer: `ns/<namespace>/sa/<account>` of the own trust domain, or a whole SPIFFE ID.
    pub identities: Vec<String>,
    /// What is spoken inside TLS.
    #[serde(default)]
    pub protocol: Protocol,
}

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1, HTTP/2 and gRPC: every request is judged.
    #[default]
    Http,
    /// Anything else in which the client speaks first: every connection is judged, by its peer, at the first byte.
    /// A protocol in which the server begins (MySQL, SMTP) waits for ever here, because nothing of the
    /// application may be heard before the verdict.
    Tcp,
}

/// The name of a listener: lower-case letters, digits and dashes, as in a DNS label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(String);

/// A text cannot name a listener.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no name; use 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit"
)]
pub struct InvalidName(String);

impl Config {
    /// The most bytes of a body that any listener hands to the gate; nothing where none does.
    #[must_use]
    pub fn largest_body(&self) -> Option<usize> {
        let inbound = self.inbound.iter().filter_map(|one| one.request_body);
        let bodies = inbound.chain(self.edge.iter().filter_map(|one| one.request_body));
        bodies.map(|body| usize::try_from(body.max_bytes).unwrap_or(usize::MAX)).max()
    }

    /// The same configuration, relative paths taken from `directory`.
    #[must_use]
    pub fn relative_to(mut self, directory: &Path) -> Self {
        self.admin = self.admin.relative_to(directory);
        self.access_log = self.access_log.map(|path| directory.join(path));
        self
    }
}

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let inner = text.bytes().all(|b| is_letter(b) || b == b'-');
        let ends = text.bytes().next().is_some_and(is_letter)
            && text.bytes().next_back().is_some_and(is_letter);
        if inner && ends && text.len() <= 63 { Ok(Self(text)) } else { Err(InvalidName(text)) }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) fn default_authz_timeout() -> Duration {
    Duration::from_secs(1)
}
