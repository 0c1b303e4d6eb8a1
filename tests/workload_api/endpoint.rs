//! A Workload API that runs, and a bare client of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hopgate::certs::{self, JwtSource};
use hopgate::identity::{SpiffeId, TrustDomain, WorkloadIdentity};
use hopgate::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use hopgate::revocation::{
    Knowledge, Revocation, RevocationList, RevokedWorkload, Serial, Subject, Until, Words,
};
use hopgate::runtime::{Address, Clock, PeerUser, Tasks};
use hopgate::sidecar::workload_api::{CallerUsers, Callers, Holdings, InForce, WorkloadApi};
use hopgate::telemetry::Metrics;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::{oneshot, watch};
use tonic::Request;
use tonic::transport::{Channel, Endpoint as Target};

use crate::support::Scratch;

pub const ORDERS: &str = "spiffe://demo.mesh/ns/shop/sa/orders";
pub const WEB: &str = "spiffe://demo.mesh/ns/shop/sa/web";

pub type Client = SpiffeWorkloadApiClient<Channel>;

/// The endpoint of one workload.
pub struct Endpoint {
    directory: Scratch,
    identity: watch::Sender<Option<Arc<WorkloadIdentity>>>,
    revoked: watch::Sender<Arc<InForce>>,
    pub metrics: Metrics,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

/// A source of certificates that has no tokens.
pub fn no_tokens() -> certs::Source {
    let text = "files: { certificate: a.pem, key: b.pem, bundle: c.pem }";
    serde_saphyr::from_str::<certs::Config>(text).unwrap().source
}

impl Endpoint {
    /// For callers of the user that runs the tests.
    pub async fn start(identity: Option<WorkloadIdentity>) -> Self {
        Self::with(identity, Callers::own_user().unwrap(), Clock::system()).await
    }

    /// For a user that nobody here is.
    pub async fn for_others(identity: Option<WorkloadIdentity>) -> Self {
        let own = PeerUser::own().unwrap();
        let users = CallerUsers { uids: vec![own.uid + 1], gids: vec![own.gid + 1] };
        Self::with(identity, Callers::listed(&users).unwrap(), Clock::system()).await
    }

    pub async fn with(identity: Option<WorkloadIdentity>, callers: Callers, clock: Clock) -> Self {
        Self::serve(identity, callers, (&no_tokens(), clock)).await
    }

    /// For callers of the user that runs the tests, with tokens from there.
    pub async fn with_tokens(
        identity: WorkloadIdentity,
        source: &certs::Source,
        clock: &Clock,
    ) -> Self {
        let callers = Callers::own_user().unwrap();
        Self::serve(Some(identity), callers, (source, clock.clone())).await
    }

    async fn serve(
        identity: Option<WorkloadIdentity>,
        callers: Callers,
        (source, clock): (&certs::Source, Clock),
    ) -> Self {
        let directory = Scratch::new("workload-api");
        let socket = directory.path().join("api.sock");
        let listener = Address::Unix(socket).bind().await.unwrap();
        let identity = watch::Sender::new(identity.map(Arc::new));
        let metrics = Metrics::new();
        let revoked = watch::Sender::new(Arc::new(in_force(&[])));
        let workload = SpiffeId::parse(ORDERS).unwrap();
        let held = Holdings {
            identity: identity.subscribe(),
            revoked: revoked.subscribe(),
            tokens: JwtSource::new(source, workload, clock.clone()).unwrap(),
        };
        let api = WorkloadApi::new(held, callers, clock, &metrics);
        let mut tasks = Tasks::new();
        tasks.spawn("workload_api", api.serve(listener, tasks.drain()));
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            tasks.run(shutdown, Duration::from_secs(5)).await.unwrap();
        });
        Self { directory, identity, revoked, metrics, stop: Some(stop), task }
    }

    /// These are revoked from now on: a workload, or one certificate of it.
    pub fn revoke(&self, revoked: &[(&str, Option<&str>)]) {
        self.revoked.send_replace(Arc::new(in_force(revoked)));
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }

    pub fn show(&self, identity: Option<WorkloadIdentity>) {
        self.identity.send_replace(identity.map(Arc::new));
    }

    pub fn serial(&self) -> String {
        self.identity.borrow().as_ref().unwrap().svid.leaf().serial().to_owned()
    }

    /// A client on a connection of its own.
    pub async fn client(&self) -> Client {
        SpiffeWorkloadApiClient::new(channel(&self.socket()).await)
    }

    /// Begins to drain and waits for the end, which must come before the deadline of a drain.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        tokio::time::timeout(Duration::from_secs(4), &mut self.task).await.unwrap().unwrap();
    }
}

/// A connection.
pub async fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connect = tower::service_fn(move |_: http::Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // Small windows, so that a reader that does not read is noticed.
    let target = Target::from_static("http://workload").initial_stream_window_size(16 * 1024);
    target.connect_with_connector(connect).await.unwrap()
}

/// A request as every honest client sends it.
pub fn asked<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("workload.spiffe.io", "true".parse().unwrap());
    request
}

fn in_force(revoked: &[(&str, Option<&str>)]) -> InForce {
    let entries = revoked.iter().map(|(id, serial)| Revocation {
        subject: Subject::Workload(RevokedWorkload {
            id: SpiffeId::parse(id).unwrap(),
            serial: serial.map(|serial| Serial::parse(serial).unwrap()),
        }),
        since: std::time::SystemTime::UNIX_EPOCH,
        until: Until::Lifted,
        reason: Words::parse("leaked").unwrap(),
        by: Words::parse("a test").unwrap(),
    });
    let list = RevocationList::new(entries).unwrap();
    let domain = |name| TrustDomain::parse(name).unwrap();
    InForce::new(Knowledge::Known(Arc::new(list)), domain("demo.mesh"), vec![domain("old.mesh")])
}
