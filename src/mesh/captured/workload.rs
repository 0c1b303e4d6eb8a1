//! The workload whose traffic is captured.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::identity::{SpiffeId, TrustDomain};
use crate::mesh::model::Sidecar;

use super::port::Port;

/// A workload whose traffic is captured.
#[derive(Debug, Clone)]
pub struct CapturedWorkload {
    /// Whom the Envoy works for, and where its sidecar answers.
    pub sidecar: Sidecar,
    /// The addresses of its pod: at least one. Traffic of a family without an address is not taken.
    pub addresses: Vec<IpAddr>,
    /// Foreign trust domains whose roots are known: their workloads may call, and be called.
    pub federated: Vec<TrustDomain>,
    /// Identities that are trusted no longer. No connection is made to them, and none if the workload's own is among them.
    pub revoked: BTreeSet<SpiffeId>,
    /// The ports of the application that others may call. Every other port is closed to them.
    pub ports: Vec<Port>,
    /// What becomes of connections to whatever is no part of the mesh.
    pub outbound: OutboundMode,
    /// A file for Envoy's access log, one JSON object per line.
    pub access_log: Option<PathBuf>,
    /// How long Envoy waits for the gate before it refuses a request.
    pub authz_timeout: Duration,
}

/// What becomes of connections to whatever is no part of the mesh.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum OutboundMode {
    /// They pass as they are.
    #[default]
    Any,
    /// They are refused.
    MeshOnly,
}

/// The address families of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Families {
    V4,
    V6,
    Both,
}

impl Families {
    /// Those of at least one address; without any, nothing is left out.
    pub(super) fn of(addresses: &[IpAddr]) -> Self {
        let v4 = addresses.iter().any(IpAddr::is_ipv4);
        let v6 = addresses.iter().any(IpAddr::is_ipv6);
        match (v4, v6) {
            (true, false) => Self::V4,
            (false, true) => Self::V6,
            (true, true) | (false, false) => Self::Both,
        }
    }

    /// The main one of two addresses, and the other if it is of use.
    pub(super) fn pick<T>(self, v4: T, v6: T) -> (T, Option<T>) {
        match self {
            Self::V4 => (v4, None),
            Self::V6 => (v6, None),
            Self::Both => (v4, Some(v6)),
        }
    }
}
