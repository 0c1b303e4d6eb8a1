//! Parts of these tests: directories, a running control plane, a caller that can misbehave.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use hopgate::ca::{
    Attestor, Authority, Credentials, JoinToken, Lifetime, SigningRequest, Token, TokenStore,
};
use hopgate::certs::{self, Renewal};
use hopgate::control::{Config, Control, ControlError, create_join_token};
use hopgate::identity::{
    Bundles, PrivateKey, SpiffeId, TrustBundle, TrustDomain, WorkloadIdentity, X509Svid,
};
use hopgate::proto::istio::IstioCertificateRequest;
use hopgate::proto::istio::istio_certificate_service_client::IstioCertificateServiceClient;
use hopgate::runtime::{Clock, Tasks};
use hopgate::telemetry::Metrics;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::oneshot;

pub const ORDERS: &str = "ns/shop/sa/orders";
pub const PAYMENTS: &str = "ns/shop/sa/payments";

pub fn domain() -> TrustDomain {
    TrustDomain::parse("demo.mesh").unwrap()
}

pub fn id(workload: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://demo.mesh/{workload}")).unwrap()
}

pub fn start_of_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

/// The real time, without its fraction of a second: certificates know none.
pub fn this_second() -> SystemTime {
    let since = Clock::system().now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

pub fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3600)
}

pub fn days(n: u64) -> Duration {
    hours(n * 24)
}

/// A directory of one test, removed at its end.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hopgate-certs-{}-{n}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// One at a place of the test's choice.
    pub fn at(path: PathBuf) -> Self {
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, content: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        hopgate::runtime::write_atomic(&path, content.as_bytes(), mode).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A signing request, changed by `change`, in PEM.
pub fn csr(key: &PrivateKey, change: impl FnOnce(&mut rcgen::CertificateParams)) -> String {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    change(&mut params);
    params.serialize_request(&key.to_key_pair().unwrap()).unwrap().pem().unwrap()
}

pub fn uri(text: &str) -> rcgen::SanType {
    rcgen::SanType::URI(text.try_into().unwrap())
}

/// An authority with its tokens and its attestor.
pub struct Office {
    pub directory: PathBuf,
    pub authority: Authority,
    pub tokens: Arc<TokenStore>,
    pub attestor: Attestor,
}

impl Office {
    pub fn open(directory: &Path, now: SystemTime) -> Self {
        let authority = Authority::open(directory, &domain(), now).unwrap();
        let tokens = Arc::new(TokenStore::open(directory).unwrap());
        let attestor = Attestor::new(&authority, Arc::clone(&tokens)).unwrap();
        Self { directory: directory.to_path_buf(), authority, tokens, attestor }
    }

    /// A new attestor, to be given more to attest by.
    pub fn attestor(&self) -> Attestor {
        Attestor::new(&self.authority, Arc::clone(&self.tokens)).unwrap()
    }

    /// A certificate for `workload`, by the whole path.
    pub fn issue(&self, workload: &str, lifetime: Duration, now: SystemTime) -> X509Svid {
        let token = self.tokens.create(&id(workload), Duration::from_secs(60), now).unwrap();
        let credentials =
            Credentials { token: Some(Token::Join(token.expose())), certificates: None };
        let attested = self.attestor.attest(&credentials, now).unwrap();
        let key = PrivateKey::generate().unwrap();
        let request = SigningRequest::parse(&csr(&key, |_| {})).unwrap();
        let lifetime = Lifetime::new(lifetime).unwrap();
        let unreleased = self.authority.sign(attested, &request, lifetime, now).unwrap();
        let chain = ders(&unreleased.release(&self.tokens).unwrap().chain_pem()[..2]);
        X509Svid::new(chain, key, &self.authority.bundle(), now).unwrap()
    }

    pub fn identity(&self, workload: &str, now: SystemTime) -> WorkloadIdentity {
        let svid = self.issue(workload, hours(1), now);
        WorkloadIdentity { svid, bundles: Bundles::new(self.authority.bundle().clone()) }
    }
}

pub fn ders(pems: &[String]) -> Vec<CertificateDer<'static>> {
    pems.iter().map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).collect()
}

