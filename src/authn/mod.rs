//! Evidence to principals: who is on the wire, and whose token the request carries.
//!
//! [`authenticate`] is the one way to [`Principals`]. It takes what Envoy saw of the client certificate and what
//! stands in the `Authorization` header, and either proves both or refuses. A request without any evidence is
//! anonymous; evidence that cannot be proven is never treated as if it were absent.
//!
//! Nothing here waits: keys are in [`Providers`] already, put there by [`KeyRefresh`], which fetches them in the
//! background.

#![warn(clippy::as_conversions)]

mod claims;
mod evidence;
mod json;
mod keys;
mod peer;
mod principals;
mod provider;
mod recent;
mod refresh;
mod refused;
mod token;
mod verifier;

pub use claims::User;
pub use evidence::{BearerProblem, Evidence, PeerEvidence, bearer};
pub use json::InvalidJson;
pub use keys::{InvalidKeySet, KeySet, SkipReason, SkippedKey};
pub use peer::{Peer, PeerRefused};
pub use principals::{Principals, Unauthenticated, authenticate};
pub use provider::{InvalidProvider, Providers};
pub use refresh::{FetchError, KeyHandle, KeyRefresh, KeyStatus, KeyUpdate, NobodyListens, Roots};
pub use refused::{Malformed, TokenFault, TokenRefused};
pub use token::MAX_TOKEN_LENGTH;
pub use verifier::Verifier;

/// SHA-256.
fn digest(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    let computed = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    // SHA-256 always has 32 bytes, so nothing is cut or left at zero.
    for (into, from) in digest.iter_mut().zip(computed.as_ref()) {
        *into = *from;
    }
    digest
}
