//! The SPIFFE Workload API: the protocol as a bare client sees it, and clients that nobody here wrote.

mod clients;
mod endpoint;
mod impostor;
mod minted;
mod protocol;
mod seen;
mod source;
mod streams;
mod tokens;
