//! What can be wrong with the configuration of a workload's Envoy.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::identity::{InvalidSpiffeId, SpiffeId, TrustDomain};

use super::address::Endpoint;
use super::config::Name;
use super::model::AUTHZ_TIMEOUT;

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidMesh {
    /// At least one; the field's path and what is wrong.
    pub faults: Vec<(String, Fault)>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A list that needs an entry has none.
    #[error("needs at least one entry")]
    Empty,
    /// An identity is unreadable.
    #[error("{text:?} {source}; write ns/<namespace>/sa/<account> or a whole SPIFFE ID")]
    Identity {
        /// What was written.
        text: String,
        /// What is wrong with it.
        source: InvalidSpiffeId,
    },
    /// Identities of two trust domains, whose roots must not stand in one pool.
    #[error("{first} and {second} are two trust domains; open a door for each")]
    TwoTrustDomains {
        /// That of the first identity.
        first: TrustDomain,
        /// Another one.
        second: TrustDomain,
    },
    /// A trust domain is unreadable.
    #[error("{text:?} is no trust domain: it {source}")]
    TrustDomain {
        /// What was written.
        text: String,
        /// What is wrong with it.
        source: InvalidSpiffeId,
    },
    /// The own trust domain, or one that it also goes by, as a foreign one.
    #[error("{0} is this mesh itself")]
    NotForeign(TrustDomain),
    /// An identity of a trust domain whose roots are not known here.
    #[error("{id} is not in trust domain {domain}, nor in one under federatedWith")]
    Foreign {
        /// The identity.
        id: SpiffeId,
        /// The own trust domain.
        domain: TrustDomain,
    },
    /// Plaintext would leave this machine.
    #[error("{0} can be reached from other machines; use a loopback address or a unix socket")]
    NotLocal(String),
    /// A port to connect to is 0.
    #[error("port 0 cannot be connected to")]
    PortZero,
    /// Two entries of one list have the same name.
    #[error("{0} is the name of two entries")]
    DuplicateName(Name),
    /// Two listeners want the same port.
    #[error("{address} is also taken by {other}")]
    DuplicateAddress {
        /// The address of the second.
        address: SocketAddr,
        /// The field of the first.
        other: String,
    },
    /// Envoy would connect to itself, for ever.
    #[error("{0} is a listener of this Envoy: requests would run in a circle")]
    Circle(SocketAddr),
    /// The kernel takes shorter paths only, and a configuration holds text.
    #[error("the path {} is too long for a socket, or no text", .0.display())]
    Path(PathBuf),
    /// A duration outside its bounds.
    #[error("must be between {:?} and {:?}", AUTHZ_TIMEOUT.start(), AUTHZ_TIMEOUT.end())]
    Timeout,
    /// Bodies are asked for where there are none.
    #[error("is only for the protocol http: other connections have no requests")]
    NoRequests,
    /// A body of that size cannot be handed on.
    #[error("maxBytes must be between 1 and 33554432")]
    BodySize,
    /// A port of the gate itself.
    #[error("{0} is a port of the gate itself; the application needs another one")]
    PortOfTheGate(u16),
    /// A port is declared twice.
    #[error("port {0} is declared twice")]
    DuplicatePort(u16),
    /// A server that greets cannot be told from a silent client.
    #[error(
        "a server that speaks first cannot be had in Permissive: whether the client speaks TLS is told by its first bytes, so \
         a client in plaintext would wait; choose Strict or Disabled"
    )]
    SpeaksFirst,
    /// No service and no pod can have this address.
    #[error("{0} is no address of a service or a pod")]
    Address(IpAddr),
    /// Two services have the same name.
    #[error("{0} is the name of two services")]
    DuplicateService(String),
    /// An address with a port leads to two things.
    #[error("{address} is also {other}")]
    TakenAddress {
        /// The address of the second.
        address: SocketAddr,
        /// What the first is.
        other: String,
    },
    /// Nobody may answer, so mTLS would accept anybody.
    #[error("an endpoint with mTLS needs `accounts` of the service: who may answer there")]
    NoAccounts,
    /// The Envoy would do nothing.
    #[error("needs an entry in inbound, edge or outbound")]
    Nothing,
}

impl InvalidMesh {
    /// An error if anything is wrong in any of these.
    pub(super) fn all(sections: impl IntoIterator<Item = Faults>) -> Result<(), Self> {
        let faults: Vec<_> = sections.into_iter().flat_map(|section| section.found).collect();
        if faults.is_empty() { Ok(()) } else { Err(Self { faults }) }
    }
}

/// Collects what is wrong, so that a person sees all of it at once.
pub(super) struct Faults {
    section: &'static str,
    found: Vec<(String, Fault)>,
}

impl Faults {
    /// Nothing is wrong yet. `section` is put in front of every field.
    pub(super) fn in_section(section: &'static str) -> Self {
        Self { section, found: Vec::new() }
    }

    pub(super) fn add(&mut self, field: impl fmt::Display, fault: Fault) {
        self.found.push((format!("{}{field}", self.section), fault));
    }

    pub(super) fn count(&self) -> usize {
        self.found.len()
    }

    /// An error if anything is wrong.
    pub(super) fn none(self) -> Result<(), InvalidMesh> {
        InvalidMesh::all([self])
    }

    pub(super) fn check_endpoint(&mut self, field: &str, endpoint: &Endpoint) {
        if !endpoint.is_local() {
            self.add(field, Fault::NotLocal(endpoint.to_string()));
        }
        // A relative path may have become too long since it was read.
        if let Endpoint::Unix(path) = endpoint
            && !endpoint.fits()
        {
            self.add(field, Fault::Path(path.clone()));
        }
    }

    pub(super) fn check_access_log(&mut self, path: Option<&Path>) {
        if let Some(path) = path.filter(|path| path.to_str().is_none()) {
            self.add("accessLog", Fault::Path(path.to_path_buf()));
        }
    }

    pub(super) fn check_authz_timeout(&mut self, timeout: Duration) {
        if !AUTHZ_TIMEOUT.contains(&timeout) {
            self.add("authzTimeout", Fault::Timeout);
        }
    }
}

impl fmt::Display for InvalidMesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (field, fault)) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{field}: {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidMesh {}
