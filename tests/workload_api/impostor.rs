//! A Workload API that says whatever a test wants.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::Stream;
use hopgate::proto::workload::spiffe_workload_api_server::{
    SpiffeWorkloadApi, SpiffeWorkloadApiServer,
};
use hopgate::proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svidRequest,
    X509svidResponse,
};
use hopgate::runtime::Address;
use tokio::sync::{Semaphore, broadcast};
use tonic::{Request, Response, Status};

use crate::support::Scratch;

type Said = Result<X509svidResponse, Status>;
type Mint = Box<dyn Fn(JwtsvidRequest) -> Result<JwtsvidResponse, Status> + Send>;
type Answers<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// The server; it ends with the test.
pub struct Impostor {
    directory: Scratch,
    script: Script,
}

#[derive(Clone)]
struct Script {
    now: broadcast::Sender<Said>,
    /// What was said last, for who comes later.
    last: Arc<Mutex<Option<X509svidResponse>>>,
    refusal: Arc<Mutex<Option<Status>>>,
    mint: Arc<Mutex<Mint>>,
    /// A question for a token takes one of these before it is answered.
    leave: Arc<Semaphore>,
    asked: Arc<AtomicUsize>,
}

impl Impostor {
    pub async fn start() -> Self {
        let directory = Scratch::new("impostor");
        let address = Address::Unix(directory.path().join("api.sock"));
        let incoming = address.bind().await.unwrap().incoming();
        let (now, _) = broadcast::channel(16);
        let mint: Mint = Box::new(|_| Err(Status::unimplemented("")));
        let script = Script {
            now,
            last: Arc::default(),
            refusal: Arc::default(),
            mint: Arc::new(Mutex::new(mint)),
            leave: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            asked: Arc::default(),
        };
        let server = SpiffeWorkloadApiServer::new(script.clone());
        let router = tonic::transport::Server::builder().add_service(server);
        tokio::spawn(router.serve_with_incoming(incoming));
        Self { directory, script }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }

    /// Says this on every stream, and to who comes later.
    pub fn say(&self, answer: X509svidResponse) {
        *self.script.last.lock().unwrap() = Some(answer.clone());
        drop(self.script.now.send(Ok(answer)));
    }

    /// Ends every stream with this.
    pub fn break_off(&self, status: Status) {
        *self.script.last.lock().unwrap() = None;
        drop(self.script.now.send(Err(status)));
    }

    /// Answers questions for tokens so.
    pub fn mint(
        &self,
        answer: impl Fn(JwtsvidRequest) -> Result<JwtsvidResponse, Status> + Send + 'static,
    ) {
        *self.script.mint.lock().unwrap() = Box::new(answer);
    }

    /// How often it was asked for a token.
    pub fn asked(&self) -> usize {
        self.script.asked.load(Ordering::SeqCst)
    }

    /// Keeps whoever asks for a token waiting, or lets them on.
    pub fn hold(&self, held: bool) {
        if held {
            self.script.leave.forget_permits(Semaphore::MAX_PERMITS);
        } else {
            self.script.leave.add_permits(Semaphore::MAX_PERMITS / 2);
        }
    }

    /// Refuses new calls with this, or no more.
    pub fn refuse(&self, status: Option<Status>) {
        *self.script.refusal.lock().unwrap() = status;
    }
}

#[tonic::async_trait]
impl SpiffeWorkloadApi for Script {
    type FetchX509SVIDStream = Answers<X509svidResponse>;
    type FetchX509BundlesStream = Answers<X509BundlesResponse>;
    type FetchJWTBundlesStream = Answers<JwtBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        assert_eq!(request.metadata().get("workload.spiffe.io").unwrap(), "true");
        if let Some(status) = self.refusal.lock().unwrap().clone() {
            return Err(status);
        }
        let later = self.now.subscribe();
        let first = self.last.lock().unwrap().clone().map(Ok);
        let stream = futures_util::stream::unfold((first, later), |(first, mut later)| async {
            match first {
                Some(said) => Some((said, (None, later))),
                None => later.recv().await.ok().map(|said| (said, (None, later))),
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn fetch_x509_bundles(
        &self,
        _request: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn fetch_jwtsvid(
        &self,
        request: Request<JwtsvidRequest>,
    ) -> Result<Response<JwtsvidResponse>, Status> {
        assert_eq!(request.metadata().get("workload.spiffe.io").unwrap(), "true");
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.leave.acquire().await.unwrap().forget();
        let answer = self.mint.lock().unwrap()(request.into_inner());
        answer.map(Response::new)
    }

    async fn fetch_jwt_bundles(
        &self,
        _request: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn validate_jwtsvid(
        &self,
        _request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}
