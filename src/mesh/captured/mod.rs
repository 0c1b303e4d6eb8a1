//! The configuration of an Envoy through which all TCP traffic of its pod passes, sent to it by aggregated discovery.
//!
//! [`CapturedWorkload`] and [`Service`] are what is known, [`Captured`] is the same after every check, and
//! [`Captured::resources`] turns it into listeners, routes, clusters and endpoints.
//!
//! What cannot be built here, whatever the input:
//! - a chain in front of the application without a question to the gate;
//! - a default chain of the inbound listener that passes anything on, or a chain for a port that was not declared;
//! - a TLS context without peers, without roots, below TLS 1.3, or with a session to come back to;
//! - a connection to the application that does not come from the escape address, or that goes to its loopback address;
//! - a listener filter that waits for the client of an outgoing connection to speak;
//! - plaintext to an endpoint that was not said to take plaintext.

mod check;
mod config;
mod endpoint;
mod inbound;
mod outbound;
mod port;
mod resources;
mod service;
mod upstream;
mod wire;
mod workload;

pub use check::{Captured, Withheld};
pub use config::{
    CaptureConfig, EndpointConfig, PortConfig, ServiceConfig, ServicePortConfig, ServicesFile,
    ServicesFrom,
};
pub use endpoint::{Readiness, ServiceEndpoint, Transport};
pub use port::{AppProtocol, Port, served};
pub use resources::{Resources, Unresolved};
pub use service::{Service, ServicePort};
pub use wire::InvalidService;
pub use workload::{CapturedWorkload, OutboundMode};

#[cfg(test)]
mod tests;
