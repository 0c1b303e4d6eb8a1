//! Pure: from workloads and identities to Envoy configuration, in two forms.
//!
//! **Doors.** [`Config`] is what a person writes, [`Mesh`] is the same after every check, and [`bootstrap()`] turns it into an
//! Envoy bootstrap that is complete in itself: listeners and clusters are static, secrets come from the sidecar. Traffic is
//! not captured: callers dial the listener of their sidecar, and inbound traffic goes to one fixed address of the
//! application.
//!
//! **Captured.** All TCP traffic of a pod passes through its Envoy, which hears of everything by aggregated discovery; see
//! [`captured`]. [`discovering_bootstrap`] is what that Envoy is started with, and [`Encoder`] writes what it hears.
//!
//! What cannot be built here, whatever the input:
//! - a TLS context of a client without the identities it accepts, without roots, or below TLS 1.3;
//! - an inbound TLS context that resumes sessions, or an inbound listener that passes what no filter chain matched;
//! - a listener towards an application without a question to the gate, or one that opens when the gate is down.

mod address;
mod body;
mod bootstrap;
mod callee;
pub mod capture;
pub mod captured;
mod cluster;
mod config;
mod encode;
mod fault;
mod http;
mod listener;
mod model;
mod peer_ids;
pub mod pod;
pub mod probe;
mod standing;
mod tls;

pub use address::{Endpoint, InvalidEndpoint, InvalidUpstream, Upstream};
pub use body::{LargerBody, RequestBody};
pub use bootstrap::{bootstrap, discovering_bootstrap, to_yaml};
pub use callee::Callee;
pub use config::{Config, EdgeConfig, InboundConfig, InvalidName, Name, OutboundConfig, Protocol};
pub use encode::{Encoder, NotEncodable, ResourceKind};
pub use fault::{Fault, InvalidMesh};
pub use model::{Edge, ForwardedCertificates, Inbound, Mesh, Outbound, Sidecar};
pub use peer_ids::PeerIds;
pub use standing::LONGEST_CONNECTION;
pub use tls::{ALL_ROOTS, OWN_CERTIFICATE, ROOTS};

#[cfg(test)]
mod tests;
