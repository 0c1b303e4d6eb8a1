//! The certificate authority: who may have a certificate, and what stands in it.
//!
//! A certificate leaves this module only along one path: [`Attestor::attest`] proves who asks,
//! [`SigningRequest::parse`] takes the public key and nothing else from what they ask,
//! [`Authority::sign`] signs for the proven identity, and [`Unreleased::release`] burns the join token
//! before the certificate can be read.
//!
//! An authority has generations of root, issuing key and JWT key, of which one signs. Whom to trust is announced
//! ([`Authority::trust`]); ask at each use, as it changes while the process runs.

#![warn(clippy::as_conversions)]

mod attest;
mod authority;
mod csr;
mod generation;
mod jwt;
mod profile;
pub mod rotation;
mod signer;
mod state;
mod store;
mod token;
mod vault;
mod verifier;

pub use attest::{AttestRefused, Attestation, Attested, Attestor, Credentials, is_reserved};
pub use authority::{
    Authority, AuthorityError, Issued, Reissue, SignError, SuppliedFiles, Trust, Unreleased, Upkeep,
};
pub use csr::{InvalidRequest, SigningRequest};
pub use jwt::{JwtSignError, JwtSigner};
pub use profile::{InvalidLifetime, Lifetime, ProfileError};
pub use state::{Change, IllegalStep, Order, Phase, Record, State, Step};
pub use store::StoreError;
pub use token::{
    InvalidWorkload, JoinToken, PendingToken, TokenError, TokenRefused, TokenStore, workload_id,
};
pub use vault::{Files, Found, Kept, OldFiles, Vault};
pub use verifier::FollowingVerifier;
