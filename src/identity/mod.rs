//! Pure values: who a workload is, and what proves it.
//!
//! Nothing here reads a clock, a file or the network. Time is an argument.

#![warn(clippy::as_conversions)]

mod audiences;
mod bundle;
mod bundles;
pub mod json;
mod jwt_bundle;
mod jwt_svid;
mod key;
mod leaf;
mod members;
mod server;
mod signing;
mod spiffe_bundle;
mod spiffe_id;
mod svid;

pub use audiences::{Audiences, InvalidAudiences};
pub use bundle::{InvalidBundle, TrustBundle};
pub use bundles::Bundles;
pub use jwt_bundle::{InvalidJwtBundle, JwtBundle};
pub use jwt_svid::{InvalidJwtSvid, JwtSvid, UnverifiedJwtSvid};
pub use key::{InvalidKey, PrivateKey};
pub use leaf::{InvalidLeaf, Leaf};
pub use members::Members;
pub use server::{AnyServer, Judge, JudgedServer};
pub use signing::InvalidAuthority;
pub use spiffe_bundle::{Ignored, InvalidSpiffeBundle, KeyProblem, SpiffeBundle, WhyIgnored};
pub use spiffe_id::{InvalidSpiffeId, SpiffeId, TrustDomain};
pub use svid::{InvalidSvid, WorkloadIdentity, X509Svid, check_profile};
