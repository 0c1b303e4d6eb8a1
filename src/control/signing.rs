//! `istio.v1.auth.IstioCertificateService`: attest, read the request, sign, use up the token, answer.
//!
//! What a caller learns is short and stable; the log says exactly what it was.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prost_types::value::Kind;
use tokio::sync::Semaphore;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use crate::ca::{
    AttestRefused, Attested, Attestor, Authority, Credentials, InvalidRequest, Issued, Lifetime,
    SignError, SigningRequest, TokenRefused, TokenStore,
};
use crate::identity::SpiffeId;
use crate::proto::istio::istio_certificate_service_server::{
    IstioCertificateService, IstioCertificateServiceServer,
};
use crate::proto::istio::{IstioCertificateRequest, IstioCertificateResponse};
use crate::revocation::{RevokedWorkload, Subject};
use crate::runtime::Clock;

use super::tls::PeerCertificates;

const IMPERSONATED: &str = "ImpersonatedIdentity";
const MAX_MESSAGE: usize = 64 * 1024;
const MAX_IN_FLIGHT: usize = 64;

/// The signing service.
pub(super) struct Signing {
    desk: Arc<Desk>,
    places: Arc<Semaphore>,
}

/// What one issuance needs. It blocks (files are synced), so it is shared with the blocking pool.
struct Desk {
    authority: Arc<Authority>,
    attestor: Attestor,
    tokens: Arc<TokenStore>,
    lifetime: Lifetime,
    clock: Clock,
}

/// Why a caller gets no certificate.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("unreadable authorization header")]
    Authorization,
    #[error(transparent)]
    Attest(#[from] AttestRefused),
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
}

impl Signing {
    pub(super) fn new(
        (authority, attestor, tokens): (Arc<Authority>, Attestor, Arc<TokenStore>),
        lifetime: Lifetime,
        clock: Clock,
    ) -> Self {
        let desk = Desk { authority, attestor, tokens, lifetime, clock };
        Self { desk: Arc::new(desk), places: Arc::new(Semaphore::new(MAX_IN_FLIGHT)) }
    }

    pub(super) fn into_service(self) -> IstioCertificateServiceServer<Self> {
        IstioCertificateServiceServer::new(self)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }
}

#[tonic::async_trait]
impl IstioCertificateService for Signing {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            tracing::warn!(limit = MAX_IN_FLIGHT, "too many signing requests at once");
            return Err(Status::resource_exhausted("too many requests, try again"));
        };
        let peer = request.extensions().get::<PeerCertificates>().cloned();
        let token = bearer(request.metadata());
        let message = request.into_inner();
        let desk = Arc::clone(&self.desk);
        let judged = tokio::task::spawn_blocking(move || {
            let _place = place;
            let peer = peer.and_then(|PeerCertificates(chain)| chain);
            let token = token?;
            let credentials = Credentials {
                token: token.as_ref().map(|token| token.as_str()),
                certificates: peer.as_deref(),
            };
            desk.issue(&credentials, &message)
        });
        match judged.await {
            Ok(Ok(issued)) => {
                Ok(Response::new(IstioCertificateResponse { cert_chain: issued.chain_pem() }))
            }
            Ok(Err(refused)) => Err(refused.into_status()),
            Err(_) => Err(Status::internal("signing failed")),
        }
    }
}

impl Desk {
    fn issue(
        &self,
        credentials: &Credentials<'_>,
        message: &IstioCertificateRequest,
    ) -> Result<Issued, Refused> {
        let now = self.clock.now();
        let attested = self.attestor.attest(credentials, now)?;
        let id = attested.id().clone();
        self.sign(attested, message, now).inspect_err(
            |_| tracing::warn!(workload.id = %id, "a proven workload asked for what it cannot have"),
        )
    }

    fn sign(
        &self,
        attested: Attested,
        message: &IstioCertificateRequest,
        now: SystemTime,
    ) -> Result<Issued, Refused> {
        let IstioCertificateRequest { csr, validity_duration, metadata } = message;
        if let Some(metadata) = metadata {
            check_hints(metadata, attested.id())?;
        }
        let lifetime = self.lifetime(*validity_duration)?;
        let request = SigningRequest::parse(csr)?;
        let unreleased = self.authority.sign(attested, &request, lifetime, now)?;
        let issued = unreleased.release(&self.tokens)?;
        let leaf = issued.leaf();
        let lifetime = leaf.not_after().duration_since(now).unwrap_or(Duration::ZERO);
        tracing::info!(
            workload.id = %leaf.id(),
            certificate.serial = leaf.serial(),
            certificate.lifetime_seconds = lifetime.as_secs(),
            certificate.not_after_unix = unix(leaf.not_after()),
            attested.by = issued.attestation().as_str(),
            "issued a certificate"
        );
        Ok(issued)
    }

