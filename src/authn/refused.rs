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
    /// Its header's `typ` is none that its provider's tokens may have.
    #[error("the token's typ is none that its provider's tokens may have")]
    Type,
    /// Its header has a member that a JWT-SVID must not have.
    #[error("the token's header has more than alg, kid and typ, which no JWT-SVID has")]
    HeaderMember,
    /// It was made for an API that is not ours, and nobody else can verify it.
    #[error("the token is for {0}")]
    AnotherApi(OtherApi),
    /// Its `alg` is `none`, unknown, or not among those of its provider.
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
    /// The provider's keys are older than they may be used without a fetch.
    #[error("the provider's keys were not fetched for too long")]
    KeysStale,
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
    /// It has no `iat`, and its age is bounded.
    #[error("the token does not say when it was issued (no iat)")]
    MissingIssuedAt,
    /// Its `iat` is too long ago.
    #[error("the token is older than the provider's maxAge")]
    TooOld,
    /// A claim is missing that its provider's tokens must have.
    #[error("the token has no claim {0}, which is required")]
    RequiredClaimMissing(String),
    /// A claim is not what it must be in its provider's tokens.
    #[error("the token's claim {0} is none of the required values")]
    RequiredClaimOther(String),
    /// It has a claim that marks tokens of another kind.
    #[error("the token's claim {0} marks it as one that is refused")]
    RefusedClaim(String),
    /// It is bound to a key in a way that cannot be checked.
    #[error("the token is bound to a key in an unknown way (cnf)")]
    ConfirmationUnknown,
    /// None of the provider's audiences stands where its tokens name theirs.
    #[error("the token is for another audience")]
    WrongAudience,
    /// It has no `sub`, or an empty one.
    #[error("the token has no subject")]
    MissingSubject,
    /// Its subject is no SPIFFE ID of the provider's trust domain.
    #[error("the token's subject is no SPIFFE ID of the provider's trust domain")]
    SubjectNotAllowed,
    /// A claim has a type or a value that cannot be read.
    #[error("the token's claim {0} cannot be read")]
    InvalidClaim(String),
}

/// An API whose tokens look like ours and are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OtherApi {
    /// Microsoft Graph.
    #[error("Microsoft Graph")]
    MicrosoftGraph,
    /// The APIs of Okta itself.
    #[error("Okta's own APIs")]
    OktaOrganization,
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

    pub(super) fn provider_name(&self) -> Option<&Arc<str>> {
        self.provider.as_ref()
    }

    /// A stable name of the fault.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.fault.code()
    }

    /// What to do about it, where there is a next step.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        self.fault.hint()
    }
}

impl From<TokenFault> for TokenRefused {
    fn from(fault: TokenFault) -> Self {
        Self { fault, provider: None }
    }
}

impl TokenFault {
    /// True when the same token would be refused for it again: neither time nor news changes it.
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            Self::KeysUnavailable
            | Self::KeysStale
            | Self::UnknownKey
            | Self::NotYetValid
            | Self::IssuedInFuture => false,
            Self::TooLong
            | Self::Opaque
            | Self::Malformed(_)
            | Self::Encrypted
            | Self::Nested
            | Self::CriticalExtension
            | Self::UnencodedPayload
            | Self::Type
            | Self::HeaderMember
            | Self::AnotherApi(_)
            | Self::Algorithm
            | Self::MissingIssuer
            | Self::UnknownIssuer
            | Self::KeyMismatch
            | Self::BadSignature
            | Self::MissingExpiry
            | Self::Expired
            | Self::MissingIssuedAt
            | Self::TooOld
            | Self::RequiredClaimMissing(_)
            | Self::RequiredClaimOther(_)
            | Self::RefusedClaim(_)
            | Self::ConfirmationUnknown
            | Self::WrongAudience
            | Self::MissingSubject
            | Self::SubjectNotAllowed
            | Self::InvalidClaim(_) => true,
        }
    }

    /// True when it looks like guessing: nobody who asked an issuer for a token gets one like this.
    pub(super) fn is_guess(&self) -> bool {
        match self {
            Self::Malformed(_)
            | Self::CriticalExtension
            | Self::UnencodedPayload
            | Self::Algorithm
            | Self::UnknownKey
            | Self::KeyMismatch
            | Self::BadSignature => true,
            Self::KeysUnavailable
            | Self::KeysStale
            | Self::NotYetValid
            | Self::IssuedInFuture
            | Self::TooLong
            | Self::Opaque
            | Self::Encrypted
            | Self::Nested
            | Self::Type
            | Self::HeaderMember
            | Self::AnotherApi(_)
            | Self::MissingIssuer
            | Self::UnknownIssuer
            | Self::MissingExpiry
            | Self::Expired
            | Self::MissingIssuedAt
            | Self::TooOld
            | Self::RequiredClaimMissing(_)
            | Self::RequiredClaimOther(_)
            | Self::RefusedClaim(_)
            | Self::ConfirmationUnknown
            | Self::WrongAudience
            | Self::MissingSubject
            | Self::SubjectNotAllowed
            | Self::InvalidClaim(_) => false,
        }
    }

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
            Self::HeaderMember => "header_member_not_allowed",
            Self::AnotherApi(_) => "token_for_another_api",
            Self::Algorithm => "algorithm_not_allowed",
            Self::MissingIssuer => "missing_issuer",
            Self::UnknownIssuer => "unknown_issuer",
            Self::KeysUnavailable => "keys_unavailable",
            Self::KeysStale => "keys_stale",
            Self::UnknownKey => "unknown_key",
            Self::KeyMismatch => "key_not_for_algorithm",
            Self::BadSignature => "bad_signature",
            Self::MissingExpiry => "missing_expiry",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::IssuedInFuture => "issued_in_future",
            Self::MissingIssuedAt => "missing_issued_at",
            Self::TooOld => "token_too_old",
            Self::RequiredClaimMissing(_) => "required_claim_missing",
            Self::RequiredClaimOther(_) => "required_claim_other",
            Self::RefusedClaim(_) => "refused_claim",
            Self::ConfirmationUnknown => "confirmation_unknown",
            Self::WrongAudience => "wrong_audience",
            Self::MissingSubject => "missing_subject",
            Self::SubjectNotAllowed => "subject_not_allowed",
            Self::InvalidClaim(_) => "invalid_claim",
        }
    }

    /// What to do about it, where there is a next step.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::AnotherApi(OtherApi::MicrosoftGraph) => {
                Some("the client must ask for a scope of your own API, not for one of Graph")
            }
            Self::AnotherApi(OtherApi::OktaOrganization) => Some(
                "the client must ask a custom authorization server: its issuer ends in /oauth2/..",
            ),
            Self::WrongAudience => Some(
                "the client must ask for a token for this service, or `audiences` lacks a name",
            ),
            _ => None,
        }
    }
}
