//! Against a real Kubernetes API server.

mod attestation;
mod authority;
mod crds;
mod objects;
mod reviews;
