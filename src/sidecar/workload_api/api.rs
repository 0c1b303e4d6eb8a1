//! The five methods. Codes and texts are those that SPIRE's agent answers with, because clients key on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::{Request, Response, Status};

use super::counts::{Counts, Method};
use super::feed::{Draw, Feed, Messages};
use super::incoming::Caller;
use super::tokens::{Answer, Tokens};
use super::{Holdings, InForce, messages};
use crate::identity::{Audiences, JwtSvid, SpiffeId, WorkloadIdentity};
use crate::proto::workload::spiffe_workload_api_server::SpiffeWorkloadApi;
use crate::proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svidRequest,
    X509svidResponse,
};
use crate::revocation::{Certificate, Finding};
use crate::runtime::{Clock, Drain, Questions};

/// The metadata that every caller must send. A server that is tricked into fetching a URL cannot send it.
const SECURITY_HEADER: &str = "workload.spiffe.io";
/// Calls that are served at once, streams included.
const MAX_CALLS: usize = 256;
/// How long a single question waits for the workload's first identity.
const PATIENCE: Duration = Duration::from_secs(5);

/// The Workload API of one workload. Cloning shares it.
#[derive(Clone)]
pub(super) struct Api {
    standing: Standing,
    revoked: watch::Receiver<Arc<InForce>>,
    tokens: Tokens,
    places: Arc<Semaphore>,
    counts: Counts,
    drain: Drain,
}

/// What there is to hand out.
#[derive(Clone)]
pub(super) struct Standing {
    identity: watch::Receiver<Option<Arc<WorkloadIdentity>>>,
    had: Arc<AtomicBool>,
    clock: Clock,
}

/// Proof that the caller is admitted and sent the security header; holds its place.
struct Admitted {
    place: OwnedSemaphorePermit,
}

/// The caller has no identity, or not the one it asks for.
pub(super) fn no_identity() -> Status {
    Status::permission_denied("no identity issued")
}

/// The process is about to end.
pub(super) fn stopping() -> Status {
    Status::unavailable("the endpoint is stopping")
}

impl Standing {
    pub(super) fn subscribe(&self) -> watch::Receiver<Option<Arc<WorkloadIdentity>>> {
        self.identity.clone()
    }

    /// The identity to hand out, or nothing while there was none yet. One that was there and is lost is refused, and so
    /// is one that is over, should the task that renews not have noticed.
    pub(super) fn of(
        &self,
        shown: Option<Arc<WorkloadIdentity>>,
    ) -> Result<Option<Arc<WorkloadIdentity>>, Status> {
        match shown {
            Some(identity) => {
                self.had.store(true, Ordering::Relaxed);
                if self.clock.now() > identity.svid.leaf().not_after() {
                    return Err(no_identity());
                }
                Ok(Some(identity))
            }
            None if self.had.load(Ordering::Relaxed) => Err(no_identity()),
            None => Ok(None),
        }
    }

    /// Waits a while for the first identity.
    async fn held(&self) -> Result<Arc<WorkloadIdentity>, Status> {
        let mut identity = self.subscribe();
        let wait = async {
            loop {
                let shown = identity.borrow_and_update().clone();
                if let Some(identity) = self.of(shown)? {
                    return Ok(identity);
                }
                identity.changed().await.map_err(|_| stopping())?;
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(held) => held,
            Err(_) => Err(Status::unavailable("there is no identity yet")),
        }
    }
}

impl Api {
    pub(super) fn new((held, tokens): (Holdings, Tokens), clock: Clock, counts: Counts) -> Self {
        let Holdings { identity, revoked, tokens: _ } = held;
        let standing = Standing { identity, had: Arc::default(), clock };
        let places = Arc::new(Semaphore::new(MAX_CALLS));
        Self { standing, revoked, tokens, places, counts, drain: Drain::new() }
    }

    /// Carries questions for tokens to their end.
    pub(super) fn questions(&self) -> Option<Questions<Answer>> {
        self.tokens.questions()
    }

    /// Ends every stream when `drain` begins.
    pub(super) fn until(self, drain: Drain) -> Self {
        Self { drain, ..self }
    }

    /// Notices the first identity even when nobody calls, so that its loss is told from its absence.
    pub(super) async fn notice(self, drain: Drain) {
        let mut identity = self.standing.subscribe();
        let first = identity.wait_for(Option::is_some);
        tokio::select! {
            () = drain.begun() => {}
            seen = first => if seen.is_ok() { self.standing.had.store(true, Ordering::Relaxed) },
        }
    }

