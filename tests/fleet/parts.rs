//! Parts of these tests: a bare subscriber, a whole sidecar, and what is published.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use hopgate::certs::ControlServer;
use hopgate::control::discovery::{Acknowledgement, Fleet};
use hopgate::identity::{TrustBundle, TrustDomain, WorkloadIdentity};
use hopgate::runtime::{Address, Clock};
use hopgate::sidecar::Bound;
use hopgate::xds::own::{KINDS, RevokedWorkload, Running, TRUST_BUNDLE_TYPE};
use hopgate::xds::{Follower, Subscription, Update};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

use crate::certificates::parts::{Directory, ORDERS, Office, Plane, domain, id};

pub const DEADLINE: Duration = Duration::from_secs(30);

/// A subscriber that does what a test wants.
pub struct Subscriber {
    pub subscription: Subscription,
    pub follower: Follower,
}

impl Subscriber {
    /// Connects with a certificate, and asks for everything.
    pub async fn connect(plane: &Plane, identity: &WorkloadIdentity, clock: &Clock) -> Self {
        let follower = Follower::new(KINDS.map(|kind| kind.type_url));
        Self::resume(plane, identity, (follower, clock)).await.unwrap()
    }

    /// The same with what it held before.
    pub async fn resume(
        plane: &Plane,
        identity: &WorkloadIdentity,
        (follower, clock): (Follower, &Clock),
    ) -> Result<Self, tonic::Status> {
        Self::open(plane, identity, (follower, clock, node(identity))).await
    }

    /// As [`Subscriber::connect`], and says that it runs in the pod with this UID.
    pub async fn connect_in_pod(
        plane: &Plane,
        identity: &WorkloadIdentity,
        (uid, clock): (&str, &Clock),
    ) -> Result<Self, tonic::Status> {
        let follower = Follower::new(KINDS.map(|kind| kind.type_url));
        Self::open(plane, identity, (follower, clock, node_in_pod(identity, uid))).await
    }

    async fn open(
        plane: &Plane,
        identity: &WorkloadIdentity,
        (follower, clock, node): (Follower, &Clock, Node),
    ) -> Result<Self, tonic::Status> {
        let server = ControlServer::parse(&format!("https://localhost:{}", plane.port)).unwrap();
        let channel = server.connect(Some(identity), &plane.bundle, clock).await;
        let channel = channel.map_err(|error| tonic::Status::unavailable(format!("{error:?}")))?;
        let subscription = Subscription::open(channel, follower.begin(&node)).await?;
        Ok(Self { subscription, follower })
    }

    pub async fn next(&mut self) -> Result<Option<Update>, tonic::Status> {
        let answer = tokio::time::timeout(DEADLINE, self.subscription.next()).await;
        let answer = answer.expect("an answer in time")?;
        Ok(answer.map(|answer| self.follower.read(answer).unwrap()))
    }

    /// As [`Subscriber::next`], however long it takes.
    pub async fn whenever(&mut self) -> Result<Option<Update>, tonic::Status> {
        let answer = self.subscription.next().await?;
        Ok(answer.map(|answer| self.follower.read(answer).unwrap()))
    }

    pub async fn update(&mut self) -> Update {
        self.next().await.unwrap().expect("the stream is open")
    }

    /// The next of the trust bundles; what comes before is accepted.
    pub async fn bundles(&mut self) -> Update {
        loop {
            let update = self.update().await;
            if update.type_url == TRUST_BUNDLE_TYPE {
                return update;
            }
            self.accept(&update).await;
        }
    }

    pub async fn accept(&mut self, update: &Update) {
        let said = self.follower.accept(update);
        self.subscription.say(said).await.unwrap();
    }

    /// Takes answers, and accepts them, until the last of these revisions has come; says how many resources and bytes
    /// that took.
    pub async fn until(&mut self, type_url: &str, revision: &str) -> (usize, usize) {
        let (mut resources, mut bytes) = (0, 0);
        loop {
            let update = self.update().await;
            self.accept(&update).await;
            resources += update.resources.len() + update.removed.len();
            bytes += update.resources.iter().map(|resource| resource.content.len()).sum::<usize>();
            if update.type_url == type_url && update.revision == revision {
                return (resources, bytes);
            }
        }
    }
}

/// A certificate for each of these workloads, by the authority in `directory`, which must not run yet.
pub fn certificates(
    directory: &Directory,
    workloads: &[&str],
    clock: &Clock,
) -> Vec<WorkloadIdentity> {
    let office = Office::open(&directory.path("ca"), clock.now());
    workloads.iter().map(|workload| office.identity(workload, clock.now())).collect()
}

pub fn node(identity: &WorkloadIdentity) -> Node {
    node_in_pod(identity, "")
}

fn node_in_pod(identity: &WorkloadIdentity, uid: &str) -> Node {
    let leaf = identity.svid.leaf();
    let running = Running {
        version: "test".to_owned(),
        serial: leaf.serial().to_owned(),
        authority_key_id: leaf.authority_key_id().unwrap().to_owned(),
        pod_uid: uid.to_owned(),
    };
    running.node(leaf.id().as_str())
}

/// A new self-signed root.
pub fn root(name: &str) -> TrustBundle {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let certificate = params.self_signed(&key).unwrap().der().clone();
    TrustBundle::new(TrustDomain::parse(name).unwrap(), vec![certificate]).unwrap()
}

