//! The one way from evidence to principals.

use std::sync::Arc;
use std::time::SystemTime;

use crate::identity::TrustDomain;

use super::claims::User;
use super::evidence::{BearerProblem, Evidence, PeerEvidence};
use super::peer::{Peer, PeerRefused};
use super::provider::Providers;
use super::refused::TokenRefused;
use super::verifier::Verifier;

/// Who is proven to be calling. Only [`authenticate`] makes one, so holding it is the proof.
#[derive(Debug)]
pub struct Principals {
    peer: Option<Arc<Peer>>,
    user: Option<Arc<User>>,
}

impl Principals {
    /// The workload on the wire; nothing without a client certificate.
    #[must_use]
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_deref()
    }

    /// Whoever the token speaks for; nothing without a token.
    #[must_use]
    pub fn user(&self) -> Option<&User> {
        self.user.as_deref()
    }
}

/// Evidence was given and does not prove what it claims.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    /// The client certificate.
    #[error(transparent)]
    Peer(#[from] PeerRefused),
    /// The `Authorization` header.
    #[error(transparent)]
    Credentials(#[from] BearerProblem),
    /// The token in it.
    #[error(transparent)]
    Token(#[from] TokenRefused),
}

impl Unauthenticated {
    /// A stable name of the reason, for logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Peer(refused) => refused.code(),
            Self::Credentials(problem) => problem.code(),
            Self::Token(refused) => refused.code(),
        }
    }

    /// The provider whose issuer the token names, where there is one. The token is not proven to be from it.
    #[must_use]
    pub fn provider(&self) -> Option<&str> {
        match self {
            Self::Peer(_) | Self::Credentials(_) => None,
            Self::Token(refused) => refused.provider(),
        }
    }
}

/// Proves the peer and the user of a request. Evidence that is absent proves nobody; evidence that cannot be proven
/// is refused, never taken as absent.
///
/// # Errors
/// When there is evidence that proves nothing; the peer is judged first.
pub fn authenticate(
    verifier: &Verifier,
    providers: &Providers,
    peer: PeerEvidence<'_>,
    token: Evidence<'_>,
    domain: &TrustDomain,
    now: SystemTime,
) -> Result<Principals, Unauthenticated> {
    let peer = if peer.principal.is_empty() && peer.certificate.is_empty() {
        None
    } else {
        Some(verifier.peer(peer.principal, peer.certificate, domain, now)?)
    };
    let user = match token {
        Evidence::None => None,
        Evidence::Unreadable(problem) => return Err(problem.into()),
        Evidence::Bearer(token) => Some(verifier.user(token, providers, now)?),
    };
    Ok(Principals { peer, user })
}