/// A running control plane.
pub struct Plane {
    pub port: u16,
    pub config: Config,
    pub bundle: TrustBundle,
    pub ready: hopgate::runtime::Ready,
    pub metrics: Metrics,
    pub publisher: hopgate::control::discovery::Publisher,
    pub fleet: hopgate::control::discovery::Fleet,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Plane {
    pub async fn start(directory: &Directory, clock: &Clock) -> Self {
        Self::start_at(directory, clock, "127.0.0.1:0").await
    }

    pub async fn start_at(directory: &Directory, clock: &Clock, listen: &str) -> Self {
        Self::start_with(directory, clock, listen, "").await
    }

    /// With more lines of configuration.
    pub async fn start_with(
        directory: &Directory,
        clock: &Clock,
        listen: &str,
        more: &str,
    ) -> Self {
        let more = format!("listen: \"{listen}\"\ndirectory: ca\n{more}");
        Self::start_of(directory, clock, &more).await
    }

    /// With all of the configuration but for the names.
    pub async fn start_of(directory: &Directory, clock: &Clock, config: &str) -> Self {
        let names = "trustDomain: demo.mesh\nserverNames: [localhost]\n";
        let mut config: Config = serde_saphyr::from_str(&format!("{names}{config}")).unwrap();
        config.resolve(&directory.0);
        let control = Control::bind(&config, clock.clone()).await.unwrap();
        let hopgate::runtime::Address::Tcp(address) = control.address() else { panic!("TCP") };
        let (port, bundle) = (address.port(), control.bundle());
        let (ready, metrics) = (control.ready(), control.metrics());
        let (publisher, fleet) = (control.publisher(), control.fleet());
        let mut tasks = Tasks::new();
        assert!(!ready.missing().is_empty());
        control.start(&mut tasks).unwrap();
        // The cluster is heard later.
        assert!(ready.missing().iter().all(|(name, _)| *name == "resources"));
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            tasks.run(shutdown, Duration::from_secs(2)).await.unwrap();
        });
        directory.write("roots.pem", &bundle.to_pem(), 0o644);
        Self { port, config, bundle, ready, metrics, publisher, fleet, stop: Some(stop), task }
    }

    pub async fn stop(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap();
    }

    pub fn token(&self, workload: &str, clock: &Clock) -> String {
        let ttl = Duration::from_secs(600);
        let token = join_token(&self.config, workload, ttl, clock.now()).unwrap();
        token.expose().to_owned()
    }
}

/// A join token, made in a runtime of its own: as the command line does it beside a control plane.
pub fn join_token(
    config: &Config,
    workload: &str,
    ttl: Duration,
    now: SystemTime,
) -> Result<JoinToken, ControlError> {
    std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(create_join_token(config, workload, ttl, now))
        });
        made.join().unwrap()
    })
}

/// What a caller sends.
pub struct Call<'a> {
    pub port: u16,
    pub trusts: &'a TrustBundle,
    pub certificate: Option<&'a X509Svid>,
    pub authorization: &'a [String],
    pub csr: String,
    pub seconds: i64,
}

impl Call<'_> {
    /// Calls as `localhost`, without any of the client's own checks.
    pub async fn send(self, clock: &Clock) -> Result<Vec<String>, tonic::Status> {
        let shown =
            self.certificate.map(|svid| (svid.chain().to_vec(), svid.key().to_pem().to_string()));
        self.send_as(clock, shown).await
    }

    /// The same, with any certificate and its key in PEM.
    pub async fn send_as(
        self,
        clock: &Clock,
        shown: Option<(Vec<CertificateDer<'static>>, String)>,
    ) -> Result<Vec<String>, tonic::Status> {
        let channel = connect(self.port, self.trusts, shown, clock).await?;
        self.send_over(channel).await
    }

    /// The same, over a connection that is there.
    pub async fn send_over(
        self,
        channel: tonic::transport::Channel,
    ) -> Result<Vec<String>, tonic::Status> {
        let message = IstioCertificateRequest {
            csr: self.csr,
            validity_duration: self.seconds,
            metadata: None,
        };
        let mut request = tonic::Request::new(message);
        for value in self.authorization {
            request.metadata_mut().append("authorization", value.parse().unwrap());
        }
        let answer =
            IstioCertificateServiceClient::new(channel).create_certificate(request).await?;
        Ok(answer.into_inner().cert_chain)
    }
}

