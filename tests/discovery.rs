//! Discovery: the streams as a client sees them, the bootstrap, and a real Envoy that lives on both.

mod bootstrap;
mod proxies;
mod service;
mod streams;
mod workload;
