//! Why a caller gets no certificate and no token: for the log exactly, for the caller in short and stable words.

use std::error::Error as _;
use std::time::Duration;

use tonic::Status;

use crate::ca::{
    AttestRefused, InvalidRequest, MintError, ServiceAccountRefused, SignError, TokenRefused,
    X509Refused,
};
use crate::identity::{InvalidAudiences, SpiffeId};
use crate::revocation::{RevokedWorkload, Subject};

use super::attest::NotLearned;
use super::limits::come_again;
use super::signing_metrics::Outcome;
use super::turns::Shed;

/// The API server is left alone for about this long after failures.
const REVIEW_AGAIN: Duration = Duration::from_secs(2);

/// Why a caller gets no certificate, or no token.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("unreadable authorization header")]
    Authorization,
    #[error(transparent)]
    Attest(#[from] AttestRefused),
    #[error(transparent)]
    NotLearned(#[from] NotLearned),
    #[error(transparent)]
    Request(#[from] InvalidRequest),
    #[error("validity_duration {0} is negative")]
    Duration(i64),
    #[error("the request's metadata asks for another identity")]
    Impersonation,
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error(transparent)]
    Token(#[from] TokenRefused),
    #[error(transparent)]
    Audiences(#[from] InvalidAudiences),
    #[error(transparent)]
    Mint(#[from] MintError),
    #[error("{shed}; limits.waiting and limits.waitingPerNamespace bound them")]
    Shed { shed: Shed, after: Duration },
    #[error("{id} asks more often than limits.perWorkload lets it")]
    TooOften { id: SpiffeId, after: Duration },
    #[error("this replica is out of touch with the others, and does not know what is agreed")]
    OutOfTouch,
    #[error("the signing task panicked")]
    Panicked,
}

impl Refused {
    /// What is counted.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Authorization | Self::Attest(_) => Outcome::Unproven,
            Self::NotLearned(NotLearned::Refused(_)) => Outcome::Unproven,
            Self::NotLearned(NotLearned::Review(_)) => Outcome::Unavailable,
            Self::Token(TokenRefused::Unreadable(_)) => Outcome::Unavailable,
            Self::Token(_) => Outcome::Unproven,
            Self::Request(_)
            | Self::Duration(_)
            | Self::Impersonation
            | Self::Audiences(_)
            | Self::Sign(SignError::Request(_)) => Outcome::Unfit,
            Self::Sign(SignError::Authority(_))
            | Self::Mint(_)
            | Self::OutOfTouch
            | Self::Panicked => Outcome::Unavailable,
            Self::Shed { .. } => Outcome::Shed,
            Self::TooOften { .. } => Outcome::TooOften,
        }
    }

    /// What the caller is told; `what` is said in the log.
    pub(super) fn into_status(self, what: &'static str) -> Status {
        let cause = self.source().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(error = %self, cause, "{what}");
        match self {
            Self::Authorization => Status::unauthenticated("unreadable authorization header"),
            Self::Attest(refused) => attest_status(&refused),
            Self::NotLearned(NotLearned::Refused(refused)) => account_status(&refused),
            Self::NotLearned(NotLearned::Review(_)) => come_again(
                Status::unavailable("service-account token cannot be reviewed now"),
                REVIEW_AGAIN,
            ),
            Self::Request(refused) | Self::Sign(SignError::Request(refused)) => {
                request_status(&refused)
            }
            Self::Duration(_) => Status::invalid_argument("validity_duration is negative"),
            Self::Impersonation => {
                Status::permission_denied("the request asks for another identity")
            }
            Self::Sign(SignError::Authority(_)) | Self::Mint(_) => {
                Status::unavailable("cannot sign now")
            }
            Self::Audiences(refused) => Status::invalid_argument(refused.to_string()),
            Self::Token(refused) => token_status(&refused),
            Self::Shed { shed: Shed::Lane, after } => come_again(
                Status::resource_exhausted("too many requests of this namespace, try again later"),
                after,
            ),
            Self::Shed { shed: Shed::All | Shed::Patience, after } => {
                come_again(Status::unavailable("too many requests, try again later"), after)
            }
            Self::TooOften { after, .. } => come_again(
                Status::resource_exhausted("this workload asks too often, try again later"),
                after,
            ),
            Self::OutOfTouch => come_again(
                Status::unavailable("this replica of the control plane is out of touch"),
                REVIEW_AGAIN,
            ),
            Self::Panicked => Status::internal("signing failed"),
        }
    }
}

fn attest_status(refused: &AttestRefused) -> Status {
    match refused {
        AttestRefused::NoCredentials => {
            Status::unauthenticated("a token or a client certificate is needed")
        }
        AttestRefused::NoCertificate => Status::unauthenticated("a client certificate is needed"),
        AttestRefused::ForeignAuthority => {
            Status::unauthenticated("a client certificate of this mesh is needed")
        }
        AttestRefused::Token(refused) => token_status(refused),
        AttestRefused::ServiceAccount(refused) => account_status(refused),
        AttestRefused::X509(refused) => x509_status(refused),
        AttestRefused::Certificate(_) => Status::unauthenticated("client certificate not trusted"),
        AttestRefused::Leaf(_) | AttestRefused::Foreign => {
            Status::permission_denied("client certificate names no workload of this trust domain")
        }
        AttestRefused::Disagree => {
            Status::permission_denied("token and certificate name different workloads")
        }
        AttestRefused::Reserved => Status::permission_denied("this identity is reserved"),
        AttestRefused::Revoked(Subject::Workload(RevokedWorkload { id: _, serial: None })) => {
            Status::permission_denied("this workload is revoked")
        }
        AttestRefused::Revoked(Subject::Workload(RevokedWorkload { id: _, serial: Some(_) })) => {
            Status::permission_denied("this certificate is revoked; a token is needed")
        }
    }
}

fn token_status(refused: &TokenRefused) -> Status {
    match refused {
        TokenRefused::Malformed => Status::unauthenticated("not a join token"),
        TokenRefused::Unknown | TokenRefused::Foreign => {
            Status::unauthenticated("join token unknown")
        }
        TokenRefused::AlreadyUsed => Status::unauthenticated("join token already used"),
        TokenRefused::Expired => Status::unauthenticated("join token expired"),
        TokenRefused::Unreadable(_) => Status::unavailable("join token cannot be checked now"),
    }
}

fn account_status(refused: &ServiceAccountRefused) -> Status {
    match refused {
        ServiceAccountRefused::NotTaken
        | ServiceAccountRefused::Unauthenticated
        | ServiceAccountRefused::Audience
        | ServiceAccountRefused::NoAccount
        | ServiceAccountRefused::NotBound
        | ServiceAccountRefused::NoPod
        | ServiceAccountRefused::OtherPod
        | ServiceAccountRefused::Ending
        | ServiceAccountRefused::OtherAccount => Status::unauthenticated(refused.to_string()),
        ServiceAccountRefused::SpiffeId(_) => {
            Status::permission_denied("the service account can have no SPIFFE ID")
        }
    }
}

/// Without the name of the foreign authority, which is the operator's.
fn x509_status(refused: &X509Refused) -> Status {
    match refused {
        X509Refused::NotTrusted { .. } => Status::unauthenticated("client certificate not trusted"),
        X509Refused::NoClientAuth(_) => {
            Status::unauthenticated("client certificate not made for clients")
        }
        X509Refused::Unreadable(_) => Status::unauthenticated("client certificate not readable"),
        X509Refused::Unmapped(_) => {
            Status::permission_denied("client certificate mapped to no workload")
        }
        X509Refused::Ambiguous(_) => {
            Status::permission_denied("client certificate mapped to more than one workload")
        }
    }
}

fn request_status(refused: &InvalidRequest) -> Status {
    match refused {
        InvalidRequest::ForeignName => {
            Status::permission_denied("the request asks for another identity")
        }
        InvalidRequest::Authority => {
            Status::permission_denied("the request asks for the rights of an authority")
        }
        InvalidRequest::DnsName(_) => Status::permission_denied(
            "the request asks for a DNS name that its workload does not have",
        ),
        InvalidRequest::TooLong
        | InvalidRequest::NotOnePemBlock
        | InvalidRequest::Unreadable
        | InvalidRequest::KeyKind
        | InvalidRequest::Signature
        | InvalidRequest::SignatureKind(_)
        | InvalidRequest::NameKind
        | InvalidRequest::Names
        | InvalidRequest::Subject
        | InvalidRequest::KeyUsage
        | InvalidRequest::ExtendedKeyUsage
        | InvalidRequest::Twice(_)
        | InvalidRequest::Extension(_)
        | InvalidRequest::Attribute(_) => Status::invalid_argument(refused.to_string()),
    }
}
