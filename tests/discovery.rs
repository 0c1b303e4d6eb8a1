//! Discovery: the streams as a client sees them, the bootstrap, and a real Envoy that lives on both.

mod bootstrap;
mod captured;
mod in_use;
mod proxies;
mod resumption;
pub mod service;
mod streams;
mod validation;
pub mod workload;
