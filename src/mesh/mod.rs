//! Pure: from workloads and identities to Envoy configuration.
//!
//! [`Config`] is what a person writes, [`Mesh`] is the same after every check, and [`bootstrap()`] turns it into an
//! Envoy bootstrap that is complete in itself: listeners and clusters are static, secrets come from the sidecar.
//!
//! What cannot be built here, whatever the input:
//! - a TLS context of a client without the identities it accepts, without roots, or below TLS 1.3;
//! - an inbound listener that takes plaintext, resumes sessions, or passes what no filter chain matched;
//! - a listener towards an application without a question to the gate, or one that opens when the gate is down.
//!
//! Traffic is not captured in this form: callers dial the listener of their sidecar. So inbound traffic goes to one
//! fixed address of the application, where a capturing proxy would use the original destination.

mod address;
mod body;
mod bootstrap;
mod callee;
mod cluster;
mod config;
mod fault;
mod http;
mod listener;
mod model;
mod peer_ids;
pub mod pod;
mod standing;
mod tls;

pub use address::{Endpoint, InvalidEndpoint, InvalidUpstream, Upstream};
pub use body::{LargerBody, RequestBody};
pub use bootstrap::{bootstrap, to_yaml};
pub use callee::Callee;
pub use config::{Config, EdgeConfig, InboundConfig, InvalidName, Name, OutboundConfig, Protocol};
pub use fault::{Fault, InvalidMesh};
pub use model::{Edge, ForwardedCertificates, Inbound, Mesh, Outbound, Sidecar};
pub use peer_ids::PeerIds;
pub use standing::LONGEST_CONNECTION;
pub use tls::{ALL_ROOTS, OWN_CERTIFICATE, ROOTS};

#[cfg(test)]
mod tests;
