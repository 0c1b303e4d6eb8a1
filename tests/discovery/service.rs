//! The secret discovery service on a unix socket, fed by hand.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use hopgate::identity::WorkloadIdentity;
use hopgate::runtime::{Address, Drain};
use hopgate::sidecar::sds::{self, Material, SdsStatus};
use hopgate::xds::{SecretService, Table};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint, Server};

use crate::support::Scratch;

/// What a sidecar serves: the secrets of an identity that comes and changes.
pub struct Service {
    pub status: Arc<SdsStatus>,
    identity: Option<watch::Sender<Option<Arc<WorkloadIdentity>>>>,
    server: Secrets,
    _directory: Option<Scratch>,
}

impl Service {
    /// Serves in a new directory.
    pub async fn start(first: Option<WorkloadIdentity>) -> Self {
        let directory = Scratch::new("sds");
        let socket = directory.path().join("sds.sock");
        Self { _directory: Some(directory), ..Self::start_at(socket, first).await }
    }

    pub async fn start_at(socket: PathBuf, first: Option<WorkloadIdentity>) -> Self {
        let (identity, receiver) = watch::channel(first.map(Arc::new));
        let service = Self::of_at(socket, Material::new(receiver)).await;
        Self { identity: Some(identity), ..service }
    }

    /// Serves what the test feeds by itself.
    pub async fn of(material: Material) -> Self {
        let directory = Scratch::new("sds");
        let socket = directory.path().join("sds.sock");
        Self { _directory: Some(directory), ..Self::of_at(socket, material).await }
    }

    async fn of_at(socket: PathBuf, material: Material) -> Self {
        let drain = Drain::new();
        let sds::Sds { server, publisher, status, tables: _ } = sds::service(material, &drain);
        let mut server = Secrets::serve(socket, server, drain).await;
        server.tasks.spawn(async { publisher.run().await.unwrap() });
        Self { status, identity: None, server, _directory: None }
    }

    pub fn show(&self, identity: Option<WorkloadIdentity>) {
        let sender = self.identity.as_ref().expect("fed by the service");
        sender.send_replace(identity.map(Arc::new));
    }

    pub fn socket(&self) -> PathBuf {
        self.server.socket.clone()
    }

    pub async fn client(&self) -> SecretDiscoveryServiceClient<Channel> {
        client(&self.server.socket).await
    }

    /// Acknowledgements and refusals of every kind.
    pub fn totals(&self) -> (u64, u64) {
        let counts = self.status.counts();
        (counts.iter().map(|c| c.acks).sum(), counts.iter().map(|c| c.nacks).sum())
    }

    pub fn drain(&self) {
        self.server.drain.begin();
    }

    /// Drains, and waits until the server has ended by itself.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

/// The bare service over tables of the test's making.
pub struct Secrets {
    socket: PathBuf,
    drain: Drain,
    tasks: JoinSet<()>,
}

impl Secrets {
    pub async fn start(
        socket: PathBuf,
        tables: watch::Receiver<Option<Arc<Table>>>,
        status: Arc<SdsStatus>,
    ) -> Self {
        let drain = Drain::new();
        let server = SecretService::new(tables, status, drain.clone()).into_server();
        Self::serve(socket, server, drain).await
    }

    async fn serve(
        socket: PathBuf,
        server: envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_server::SecretDiscoveryServiceServer<SecretService>,
        drain: Drain,
    ) -> Self {
        let listener = Address::Unix(socket.clone()).bind().await.unwrap();
        let mut tasks = JoinSet::new();
        let end = drain.clone();
        tasks.spawn(async move {
            let router = Server::builder().add_service(server);
            let end = async move { end.begun().await };
            router.serve_with_incoming_shutdown(listener.incoming(), end).await.unwrap();
        });
        Self { socket, drain, tasks }
    }

    async fn stop(self) {
        self.drain.begin();
        self.tasks.join_all().await;
    }
}

pub async fn client(socket: &Path) -> SecretDiscoveryServiceClient<Channel> {
    let uri = format!("unix:{}", socket.display());
    SecretDiscoveryServiceClient::new(Endpoint::try_from(uri).unwrap().connect().await.unwrap())
}
