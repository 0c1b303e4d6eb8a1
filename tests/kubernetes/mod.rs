//! Against a real Kubernetes API server.

mod attestation;
mod crds;
mod reviews;
