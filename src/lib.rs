//! hopgate guards every hop of a distributed system.
//!
//! Beside each service runs an Envoy proxy and one `hopgate sidecar`. Before a request reaches the service the
//! sidecar knows which workload calls (its mTLS certificate, a SPIFFE ID), which end user it calls for (a verified
//! token), and whether the policy of this service allows the request.
//!
//! # Words
//!
//! - **peer**: the workload on the wire, known by its certificate.
//! - **user**: whoever the credential speaks for, a person or a machine.
//! - **client**: the program that calls for the user, where it shows a credential of its own.
//! - **claims**: what a verified token says of its user.
//! - **rule**: one named clause of an `AccessPolicy`.
//! - **verdict**: the outcome of one Check: a permit or a denial, with the revision that judged it.
//! - **bundle**: the trusted roots of a trust domain.
//! - **revocation**: what is no longer trusted although its credentials are still good, until when, why and by whom.
//! - **revision**: the name of one immutable snapshot of policies and keys.
//!
//! # Map
//!
//! Imports point down; `tests/architecture.rs` holds the table.
//!
//! ```text
//! 5  main -> cli
//! 4  cli -> anything below;  config -> the Config types of roots and services
//! 3  sidecar, control, demo, survey -> anything below
//! 2  authz, authn, certs, ca, revocation, mesh, xds, kube, admin
//! 1  policy -> identity
//! 0  runtime, telemetry, proto
//! ```

pub mod admin;
pub mod authn;
pub mod authz;
pub mod ca;
pub mod certs;
pub mod cli;
pub mod config;
pub mod control;
pub mod demo;
pub mod identity;
pub mod kube;
pub mod mesh;
pub mod policy;
pub mod proto;
pub mod revocation;
pub mod runtime;
pub mod sidecar;
pub mod survey;
pub mod telemetry;
pub mod xds;
