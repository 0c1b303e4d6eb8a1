//! Evidence to principals: who is on the wire, and whose token the request carries.
//!
//! [`authenticate`] is the one way to [`Principals`]. It takes what Envoy saw of the client certificate and the places of
//! a request in which credentials stand, and either proves all of it or refuses. A request without any evidence is
//! anonymous; evidence that cannot be proven is never treated as if it were absent.
//!
//! It never waits. Keys are in [`Providers`] already, put there by [`KeyRefresh`], which fetches them in the background.
//! What only the network can tell is a [`Need`]: a [`Resolver`] asks, and the request is judged again with what was
//! [`Learned`].

#![warn(clippy::as_conversions)]

mod api_key;
mod brake;
mod brakes;
mod certificate;
mod claims;
mod confirmation;
mod dpop;
mod evidence;
mod files;
mod http;
mod keys;
mod learned;
mod memory;
mod online;
mod outbound;
mod peer;
mod place;
mod principals;
mod proof;
mod provider;
mod recent;
mod refresh;
mod refused;
mod resolver;
mod scheme;
mod token;
mod unproven;
mod verifier;

use crate::identity::json;

pub use api_key::{
    ApiKey, ApiKeyRefused, ApiKeys, InvalidApiKeys, NewApiKey, NewApiKeyError, generate_api_key,
};
pub use brake::{Brake, BrakeKey, BrakeRules};
pub use brakes::BrakesRules;
pub use certificate::{
    CertificateAuthority, CertificateRefused, ChainFault, Client, ClientAuthorities, InvalidAnchor,
    InvalidCertificateAuthority, ProvenClient, SubjectFrom,
};
pub use claims::{Cnf, User};
pub use dpop::{
    DPOP_ALGORITHMS, DpopGuard, DpopRefused, DpopRules, InvalidOrigin, NoRandomness, Origin,
    ProofInput, Scheme, certificate_thumbprint, x5t_matches,
};
pub use evidence::{Evidence, HttpEvidence, PeerEvidence};
pub use files::{FileMissing, Files};
pub use http::{ClientIdentity, HttpAnswer, HttpClient, HttpError, HttpOptions, Limits, Roots};
pub(crate) use json::object as json_object;
pub use json::{InvalidJson, document as json_document};
pub use keys::{InvalidKeySet, KeySet, SkipReason, SkippedKey};
pub use learned::{Learned, Need};
pub use online::{Asked, Known, Online, OnlineCounts, OnlineFault, Questions};
pub use outbound::{
    Bearer, GrantError, InvalidTarget, TargetAuth, TargetConfig, TargetHttp, TokenSource,
    TokenStatus, Tokens,
};
pub use peer::{
    Absent, Caller, ForwardFault, ForwardHeader, ForwardRules, ForwardTrust, InvalidForwardRules,
    OnTheWire, Peer, PeerRefused, ProxyRule, WireEvidence, WireRules, WorkloadRoots,
};
pub use place::{CredentialProblem, InvalidPlaces};
pub use principals::{PeerRules, Principals, authenticate};
pub use proof::{NoSteps, Outcome, Step, Steps, ToldSteps, inspect};
pub use provider::{CredentialNames, InvalidProvider, Providers};
pub use refresh::{
    Endpoints, FetchError, InvalidKeyStore, KeyFetch, KeyHandle, KeyHealth, KeyRefresh, KeyStatus,
    KeyStore, KeyUpdate, KeyWait, NobodyListens,
};
pub use refused::{Malformed, OtherApi, TokenFault, TokenRefused};
pub use resolver::Resolver;
pub use scheme::AuthScheme;
pub use token::MAX_TOKEN_LENGTH;
pub use unproven::{Blame, ConfirmationFault, Unauthenticated, Unproven};
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