/// The roots of the first and those of the second.
pub fn joined(one: &TrustBundle, two: &TrustBundle) -> TrustBundle {
    let roots = one.roots().iter().chain(two.roots()).cloned().collect();
    TrustBundle::new(one.domain().clone(), roots).unwrap()
}

/// So many revocations, with a reason.
pub fn revocations(count: usize, reason: &str) -> BTreeMap<String, RevokedWorkload> {
    let all = (0..count).map(|n| {
        let revoked = RevokedWorkload {
            id: id(&format!("ns/shop/sa/gone-{n:05}")),
            serial: None,
            until: None,
            reason: reason.to_owned(),
            by: "uid 0".to_owned(),
        };
        (revoked.name(), revoked)
    });
    all.collect()
}

/// Waits until every connected sidecar (at least `count`) acknowledged what is published of the own trust domain.
pub async fn all_have_bundle(plane: &Plane, count: usize) {
    let version = plane.publisher.current().bundle_version(&domain()).unwrap();
    all_have(&plane.fleet, (TRUST_BUNDLE_TYPE, "demo.mesh"), Some(&version), count).await;
}

pub async fn all_have(fleet: &Fleet, resource: (&str, &str), version: Option<&str>, count: usize) {
    let mut changes = fleet.changes();
    let waited = tokio::time::timeout(DEADLINE, async {
        loop {
            changes.mark_unchanged();
            let Acknowledgement { acknowledged, lagging } = fleet.acknowledged(resource, version);
            if acknowledged >= count && lagging.is_empty() {
                return;
            }
            changes.changed().await.unwrap();
        }
    });
    let waited = waited.await;
    assert!(
        waited.is_ok(),
        "{:?} of {:?}",
        fleet.acknowledged(resource, version),
        fleet.connected()
    );
}

/// A whole sidecar in this process.
pub struct Sidecar {
    admin: Address,
    pub sds: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Sidecar {
    /// Starts the sidecar of `orders` in `directory`, with `extra` lines of configuration.
    pub async fn start(directory: &Directory, port: u16, extra: &str, clock: &Clock) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        std::fs::create_dir_all(directory.path("resources")).unwrap();
        directory.write("resources/orders.yaml", POLICY, 0o644);
        let text = format!(
            "workload: {{ trustDomain: demo.mesh, namespace: shop, serviceAccount: orders }}\n\
             resources: [resources]\nextAuthz: {{ listen: [\"unix:authz.sock\"] }}\n\
             admin: {{ listen: \"unix:admin.sock\" }}\ndecisionLog: {{ path: decisions.log }}\n\
             drainTimeout: 2s\n\
             certificates:\n  control: {{ server: \"https://localhost:{port}\", caFile: roots.pem, joinTokenFile: join.token }}\n  \
             stateDirectory: state\n{extra}"
        );
        let file = directory.write("sidecar.yaml", &text, 0o644);
        let config = hopgate::config::sidecar(&file, Default::default()).unwrap();
        let bound = Bound::build(config, clock.clone()).await.unwrap();
        let admin = bound.addresses().admin.clone();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            bound.run(async { drop(stopped.await) }).await.unwrap();
        });
        Self { admin, sds: directory.path("sds.sock"), stop: Some(stop), task }
    }

    /// The first one, with a join token.
    pub async fn join(
        directory: &Directory,
        plane: &Plane,
        (extra, clock): (&str, &Clock),
    ) -> Self {
        directory.write("join.token", &plane.token(ORDERS, clock), 0o600);
        Self::start(directory, plane.port, extra, clock).await
    }

    pub async fn request(&self, line: &str) -> String {
        let Address::Unix(path) = &self.admin else { panic!("a unix socket") };
        let mut stream = tokio::net::UnixStream::connect(path).await.unwrap();
        let request = format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    pub async fn config(&self) -> Value {
        let page = self.request("GET /config").await;
        serde_json::from_str(&page).unwrap_or_else(|error| panic!("{error}: {page}"))
    }

    /// What `/config` says of discovery.
    pub async fn told(&self) -> Value {
        self.config().await["discovery"].clone()
    }

    pub async fn serial(&self) -> Option<String> {
        self.config().await["certificate"]["serial"].as_str().map(str::to_owned)
    }

    pub async fn stop(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap();
    }
}

const POLICY: &str = "apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\n\
    metadata: { name: orders, namespace: shop }\n\
    spec: { rules: [{ name: open, allow: { requests: [{ paths: [\"/open\"] }] } }] }\n";

/// The roots that the sidecar's Envoy would be given now.
pub async fn served_roots(sds: &std::path::Path) -> Arc<[Vec<u8>]> {
    use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
    use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
    use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
    use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
    use rustls::pki_types::pem::PemObject as _;
    let request = DiscoveryRequest {
        resource_names: vec!["ROOTCA".to_owned()],
        ..DiscoveryRequest::default()
    };
    let mut client = crate::discovery::service::client(sds).await;
    let answer = client.fetch_secrets(request).await.unwrap().into_inner();
    let secret: Secret = prost::Message::decode(answer.resources[0].value.as_slice()).unwrap();
    let Some(Type::ValidationContext(context)) = secret.r#type else { panic!("roots") };
    let Some(Specifier::InlineBytes(pem)) = context.trusted_ca.unwrap().specifier else {
        panic!("inline")
    };
    let roots = rustls::pki_types::CertificateDer::pem_slice_iter(&pem);
    roots.map(|root| root.unwrap().to_vec()).collect()
}
