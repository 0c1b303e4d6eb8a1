//! What the application may call by the address of a service.

use std::fmt;
use std::net::IpAddr;

use crate::identity::SpiffeId;
use crate::mesh::config::Name;

use super::endpoint::ServiceEndpoint;
use super::port::AppProtocol;

/// A service, as its callers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: Name,
    /// Its namespace.
    pub namespace: Name,
    /// Its own addresses, of both families. Without any (a headless service) it is called by the addresses of its endpoints.
    pub addresses: Vec<IpAddr>,
    /// The accounts whose workloads may answer. Without any it is no part of the mesh: it is called as if there were no mesh.
    pub accounts: Vec<SpiffeId>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// The number by which it is called.
    pub number: u16,
    /// What is spoken there.
    pub protocol: AppProtocol,
    /// Who is behind it.
    pub endpoints: Vec<ServiceEndpoint>,
}

impl Service {
    /// Whether its callers know who answers.
    #[must_use]
    pub fn is_meshed(&self) -> bool {
        !self.accounts.is_empty()
    }
}

/// `orders.shop`.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.name, self.namespace)
    }
}
