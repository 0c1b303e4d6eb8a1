//! What is no longer trusted although its credentials are still good.
//!
//! A [`RevocationList`] is an immutable value: it is built aside, bounded, and replaced whole. Whoever decides asks it
//! with the time of the decision, so that a revocation ends at its own end and not when somebody sweeps. For now it
//! knows workloads; users and tokens are more variants of [`Subject`].
//!
//! It promises that nothing here widens access: a list that cannot be read whole is no list, and the last one stays.

#![warn(clippy::as_conversions)]

mod document;
mod entry;
mod knowledge;
mod list;
mod shelf;
mod store;
mod subject;

pub use document::{InvalidRevocation, RawKind, RawRevocation};
pub use entry::{InvalidWords, Revocation, Until, Words};
pub use knowledge::{Finding, Knowledge};
pub use list::{Certificate, MAX_REVOCATIONS, RevocationList, TooMany};
pub use shelf::{Edition, RevocationShelf};
pub use store::{RevocationError, RevocationStore, Revoked};
pub use subject::{InvalidSerial, RevokedWorkload, Serial, Subject};
