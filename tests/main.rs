//! Integration tests: one binary, so that the tree links once.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::too_many_lines,
    clippy::needless_pass_by_value,
    unreachable_pub,
    reason = "tests fail loudly and need no documentation of their items"
)]

mod architecture;
mod authentication;
mod better;
mod bodies;
mod capture;
mod cert;
mod certificates;
mod challenges;
mod chart;
mod check_path;
mod cli;
mod cluster;
mod codec;
mod credentials;
mod decisions;
mod directus;
mod discovery;
mod documents;
mod doors;
mod end_to_end;
mod engines;
mod examples;
mod explain;
mod federation;
mod fleet;
mod hostile;
mod http2;
mod import;
mod injection;
mod istio;
mod keycloak;
mod kubernetes;
mod lifecycle;
mod mesh;
mod mesh_policy;
mod node_auth;
mod outbound;
mod pod;
mod policies;
mod policy_tools;
mod presented;
mod recorded;
mod revocation;
mod servers;
mod spiffe_rules;
mod support;
mod through_envoy;
mod token;
mod tracing;
mod workload_api;
