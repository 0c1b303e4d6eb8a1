//! Against a real Kubernetes API server.

mod attestation;
mod reviews;
