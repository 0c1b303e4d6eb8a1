//! `istio.v1.auth.IstioCertificateService`: wait for a turn, attest, read the request, sign, use up the token, answer.
//!
//! What a caller learns is short and stable; the log says exactly what it was.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prost_types::value::Kind;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use crate::ca::{
    Attested, Attestor, Authority, Credentials, Issued, JwtLifetime, Lifetime, SigningRequest,
    Token, TokenFacts, TokenStore,
};
use crate::identity::{Leaf, SpiffeId};
use crate::proto::istio::istio_certificate_service_server::{
    IstioCertificateService, IstioCertificateServiceServer,
};
use crate::proto::istio::{IstioCertificateRequest, IstioCertificateResponse};
use crate::runtime::Clock;
use crate::telemetry::Metrics;

use super::attest::Learner;
use super::limits::Limits;
use super::minting::{self, Minting};
use super::rate::{Rate, Rates};
use super::refused::Refused;
use super::replicas::Replicas;
use super::signing_metrics::{Answered, Outcome, watch};
use super::tls::Peer;
use super::turns::{Bounds, Lane, Turn, Turns};

const IMPERSONATED: &str = "ImpersonatedIdentity";
/// A signing request of the longest kind that is read, with its metadata.
const MAX_MESSAGE: usize = 16 * 1024;
const MAX_ANSWER: usize = 64 * 1024;
/// Tokens under review at the same time: fewer than the reviewer takes, so that callers wait instead of being turned away.
const REVIEWS: usize = 48;

/// The signing service.
pub(super) struct Signing {
    desk: Arc<Desk>,
    learner: Learner,
    replicas: Replicas,
    turns: Turns,
    /// Turns at the API server, of callers that have proven nothing yet: by address, so that one who shows bad tokens
    /// without end keeps only itself waiting.
    reviews: Turns,
    answered: Answered,
}

/// What one issuance needs. It blocks (files are synced), so it is shared with the blocking pool.
struct Desk {
    authority: Arc<Authority>,
    attestor: Arc<Attestor>,
    tokens: Arc<TokenStore>,
    rates: Rates,
    lifetime: Lifetime,
    clock: Clock,
}

/// The token that a caller sent. Which kind it is, its form says: a join token has no dot, a JWT has two.
enum Sent {
    None,
    Join(Zeroizing<String>),
    ServiceAccount(TokenFacts),
}

impl Signing {
    pub(super) fn new(
        (authority, attestor, tokens): (Arc<Authority>, Attestor, Arc<TokenStore>),
        (learner, limits, replicas): (Learner, Limits, Replicas),
        (lifetime, clock): (Lifetime, Clock),
        metrics: &Metrics,
    ) -> Self {
        let (rates, attestor) = (Rates::new(limits.per_workload), Arc::new(attestor));
        let desk = Desk { authority, attestor, tokens, rates, lifetime, clock };
        let turns = Turns::new(limits.bounds());
        let reviews = Turns::new(Bounds { at_once: REVIEWS, ..limits.bounds() });
        let answered = Answered::register(metrics, "control_signing", "certificates");
        watch(metrics, &turns, &learner);
        Self { desk: Arc::new(desk), learner, replicas, turns, reviews, answered }
    }

    /// The service of tokens beside this one, which shares its turns. Each workload gets as many as it gets certificates.
    pub(super) fn minting(&self, lifetime: JwtLifetime, rate: Rate, metrics: &Metrics) -> Minting {
        let Desk { authority, attestor, clock, .. } = &*self.desk;
        let desk = minting::Desk {
            authority: Arc::clone(authority),
            attestor: Arc::clone(attestor),
            rates: Rates::new(rate),
            lifetime,
            clock: clock.clone(),
        };
        let answered = Answered::register(metrics, "control_minting", "JWT-SVIDs");
        Minting::new(desk, (self.turns.clone(), self.replicas.clone()), answered)
    }

    pub(super) fn into_service(self) -> IstioCertificateServiceServer<Self> {
        IstioCertificateServiceServer::new(self)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_ANSWER)
    }

    async fn serve(&self, request: Request<IstioCertificateRequest>) -> Result<Issued, Refused> {
        if !self.replicas.is_in_touch() {
            return Err(Refused::OutOfTouch);
        }
        let peer = request.extensions().get::<Peer>().cloned();
        let (certificates, address) =
            peer.map_or((None, None), |Peer { certificates, address }| (certificates, address));
        let unproven = address.map_or(Lane::Local, Lane::Address);
        let sent = self.sent(request.metadata(), unproven.clone()).await?;
        let proven = match &sent {
            Sent::ServiceAccount(facts) => namespace_of_account(facts),
            Sent::Join(_) | Sent::None => None,
        };
        let lane = proven
            .or_else(|| certificates.as_deref().and_then(namespace_of_certificate))
            .map_or(unproven, Lane::Namespace);
        let turn = turn(&self.turns, lane).await?;
        let message = request.into_inner();
        let desk = Arc::clone(&self.desk);
        let judged = tokio::task::spawn_blocking(move || {
            let _turn: Turn = turn;
            let token = match &sent {
                Sent::None => None,
                Sent::Join(text) => Some(Token::Join(text)),
                Sent::ServiceAccount(facts) => Some(Token::ServiceAccount(facts)),
            };
            desk.issue(&Credentials { token, certificates: certificates.as_deref() }, &message)
        });
        judged.await.map_err(|_| Refused::Panicked)?
    }

    async fn sent(&self, metadata: &MetadataMap, lane: Lane) -> Result<Sent, Refused> {
        match bearer(metadata)? {
            None => Ok(Sent::None),
            Some(token) if token.contains('.') => {
                let _turn = turn(&self.reviews, lane).await?;
                Ok(Sent::ServiceAccount(self.learner.learn(token).await?))
            }
            Some(token) => Ok(Sent::Join(token)),
        }
    }
}

pub(super) async fn turn(turns: &Turns, lane: Lane) -> Result<Turn, Refused> {
    turns.wait(lane).await.map_err(|shed| Refused::Shed { shed, after: turns.backlog() })
}

/// The namespace of a caller whose certificate the handshake verified. Only for its place in the queue: who it is, is
/// proven when its turn comes. A foreign certificate that names one of ours gets no further than that.
pub(super) fn namespace_of_certificate(
    chain: &[rustls::pki_types::CertificateDer<'static>],
) -> Option<String> {
    let leaf = Leaf::parse(chain.first()?).ok()?;
    leaf.id().service_account().map(|(namespace, _)| namespace.to_owned())
}

/// The namespace that an API server vouched for.
fn namespace_of_account(facts: &TokenFacts) -> Option<String> {
    let known = facts.authenticated.then_some(facts.account.as_ref()).flatten();
    known.map(|account| account.namespace.clone())
}

#[tonic::async_trait]
impl IstioCertificateService for Signing {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let began = Instant::now();
        let answer = self.serve(request).await;
        let outcome = answer.as_ref().map_or_else(Refused::outcome, |_| Outcome::Issued);
        self.answered.count(outcome, began.elapsed());
        match answer {
            Ok(issued) => {
                Ok(Response::new(IstioCertificateResponse { cert_chain: issued.chain_pem() }))
            }
            Err(refused) => Err(refused.into_status("refused to issue a certificate")),
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
        self.rates.take(&id, now).map_err(|after| Refused::TooOften { id: id.clone(), after })?;
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

pub(super) fn unix(time: SystemTime) -> u64 {
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
