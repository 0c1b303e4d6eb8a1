//! Why evidence does not prove what it claims, or not yet.

use std::sync::Arc;
use std::time::Duration;

use super::api_key::ApiKeyRefused;
use super::dpop::DpopRefused;
use super::learned::Need;
use super::online::OnlineFault;
use super::peer::PeerRefused;
use super::place::CredentialProblem;
use super::refused::{TokenFault, TokenRefused};

/// There is no proof.
pub enum Unproven {
    /// And there will be none.
    Refused(Unauthenticated),
    /// These are to be asked first; never empty.
    Unknown(Vec<Need>),
}

/// Evidence was given and does not prove what it claims.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    /// The client certificate.
    #[error(transparent)]
    Peer(#[from] PeerRefused),
    /// What stands in the place of a credential.
    #[error(transparent)]
    Credentials(#[from] CredentialProblem),
    /// A token.
    #[error(transparent)]
    Token(#[from] TokenRefused),
    /// An API key.
    #[error("{refused} (provider {provider})")]
    ApiKey {
        /// Whose keys it was looked for among.
        provider: Arc<str>,
        /// What is wrong with it.
        refused: ApiKeyRefused,
    },
    /// The server that judges this credential says that it is no good.
    #[error("the server that was asked says that the credential is not active (provider {0})")]
    Inactive(Arc<str>),
    /// The server that judges this credential could not be asked.
    #[error("{fault} (provider {provider})")]
    NotJudged {
        /// Whose server.
        provider: Arc<str>,
        /// What went wrong.
        fault: OnlineFault,
    },
    /// The credential is bound to a key, or must be, and the proof of it is no good.
    #[error("{fault} (provider {provider})")]
    Confirmation {
        /// Whose rules demand it.
        provider: Arc<str>,
        /// What is wrong.
        fault: ConfirmationFault,
    },
    /// A client certificate and another credential of the client.
    #[error("the client shows a certificate and another credential")]
    TwoClients,
    /// Too many bad credentials came from this address, or like this one.
    #[error("too many bad credentials came from there, or were like this one")]
    Braked(Duration),
}

/// Why the holder of a credential did not prove that it is its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfirmationFault {
    /// It is bound to nothing, and the provider's rules demand it.
    #[error("the token is not bound to a key, which is demanded here")]
    Demanded,
    /// It came as one that is bound to a key, and is not.
    #[error("the token came under the scheme DPoP and is bound to no such key")]
    NotBound,
    /// It is bound to a key and came under another scheme (RFC 9449, section 7.1).
    #[error("the token is bound to a DPoP key and came under another scheme")]
    Scheme,
    /// The proof of possession.
    #[error(transparent)]
    Dpop(#[from] DpopRefused),
    /// It is bound to a certificate, and there is none.
    #[error("the token is bound to a client certificate, and there is none")]
    CertificateMissing,
    /// It is bound to another certificate.
    #[error("the token is bound to another client certificate")]
    CertificateMismatch,
}

impl ConfirmationFault {
    /// A stable name, for logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Demanded => "confirmation_demanded",
            Self::NotBound => "confirmation_not_bound",
            Self::Scheme => "confirmation_scheme",
            Self::Dpop(refused) => refused.code(),
            Self::CertificateMissing => "confirmation_certificate_missing",
            Self::CertificateMismatch => "confirmation_certificate_mismatch",
        }
    }
}

/// Whose fault a refusal is, which decides what the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The workload's: it is who it is.
    Peer,
    /// The credential's: another one may pass.
    Credential,
    /// Ours, or that of what we depend on: the same credential may pass later.
    Ours,
    /// The client's: it must wait.
    TooMany(Duration),
}

impl Unauthenticated {
    /// A stable name of the reason, for logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Peer(refused) => refused.code(),
            Self::Credentials(problem) => problem.code(),
            Self::Token(refused) => refused.code(),
            Self::ApiKey { refused, provider: _ } => refused.code(),
            Self::Inactive(_) => "credential_inactive",
            Self::NotJudged { fault, provider: _ } => fault.code(),
            Self::Confirmation { fault, provider: _ } => fault.code(),
            Self::TwoClients => "credentials_ambiguous",
            Self::Braked(_) => "too_many_bad_credentials",
        }
    }

    /// The provider under whose rules it was refused, where there is one. The credential is not proven to be from it.
    #[must_use]
    pub fn provider(&self) -> Option<&str> {
        match self {
            Self::Token(refused) => refused.provider(),
            Self::ApiKey { provider, refused: _ }
            | Self::Inactive(provider)
            | Self::NotJudged { provider, fault: _ }
            | Self::Confirmation { provider, fault: _ } => Some(provider),
            Self::Peer(_) | Self::Credentials(_) | Self::TwoClients | Self::Braked(_) => None,
        }
    }

    /// What to do about it, where there is a next step.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Token(refused) => refused.hint(),
            Self::Peer(_)
            | Self::Credentials(_)
            | Self::ApiKey { .. }
            | Self::Inactive(_)
            | Self::NotJudged { .. }
            | Self::Confirmation { .. }
            | Self::TwoClients
            | Self::Braked(_) => None,
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::Peer(_) => Blame::Peer,
            Self::Token(refused) => match refused.fault() {
                TokenFault::KeysUnavailable | TokenFault::KeysStale => Blame::Ours,
                _other => Blame::Credential,
            },
            Self::NotJudged { .. } => Blame::Ours,
            Self::Confirmation {
                fault: ConfirmationFault::Dpop(DpopRefused::Overloaded),
                provider: _,
            } => Blame::Ours,
            Self::Braked(pause) => Blame::TooMany(*pause),
            Self::Credentials(_)
            | Self::ApiKey { .. }
            | Self::Inactive(_)
            | Self::Confirmation { .. }
            | Self::TwoClients => Blame::Credential,
        }
    }

    /// True when it looks like guessing: an honest client seldom sends such a credential twice.
    pub(super) fn is_guess(&self) -> bool {
        match self {
            Self::Token(refused) => refused.fault().is_guess(),
            Self::ApiKey { refused, provider: _ } => match refused {
                ApiKeyRefused::Malformed | ApiKeyRefused::Unknown => true,
                ApiKeyRefused::Expired { .. } => false,
            },
            Self::Inactive(_) => true,
            Self::Peer(_)
            | Self::Credentials(_)
            | Self::NotJudged { .. }
            | Self::Confirmation { .. }
            | Self::TwoClients
            | Self::Braked(_) => false,
        }
    }
}

impl From<Unauthenticated> for Unproven {
    fn from(refused: Unauthenticated) -> Self {
        Self::Refused(refused)
    }
}

impl From<TokenRefused> for Unproven {
    fn from(refused: TokenRefused) -> Self {
        Self::Refused(refused.into())
    }
}

impl From<PeerRefused> for Unproven {
    fn from(refused: PeerRefused) -> Self {
        Self::Refused(refused.into())
    }
}

impl From<CredentialProblem> for Unproven {
    fn from(problem: CredentialProblem) -> Self {
        Self::Refused(problem.into())
    }
}

/// Shows what is missing, not the credentials.
impl std::fmt::Debug for Unproven {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(refused) => f.debug_tuple("Refused").field(refused).finish(),
            Self::Unknown(needs) => f.debug_tuple("Unknown").field(&needs.len()).finish(),
        }
    }
}
