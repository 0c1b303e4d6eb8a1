//! Why a token is refused: what the operator reads, and a stable code for logs and metrics.

use std::sync::Arc;

use super::json::InvalidJson;

/// A token was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}{}", .provider.as_deref().map(|p| format!(" (provider {p})")).unwrap_or_default())]
pub struct TokenRefused {
    fault: TokenFault,
    provider: Option<Arc<str>>,
}

/// What is wrong with a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// It is longer than what is read at all.
    #[error("the token is longer than {} bytes", super::MAX_TOKEN_LENGTH)]
    TooLong,
    /// It has no dots: an opaque token, which only its issuer can read.
    #[error("the token is opaque, no JWT")]
    Opaque,
    /// It is no compact JWS.
    #[error("the token is malformed: {0}")]
    Malformed(Malformed),
    /// It is a JWE, or its payload is compressed.
    #[error("the token is encrypted or compressed")]
    Encrypted,
    /// Its payload is another token.
    #[error("the token holds another token")]
    Nested,
    /// Its header has `crit`.
    #[error("the token demands an extension (crit)")]
    CriticalExtension,
    /// Its header has `b64`.
    #[error("the token has an unencoded payload (b64)")]
    UnencodedPayload,
    /// Its header's `typ` is not that of an access token.
    #[error("the token's typ is neither JWT nor at+jwt")]
    Type,
    /// Its `alg` is `none`, a MAC, unknown, or not among those of its provider.
    #[error("the token's algorithm is not allowed")]
    Algorithm,
    /// It has no `iss`.
    #[error("the token names no issuer")]
    MissingIssuer,
    /// No provider has its issuer.
    #[error("no provider has the token's issuer")]
    UnknownIssuer,
    /// The provider's keys were never fetched.
    #[error("the provider's keys are not known yet")]
    KeysUnavailable,
    /// Its `kid` names no usable key, or without `kid` no key fits its algorithm.
    #[error("no usable key of the provider fits the token")]
    UnknownKey,
    /// Its key is for other algorithms.
    #[error("the token's key is not for its algorithm")]
    KeyMismatch,
    /// No fitting key made its signature.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// It has no `exp`.
    #[error("the token never expires (no exp)")]
    MissingExpiry,
    /// Its `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// Its `nbf` is still to come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Its `iat` is still to come.
    #[error("the token was issued in the future")]
    IssuedInFuture,
    /// None of the provider's audiences stands in its `aud`.
    #[error("the token is for another audience")]
    WrongAudience,
    /// It has no `sub`, or an empty one.
    #[error("the token has no subject")]
    MissingSubject,
    /// A claim has a type or a value that cannot be read.
    #[error("the token's claim {0} cannot be read")]
    InvalidClaim(String),
}

/// Why a text is no compact JWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not three parts.
    #[error("it has not three parts")]
    Parts,
    /// A part is not canonical base64url without padding.
    #[error("a part is not canonical base64url")]
    Base64,
    /// The header cannot be read.
    #[error("its header {0}")]
    Header(InvalidJson),
    /// A member of the header is missing or has the wrong type.
    #[error("its header member {0:?} is missing or no text")]
    HeaderMember(&'static str),
    /// The payload cannot be read.
    #[error("its payload {0}")]
    Payload(InvalidJson),
}

impl TokenRefused {
    /// Refused by the rules of this provider.
    pub(super) fn by(provider: &Arc<str>, fault: TokenFault) -> Self {
        Self { fault, provider: Some(Arc::clone(provider)) }
    }

    /// What is wrong.
    #[must_use]
    pub fn fault(&self) -> &TokenFault {
        &self.fault
    }

    /// The provider whose issuer the token names, where there is one. The token is not proven to be from it.
    #[must_use]
    pub fn provider(&self) -> Option<&str> {
        self.provider.as_deref()
    }

    /// A stable name of the fault.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.fault.code()
    }
}

impl From<TokenFault> for TokenRefused {
    fn from(fault: TokenFault) -> Self {
        Self { fault, provider: None }
    }
}

impl TokenFault {
    /// A stable name of the fault, for logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong => "token_too_long",
            Self::Opaque => "token_opaque",
            Self::Malformed(_) => "token_malformed",
            Self::Encrypted => "token_encrypted",
            Self::Nested => "token_nested",
            Self::CriticalExtension => "critical_extension",
            Self::UnencodedPayload => "unencoded_payload",
            Self::Type => "token_type_not_allowed",
            Self::Algorithm => "algorithm_not_allowed",
            Self::MissingIssuer => "missing_issuer",
            Self::UnknownIssuer => "unknown_issuer",
            Self::KeysUnavailable => "keys_unavailable",
            Self::UnknownKey => "unknown_key",
            Self::KeyMismatch => "key_not_for_algorithm",
            Self::BadSignature => "bad_signature",
            Self::MissingExpiry => "missing_expiry",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::IssuedInFuture => "issued_in_future",
            Self::WrongAudience => "wrong_audience",
            Self::MissingSubject => "missing_subject",
            Self::InvalidClaim(_) => "invalid_claim",
        }
    }
}
