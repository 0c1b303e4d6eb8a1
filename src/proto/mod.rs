//! The wire: protobuf messages that `envoy-types` does not carry, and for what is on every request's path a lean codec of
//! the one message, and HTTP/2 for the one method.

pub mod answer;
pub mod check;
pub mod http2;
mod wire;

pub use wire::WireError;

/// The descriptors of the part of Envoy's API that is sent to it (see `proto/envoy`), as a `FileDescriptorSet`.
pub const ENVOY_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/envoy.bin"));

/// `istio.v1.auth`: the certificate signing contract (see `proto/istio_ca.proto`).
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod istio {
    tonic::include_proto!("istio.v1.auth");
}

/// `hopgate.discovery.v1`: what the control plane tells its sidecars (see `proto/hopgate_discovery.proto`).
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod discovery {
    tonic::include_proto!("hopgate.discovery.v1");
}

/// `hopgate.identity.v1`: what a workload gets beside its certificate (see `proto/hopgate_identity.proto`).
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod identity {
    tonic::include_proto!("hopgate.identity.v1");
}

/// The SPIFFE Workload API, which has no package (see `proto/workload.proto`).
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::too_many_lines,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod workload {
    tonic::include_proto!("_");
}
