//! Against a real Kubernetes API server.

mod attestation;
mod authority;
mod cert_manager;
mod crds;
mod gateway;
mod objects;
mod replicas;
mod resources;
mod reviews;
mod rotation;
mod services;
mod signer;
mod webhooks;
