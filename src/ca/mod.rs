//! The certificate authority: who may have a certificate, and what stands in it.
//!
//! A certificate leaves this module only along one path: [`Attestor::attest`] proves who asks,
//! [`SigningRequest::parse`] takes the public key and nothing else from what they ask,
//! [`Authority::sign`] signs for the proven identity, and [`Unreleased::release`] burns the join token
//! before the certificate can be read.
//!
//! A token leaves it along another: [`Attestor::holder`] proves who holds a certificate, and [`Authority::mint`] signs for it.
//!
//! An authority has generations of root, issuing key and JWT key, of which one signs. Whom to trust is announced
//! ([`Authority::trust`]); ask at each use, as it changes while the process runs.

#![warn(clippy::as_conversions)]

mod any_authority;
mod attest;
mod authority;
mod csr;
mod dns_names;
mod enrolment;
mod generation;
mod jwt;
mod profile;
pub mod rotation;
mod service_account;
mod signer;
mod state;
mod store;
mod supplied;
mod token;
mod vault;
mod verifier;
mod x509_proof;

pub use attest::{
    AttestRefused, Attestation, Attested, Attestor, Credentials, Holder, Token, is_reserved,
};
pub use authority::{
    Authority, AuthorityError, Enrolled, Issued, MintError, MintedJwtSvid, Opened, Reissue,
    SignError, Trust, Unreleased, Upkeep, Waiting,
};
pub use csr::{InvalidRequest, SigningRequest};
pub use dns_names::{DnsNames, InvalidNames, WorkloadNames};
pub use enrolment::{Enrolment, SignedChain, SigningOrder, Terms};
pub use jwt::{InvalidJwtLifetime, JwtLifetime, JwtSignError, JwtSigner};
pub use profile::{InvalidLifetime, Lifetime, ProfileError};
pub use service_account::{AccountName, BoundTo, PodNow, ServiceAccountRefused, TokenFacts};
pub use state::{Change, IllegalStep, Order, Phase, Record, State, Step};
pub use store::StoreError;
pub use supplied::SuppliedFiles;
pub use token::{
    InvalidWorkload, JoinToken, KeptToken, PendingToken, TokenError, TokenRecord, TokenRefused,
    TokenShelf, TokenStore, Use, Was, workload_id,
};
pub use vault::{Files, Found, Kept, OldFiles, Vault, Version};
pub use verifier::FollowingVerifier;
pub use x509_proof::{
    ForeignAuthority, InvalidX509Proof, SubjectAttribute, X509Mapping, X509Name, X509Problem,
    X509Proof, X509Refused,
};