/// A connection as `localhost`, with a certificate and its key in PEM, or none.
pub async fn connect(
    port: u16,
    trusts: &TrustBundle,
    shown: Option<(Vec<CertificateDer<'static>>, String)>,
    clock: &Clock,
) -> Result<tonic::transport::Channel, tonic::Status> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_details(provider, certs::time_provider(clock))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trusts.to_root_store());
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let connect = tower::service_fn(move |_: http::Uri| {
        let connector = connector.clone();
        async move {
            let tcp = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
            let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
            Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, tcp).await?))
        }
    });
    let endpoint = tonic::transport::Endpoint::from_static("http://localhost");
    endpoint
        .connect_with_connector(connect)
        .await
        .map_err(|e| tonic::Status::unavailable(format!("{e:?}")))
}

/// A renewal that runs.
pub struct Sidecar {
    pub identity: tokio::sync::watch::Receiver<Option<Arc<WorkloadIdentity>>>,
    pub handle: hopgate::certs::RenewalHandle,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Sidecar {
    pub fn start(config: &certs::Config, clock: &Clock) -> Self {
        Self::start_as(&id(ORDERS), config, clock)
    }

    pub fn start_as(workload: &SpiffeId, config: &certs::Config, clock: &Clock) -> Self {
        let renewal = Renewal::new(config, workload.clone(), clock.clone()).unwrap();
        let (identity, handle) = (renewal.identity(), renewal.handle());
        let mut tasks = Tasks::new();
        tasks.spawn("renewal", renewal.run(tasks.drain()));
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            tasks.run(shutdown, Duration::from_secs(12)).await.unwrap();
        });
        Self { identity, handle, stop: Some(stop), task }
    }

    pub fn serial(&self) -> Option<String> {
        self.identity.borrow().as_ref().map(|held| held.svid.leaf().serial().to_owned())
    }

    /// Waits until the served serial is not `old`.
    pub async fn other_than(&mut self, old: Option<&str>) -> Option<String> {
        let changed = self
            .identity
            .wait_for(|held| held.as_ref().map(|held| held.svid.leaf().serial()) != old);
        let waited = tokio::time::timeout(Duration::from_secs(60), changed).await;
        assert!(waited.is_ok(), "nothing changed: {:?}", self.handle.status());
        drop(waited);
        self.serial()
    }

    /// Waits until the status says an error that contains `words`.
    pub async fn error(&self, words: &str) {
        let error = || self.handle.status().last_error.unwrap_or_default();
        for _ in 0..600 {
            if error().contains(words) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no error {words:?}, but {:?}", self.handle.status());
    }

    /// Waits until the task has looked at the clock as it stands now.
    pub async fn looked(&self, clock: &Clock) {
        for _ in 0..1500 {
            if self.handle.status().checked_at == Some(clock.now()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the clock is not looked at: {:?}", self.handle.status());
    }

    /// Asks for a renewal, which must fail with an error that contains `words`.
    pub async fn refuses(&self, words: &str) {
        let before = self.handle.status().failures;
        self.handle.renew_now();
        for _ in 0..1500 {
            let status = self.handle.status();
            if status.failures > before {
                let error = status.last_error.unwrap_or_default();
                assert!(error.contains(words), "{error:?} does not say {words:?}");
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no failure, where {words:?} is expected: {:?}", self.handle.status());
    }

    pub async fn stop(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap();
    }
}

/// A sidecar's configuration against a control plane.
pub fn sidecar_config(directory: &Directory, server: &str, token: Option<&str>) -> certs::Config {
    if let Some(token) = token {
        directory.write("join.token", &format!("{token}\n"), 0o600);
    }
    let token = if token.is_some() { ", joinTokenFile: join.token" } else { "" };
    let mut config: certs::Config = serde_saphyr::from_str(&format!(
        "control: {{ server: \"{server}\", caFile: roots.pem{token} }}\nstateDirectory: state\n"
    ))
    .unwrap();
    config.resolve(&directory.0);
    config
}
