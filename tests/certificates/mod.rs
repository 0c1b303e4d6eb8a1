//! The certificate authority, its signing server and the renewal of a workload's certificate.

mod authority;
mod crowd;
mod faults;
mod foreign;
pub mod impostor;
mod lint;
mod minting;
pub mod parts;
mod renewal;
mod requests;
mod revoked;
mod rotation;
mod rotation_killed;
mod signing;
mod sources;
mod supplied;
mod tokens;