    /// Zero asks for the default.
    fn lifetime(&self, asked: i64) -> Result<Lifetime, Refused> {
        match u64::try_from(asked) {
            Ok(0) => Ok(self.lifetime),
            Ok(seconds) => Ok(self.lifetime.at_most(Duration::from_secs(seconds))),
            Err(_) => Err(Refused::Duration(asked)),
        }
    }
}

/// Istio's node agents ask for the identities of others by a hint. That is refused, not overlooked.
fn check_hints(hints: &prost_types::Struct, proven: &SpiffeId) -> Result<(), Refused> {
    match hints.fields.get(IMPERSONATED).map(|value| &value.kind) {
        None => Ok(()),
        Some(Some(Kind::StringValue(asked))) if asked == proven.as_str() => Ok(()),
        Some(_) => Err(Refused::Impersonation),
    }
}

impl Refused {
    fn into_status(self) -> Status {
        let cause = self.source().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(error = %self, cause, "refused to issue a certificate");
        match self {
            Self::Authorization => Status::unauthenticated("unreadable authorization header"),
            Self::Attest(refused) => attest_status(&refused),
            Self::Request(refused) | Self::Sign(SignError::Request(refused)) => {
                request_status(&refused)
            }
            Self::Duration(_) => Status::invalid_argument("validity_duration is negative"),
            Self::Impersonation => {
                Status::permission_denied("the request asks for another identity")
            }
            Self::Sign(SignError::Authority(_)) => Status::unavailable("cannot sign now"),
            Self::Token(refused) => token_status(&refused),
        }
    }
}

fn attest_status(refused: &AttestRefused) -> Status {
    match refused {
        AttestRefused::NoCredentials => {
            Status::unauthenticated("a join token or a client certificate is needed")
        }
        AttestRefused::Token(refused) => token_status(refused),
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
            Status::permission_denied("this certificate is revoked; a join token is needed")
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

fn request_status(refused: &InvalidRequest) -> Status {
    match refused {
        InvalidRequest::ForeignName => {
            Status::permission_denied("the request asks for another identity")
        }
        InvalidRequest::Authority => {
            Status::permission_denied("the request asks for the rights of an authority")
        }
        InvalidRequest::TooLong
        | InvalidRequest::NotOnePemBlock
        | InvalidRequest::Unreadable
        | InvalidRequest::KeyKind
        | InvalidRequest::Signature
        | InvalidRequest::NameKind
        | InvalidRequest::Extension(_)
        | InvalidRequest::Attribute(_) => Status::invalid_argument(refused.to_string()),
    }
}

/// The one bearer token, or none. Two headers, another scheme or an odd byte refuse the call: a credential
/// that is not understood must not count as none.
fn bearer(metadata: &MetadataMap) -> Result<Option<Zeroizing<String>>, Refused> {
    let mut values = metadata.get_all("authorization").iter();
    let (value, None) = (values.next(), values.next()) else { return Err(Refused::Authorization) };
    let Some(value) = value else { return Ok(None) };
    let text = value.to_str().map_err(|_| Refused::Authorization)?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok(Some(Zeroizing::new(token.trim_ascii().to_owned())))
        }
        Some(_) | None => Err(Refused::Authorization),
    }
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_at_another_identity_is_refused() {
        let proven = SpiffeId::parse("spiffe://demo.mesh/ns/shop/sa/orders").unwrap();
        let check = |name: &str, kind: Option<Kind>| {
            let value = prost_types::Value { kind };
            let fields = [(name.to_owned(), value)].into();
            check_hints(&prost_types::Struct { fields }, &proven)
        };
        let text = |text: &str| Some(Kind::StringValue(text.to_owned()));
        assert!(check("ClusterID", text("one")).is_ok());
        assert!(check(IMPERSONATED, text(proven.as_str())).is_ok());
        for other in [text("spiffe://demo.mesh/ns/shop/sa/payments"), text(""), None] {
            assert!(check(IMPERSONATED, other).is_err());
        }
    }

    #[test]
    fn exactly_one_bearer_token_is_read() {
        let read = |values: &[&str]| {
            let mut metadata = MetadataMap::new();
            for value in values {
                metadata.append("authorization", value.parse().unwrap());
            }
            bearer(&metadata).map(|token| token.map(|token| token.as_str().to_owned()))
        };
        assert!(matches!(read(&[]), Ok(None)));
        assert!(matches!(read(&["Bearer abc"]), Ok(Some(token)) if token == "abc"));
        assert!(matches!(read(&["bearer abc"]), Ok(Some(token)) if token == "abc"));
        for bad in [&["Bearer a", "Bearer b"][..], &["Basic abc"], &["abc"], &[""]] {
            assert!(matches!(read(bad), Err(Refused::Authorization)), "{bad:?}");
        }
    }
}
