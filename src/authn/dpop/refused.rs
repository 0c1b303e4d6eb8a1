//! Why a proof is refused. No text here holds anything of the proof or of the token.

/// A proof of possession was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DpopRefused {
    /// There is no proof.
    #[error("the token is bound to a key, and there is no DPoP proof")]
    Missing,
    /// There are several.
    #[error("there is more than one DPoP proof")]
    Ambiguous,
    /// It is no compact JWS of the kind, or a member that must be there is not.
    #[error("the DPoP proof is malformed: {0}")]
    Malformed(&'static str),
    /// Its `alg` is not one of [`super::DPOP_ALGORITHMS`].
    #[error("the DPoP proof's algorithm is not allowed")]
    Algorithm,
    /// Its `jwk` is no public key that may sign proofs.
    #[error("the DPoP proof's key is refused: {0}")]
    Key(String),
    /// Its key did not make its signature.
    #[error("the DPoP proof's signature is wrong")]
    Signature,
    /// Its `htm` is not the method.
    #[error("the DPoP proof is for another method")]
    Method,
    /// Its `htu` is not where the request went.
    #[error("the DPoP proof is for another address")]
    Uri,
    /// Too much time has passed since its `iat`, or its own `exp` has.
    #[error("the DPoP proof is too old")]
    Stale,
    /// Its `iat` is still to come, or its own `nbf` is.
    #[error("the DPoP proof is from the future")]
    Future,
    /// Its `ath` is not the hash of the token.
    #[error("the DPoP proof is for another token")]
    TokenMismatch,
    /// Its key is not the one that the token is bound to.
    #[error("the token is bound to another key than that of the DPoP proof")]
    KeyMismatch,
    /// It has no nonce.
    #[error("the DPoP proof has no nonce")]
    NonceMissing {
        /// For the header `DPoP-Nonce` of the answer.
        fresh: String,
    },
    /// Its nonce is not ours, or too old.
    #[error("the DPoP proof's nonce is not ours or too old")]
    NonceStale {
        /// For the header `DPoP-Nonce` of the answer.
        fresh: String,
    },
    /// It was used before.
    #[error("the DPoP proof was used before")]
    Replayed,
    /// There is no room to remember it by, so a replay could not be told.
    #[error("too many DPoP proofs are remembered already")]
    Overloaded,
}

impl DpopRefused {
    /// A stable name, for logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "dpop_missing",
            Self::Ambiguous => "dpop_ambiguous",
            Self::Malformed(_) => "dpop_malformed",
            Self::Algorithm => "dpop_algorithm",
            Self::Key(_) => "dpop_key",
            Self::Signature => "dpop_signature",
            Self::Method => "dpop_method",
            Self::Uri => "dpop_uri",
            Self::Stale => "dpop_stale",
            Self::Future => "dpop_future",
            Self::TokenMismatch => "dpop_token_mismatch",
            Self::KeyMismatch => "dpop_key_mismatch",
            Self::NonceMissing { .. } => "dpop_nonce_missing",
            Self::NonceStale { .. } => "dpop_nonce_stale",
            Self::Replayed => "dpop_replayed",
            Self::Overloaded => "dpop_overloaded",
        }
    }

    /// The `error` of the challenge `WWW-Authenticate: DPoP`. Nothing when the fault is ours: there is nothing that the
    /// client could do better, and the answer is a 503.
    #[must_use]
    pub fn challenge_error(&self) -> Option<&'static str> {
        match self {
            Self::NonceMissing { .. } | Self::NonceStale { .. } => Some("use_dpop_nonce"),
            Self::Overloaded => None,
            Self::Missing
            | Self::Ambiguous
            | Self::Malformed(_)
            | Self::Algorithm
            | Self::Key(_)
            | Self::Signature
            | Self::Method
            | Self::Uri
            | Self::Stale
            | Self::Future
            | Self::TokenMismatch
            | Self::KeyMismatch
            | Self::Replayed => Some("invalid_dpop_proof"),
        }
    }

    /// The nonce to send in the header `DPoP-Nonce`, where one would help.
    #[must_use]
    pub fn fresh_nonce(&self) -> Option<&str> {
        match self {
            Self::NonceMissing { fresh } | Self::NonceStale { fresh } => Some(fresh),
            Self::Missing
            | Self::Ambiguous
            | Self::Malformed(_)
            | Self::Algorithm
            | Self::Key(_)
            | Self::Signature
            | Self::Method
            | Self::Uri
            | Self::Stale
            | Self::Future
            | Self::TokenMismatch
            | Self::KeyMismatch
            | Self::Replayed
            | Self::Overloaded => None,
        }
    }
}