    /// The header is asked for first: without it, a caller learns nothing else.
    fn admit<T>(&self, request: &Request<T>) -> Result<Admitted, Status> {
        let mut values = request.metadata().get_all(SECURITY_HEADER).iter();
        let (value, more) = (values.next(), values.next());
        if value.is_none_or(|value| value != "true") || more.is_some() {
            return Err(Status::invalid_argument("security header missing from request"));
        }
        let caller = request.extensions().get::<Caller>().and_then(|Caller(permitted)| *permitted);
        if caller.is_none() {
            return Err(no_identity());
        }
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => Ok(Admitted { place }),
            Err(_) => {
                tracing::warn!(limit = MAX_CALLS, "too many calls of the Workload API at once");
                Err(Status::unavailable("too many calls at once"))
            }
        }
    }

    fn watch<T, M: Message + Send + 'static>(
        &self,
        request: &Request<T>,
        draw: Draw<M>,
    ) -> Result<Response<Messages<M>>, Status> {
        let Admitted { place } = self.admit(request)?;
        // Told at once, and not only on the stream.
        let shown = self.standing.subscribe().borrow().clone();
        self.standing.of(shown)?;
        let (standing, drain) = (self.standing.clone(), self.drain.clone());
        let feed = Feed { standing, drain, draw, _open: (place, self.counts.open()) };
        Ok(Response::new(feed.into_stream()))
    }

    async fn jwt_svid(
        &self,
        request: Request<JwtsvidRequest>,
    ) -> Result<Response<JwtsvidResponse>, Status> {
        let _admitted = self.admit(&request)?;
        let JwtsvidRequest { audience, spiffe_id } = request.into_inner();
        let audiences = Audiences::new(audience)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let asked = match spiffe_id.as_str() {
            "" => None,
            id => Some(SpiffeId::parse(id).map_err(|error| {
                Status::invalid_argument(format!("the requested SPIFFE ID {error}"))
            })?),
        };
        let identity = self.standing.held().await?;
        if asked.is_some_and(|asked| asked != *identity.svid.id()) {
            return Err(no_identity());
        }
        let token = self.tokens.get(&audiences, &identity).await?;
        // It may have been taken back meanwhile.
        let shown = self.standing.subscribe().borrow().clone();
        let held = self.standing.of(shown)?.ok_or_else(no_identity)?;
        Ok(Response::new(messages::jwt_svid(held.svid.id(), token)))
    }

    async fn validate(
        &self,
        request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        let _admitted = self.admit(&request)?;
        let ValidateJwtsvidRequest { audience, svid } = request.into_inner();
        for (value, name) in [(&audience, "audience"), (&svid, "svid")] {
            if value.is_empty() {
                return Err(Status::invalid_argument(format!("{name} must be specified")));
            }
        }
        let identity = self.standing.held().await?;
        let now = self.standing.clock.now();
        let svid = JwtSvid::verify(&svid, &identity.bundles, &audience, now)
            .map_err(|refused| Status::invalid_argument(refused.to_string()))?;
        // By which certificate it was got, a token does not show.
        let revoked = Arc::clone(&self.revoked.borrow());
        match revoked.find(svid.id(), Certificate::Unseen, now) {
            Finding::NotRevoked => {}
            Finding::Revoked(_) => {
                let words = "the workload that the token names is revoked";
                return Err(Status::invalid_argument(words));
            }
            Finding::Unknown => {
                return Err(Status::unavailable("it is not known yet who is revoked"));
            }
        }
        Ok(Response::new(ValidateJwtsvidResponse {
            spiffe_id: svid.id().to_string(),
            claims: Some(messages::claims(svid.claims())),
        }))
    }
}

#[tonic::async_trait]
impl SpiffeWorkloadApi for Api {
    type FetchX509SVIDStream = Messages<X509svidResponse>;
    type FetchX509BundlesStream = Messages<X509BundlesResponse>;
    type FetchJWTBundlesStream = Messages<JwtBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        let answer = self.watch(&request, |identity| Ok(messages::x509_svids(identity)));
        self.counts.count(Method::X509Svid, &answer);
        answer
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        let answer = self.watch(&request, |identity| Ok(messages::x509_bundles(identity)));
        self.counts.count(Method::X509Bundles, &answer);
        answer
    }

    async fn fetch_jwtsvid(
        &self,
        request: Request<JwtsvidRequest>,
    ) -> Result<Response<JwtsvidResponse>, Status> {
        let answer = self.jwt_svid(request).await;
        self.counts.count(Method::JwtSvid, &answer);
        answer
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        let answer = self.watch(&request, |identity| {
            messages::jwt_bundles(identity).map_err(|error| {
                tracing::error!(%error, "JWT bundles cannot be written");
                Status::internal("the JWT bundles cannot be written")
            })
        });
        self.counts.count(Method::JwtBundles, &answer);
        answer
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        let answer = self.validate(request).await;
        self.counts.count(Method::ValidateJwtSvid, &answer);
        answer
    }
}
