//! What can be wrong with the configuration of a workload's Envoy.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::identity::{InvalidSpiffeId, SpiffeId, TrustDomain};

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
    /// The Envoy would do nothing.
    #[error("needs an entry in inbound, edge or outbound")]
    Nothing,
}

impl fmt::Display for InvalidMesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (field, fault)) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "envoy.{field}: {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidMesh {}
