//! The certificate authority: who may have a certificate, and what stands in it.
//!
//! A certificate leaves this module only along one path: [`Attestor::attest`] proves who asks,
//! [`SigningRequest::parse`] takes the public key and nothing else from what they ask,
//! [`Authority::sign`] signs for the proven identity, and [`Unreleased::release`] burns the join token
//! before the certificate can be read.

#![warn(clippy::as_conversions)]

mod attest;
mod authority;
mod csr;
mod profile;
mod signer;
mod store;
mod token;

pub use attest::{AttestRefused, Attestation, Attested, Attestor, Credentials, is_reserved};
pub use authority::{
    Authority, AuthorityError, Issued, SignError, SuppliedFiles, Unreleased, Upkeep,
};
pub use csr::{InvalidRequest, SigningRequest};
pub use profile::{InvalidLifetime, Lifetime, ProfileError};
pub use store::StoreError;
pub use token::{
    InvalidWorkload, JoinToken, PendingToken, TokenError, TokenRefused, TokenStore, workload_id,
};
