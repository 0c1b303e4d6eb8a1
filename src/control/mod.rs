//! The control plane process: the certificate authority behind Istio's signing contract, and discovery for sidecars.

mod attest;
mod authority;
mod config;
pub mod discovery;
mod error;
pub mod federation;
mod issuer;
mod limits;
mod minting;
mod operator;
mod own;
mod rate;
mod refused;
mod resources;
mod rotation;
mod secret_vault;
mod signing;
mod signing_metrics;
mod tls;
mod turns;
mod upkeep;
pub mod webhooks;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::server::ResolvesServerCert;
use tokio::sync::watch;
use tonic::transport::Server;

use crate::ca::{
    Attestor, Authority, JoinToken, JwtLifetime, Lifetime, TokenStore, Trust, is_reserved,
    workload_id,
};
use crate::identity::{Bundles, TrustBundle};
use crate::kube::CertificateRequests;
use crate::kube::Cluster;
use crate::revocation::RevocationStore;
use crate::runtime::{Address, Clock, Listener, Ready, ReadyFlag, Tasks, with_causes};
use crate::telemetry::Metrics;

pub use attest::{Attest, KubernetesAttest};
pub use authority::AuthorityConfig;
pub use config::{Admin, Config, InvalidConfig, Operator};
pub use error::ControlError;
pub use issuer::{CertManager, IssuerError};
pub use limits::Limits;
pub use rate::Rate;
pub use resources::{Admission, ResourcesConfig};
pub use webhooks::{WebhookNames, WebhooksConfig};

use attest::Learner;
use authority::Opened;
use discovery::{Discovery, Fleet, FleetPage, Published, Publisher};
use federation::{Federation, FederationHandle};
pub use rotation::{
    AwaitedStanding, ChangeStanding, GenerationStanding, ReissueStanding, RequestStanding, Standing,
};

use issuer::{Issuer, LastRefusal};
use own::OwnCertificate;
use resources::Controller;
use rotation::Rotation;
use signing::Signing;
use webhooks::{Judge, Webhooks};

/// The longest that a request takes once its turn has come, and before it waits for one.
const SERVICE: Duration = Duration::from_secs(10);

/// A control plane that is bound and ready to run.
pub struct Control {
    authority: Arc<Authority>,
    /// Whoever signs the issuing certificate, where that is somebody else.
    requests: Option<CertificateRequests>,
    /// What was last seen of it is published.
    trust: watch::Receiver<Arc<Trust>>,
    tokens: Arc<TokenStore>,
    attestor: Attestor,
    learner: Learner,
    limits: Limits,
    lifetimes: (Lifetime, JwtLifetime),
    /// How long readers of the bundle endpoint may go by what they read before.
    readers: Duration,
    own: Arc<OwnCertificate>,
    federation: Federation,
    listener: Listener,
    address: Address,
    revocations: Arc<RevocationStore>,
    operator: Listener,
    clock: Clock,
    ready: Ready,
    serving: ReadyFlag,
    publisher: Publisher,
    fleet: Fleet,
    /// What is told of the cluster's resources; `None` where nothing is.
    resources: Option<Controller>,
    metrics: Metrics,
    webhooks: Option<Webhooks>,
}

impl Control {
    /// Opens (or, the first time, makes) the authority and binds the address.
    ///
    /// # Errors
    /// When the authority's directory, the configuration or the address cannot be used.
    pub async fn bind(config: &Config, clock: Clock) -> Result<Self, ControlError> {
        config.validate()?;
        let Opened { authority, requests } = authority::open(config, &clock).await?;
        let tokens = Arc::new(TokenStore::open(&config.directory)?);
        let revocations = Arc::new(RevocationStore::open(&config.directory)?);
        let attestor = attest::attestor(config, &authority, Arc::clone(&tokens))?
            .refusing(revocations.follow());
        let cluster = attest::cluster(config, &clock).await?;
        let learner = Learner::new(config, cluster.as_ref(), &clock);
        let names = (config.server_names.as_slice(), config.leaf_lifetime);
        let own = own::certificate(&authority, names, clock.now()).await?;
        let shown: Arc<dyn ResolvesServerCert> = Arc::<OwnCertificate>::clone(&own);
        let directory = config.directory.join(federation::DIRECTORY);
        let parts = (shown, authority.trust());
        let federation = Federation::bind(&config.federation, &directory, parts, &clock).await?;
        let webhooks = match &config.webhooks {
            Some(webhooks) => {
                let cluster = Cluster::connect(&config.kubernetes, &clock).await?;
                let parts = (webhooks, config.injection_settings());
                let authority = (&authority, config.leaf_lifetime);
                Some(Webhooks::bind(parts, authority, cluster, &clock).await?)
            }
            None => None,
        };
        let listener = config.listen.bind().await?;
        let address = listener.address().map_err(ControlError::Address)?;
        let operator = config.operator().bind().await?;
        let ready = Ready::new();
        let serving = ready.require("signing");
        let mut published = Published::new(Bundles::new(authority.bundle()));
        let mut trust = authority.trust();
        discovery::say(&mut published, &trust.borrow_and_update());
        published.revoked = operator::told(&revocations.follow().borrow());
        let (publisher, fleet) = (Publisher::new(published), Fleet::new(clock.clone()));
        federation::tell(&publisher, &federation.handle().foreign().borrow());
        let metrics = Metrics::new();
        FleetPage::new(fleet.clone(), publisher.subscribe()).count_in(&metrics);
        let resources = config.resources.as_ref().zip(cluster.as_ref());
        let resources = resources.map(|(resources, cluster)| {
            let parts = (resources, &config.trust_domain);
            Controller::new(parts, cluster, fleet.clone(), (&ready, &metrics))
        });
        Ok(Self {
            resources,
            publisher,
            fleet,
            metrics,
            authority,
            requests,
            trust,
            tokens,
            attestor,
            learner,
            limits: config.limits,
            lifetimes: (config.leaf_lifetime, config.jwt_svid_lifetime),
            readers: federation::readers_lag(config.federation.endpoint.as_ref()),
            own,
            federation,
            listener,
            address,
            revocations,
            operator,
            clock,
            ready,
            serving,
            webhooks,
        })
    }

    /// Where it listens; tells the port that the system chose.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The roots that sidecars must trust now.
    #[must_use]
    pub fn bundle(&self) -> TrustBundle {
        self.authority.bundle()
    }

    /// Changes what is told to sidecars.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// The sidecars that are connected, and what each has of what is told.
    #[must_use]
    pub fn fleet(&self) -> Fleet {
        self.fleet.clone()
    }

    /// What `/config` of the admin pages shows of discovery.
    #[must_use]
    pub fn fleet_page(&self) -> FleetPage {
        FleetPage::new(self.fleet.clone(), self.publisher.subscribe())
    }

    /// What `/config` of the admin pages shows: names and addresses, never a key or a token.
    #[must_use]
    pub fn dump(&self) -> serde_json::Value {
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "trustDomain": self.authority.bundle().domain().as_str(),
            "address": self.address,
            "roots": self.authority.bundle().to_pem(),
        })
    }

    /// What it counts; for the admin page.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// The relationships with other trust domains.
    #[must_use]
    pub fn federation(&self) -> FederationHandle {
        self.federation.handle()
    }

    /// Where others read this mesh's bundle, if they may.
    #[must_use]
    pub fn bundle_endpoint(&self) -> Option<&Address> {
        self.federation.address()
    }

    /// Where the API server calls the webhooks, if there are any.
    #[must_use]
    pub fn webhooks(&self) -> Option<&Address> {
        self.webhooks.as_ref().map(Webhooks::address)
    }

    /// Judges resources of the cluster before they are stored; `None` where none is followed.
    #[must_use]
    pub fn admission(&self) -> Option<Admission> {
        self.resources.as_ref().map(Controller::admission)
    }

    /// What is still missing before it serves; for the admin page.
    #[must_use]
    pub fn ready(&self) -> Ready {
        self.ready.clone()
    }

    /// Starts serving as essential tasks of `tasks`.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn start(self, tasks: &mut Tasks) -> Result<(), ControlError> {
        let foreign = self.federation.handle().foreign();
        let told = federation::tell_all(self.publisher.clone(), foreign, tasks.drain());
        tasks.spawn("foreign bundles", told);
        self.federation.start(tasks);
        let verifier = self.attestor.client_verifier();
        let acceptor = tls::acceptor(Arc::clone(&self.own), verifier, &self.clock)?;
        if let Some(questions) = self.learner.questions() {
            tasks.spawn("token reviews", questions.run(tasks.drain()));
        }
        let signing = Signing::new(
            (self.authority.clone(), self.attestor, self.tokens.clone()),
            (self.learner, self.limits),
            (self.lifetimes.0, self.clock.clone()),
            &self.metrics,
        );
        let minting = signing.minting(self.lifetimes.1, self.limits.per_workload, &self.metrics);
        let incoming = tls::incoming(self.listener, acceptor);
        let drain = tasks.drain();
        let published = self.publisher.subscribe();
        let refusal = LastRefusal::default();
        let rotation = Rotation::new(
            (Arc::clone(&self.authority), refusal.clone()),
            (self.fleet.clone(), self.readers),
            published.clone(),
            self.clock.clone(),
        );
        if let Some(requests) = self.requests {
            let (authority, clock) = (Arc::clone(&self.authority), self.clock.clone());
            let issuer = Issuer::new(authority, requests, refusal, clock);
            tasks.spawn("issuer", issuer.run(tasks.drain()));
        }
        tasks.spawn("rotation", rotation.clone().run(drain.clone()));
        follow_cluster((self.resources, self.webhooks), &self.metrics, &self.clock, tasks)?;
        let discovery = Discovery::new(published, self.fleet, &self.clock, drain.clone());
        let follow = discovery::follow(self.trust, self.publisher.clone(), tasks.drain());
        tasks.spawn("trust", follow);
        let follow =
            operator::publish(self.revocations.follow(), self.publisher.clone(), tasks.drain());
        tasks.spawn("revoked", follow);
        tasks.spawn("discovery", discovery.task.run(self.publisher));
        let server = Server::builder()
            .timeout(self.limits.patience + SERVICE)
            .max_concurrent_streams(16)
            .http2_max_header_list_size(16 * 1024)
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .max_connection_age(Duration::from_secs(300))
            .add_service(signing.into_service())
            .add_service(minting.into_service())
            .add_service(discovery.service);
        self.serving.met();
        let serving = self.serving;
        tasks.spawn("signing", async move {
            let begun = drain.clone();
            server
                .serve_with_incoming_shutdown(incoming, async move {
                    begun.begun().await;
                    serving.unmet("draining");
                })
                .await
        });
        let desk = operator::Desk {
            store: Arc::clone(&self.revocations),
            domain: self.authority.domain().clone(),
            clock: self.clock.clone(),
        };
        let routes = operator::revocations(desk).merge(operator::authority(rotation));
        tasks.spawn("operator", operator::serve(self.operator, routes, tasks.drain()));
        tasks.spawn(
            "revocations",
            operator::sweep(self.revocations, self.clock.clone(), tasks.drain()),
        );
        tasks.spawn(
            "authority upkeep",
            upkeep::run((self.authority, self.own, self.tokens), self.clock, tasks.drain()),
        );
        Ok(())
    }
}

/// What there is of a cluster: its resources, and what its API server asks about them and about pods.
fn follow_cluster(
    (resources, webhooks): (Option<Controller>, Option<Webhooks>),
    metrics: &Metrics,
    clock: &Clock,
    tasks: &mut Tasks,
) -> Result<(), ControlError> {
    let judge = resources.as_ref().map(|resources| judge(resources.admission()));
    if let Some(resources) = resources {
        // Statuses are written by every replica that follows resources.
        let (_, leader) = watch::channel(true);
        resources.start(clock, leader, tasks);
    }
    match webhooks {
        Some(webhooks) => webhooks.start(judge, (metrics, clock), tasks),
        None => Ok(()),
    }
}

/// Judges resources for the API server.
fn judge(admission: Admission) -> Judge {
    Arc::new(move |review| admission.answer(review).map_err(|error| with_causes(&error)))
}

/// Makes a join token for `workload` (`ns/<namespace>/sa/<service account>`). The control plane need not run.
///
/// # Errors
/// When the workload is none, is reserved, or the token cannot be stored.
pub fn create_join_token(
    config: &Config,
    workload: &str,
    ttl: Duration,
    now: SystemTime,
) -> Result<JoinToken, ControlError> {
    let id = workload_id(&config.trust_domain, workload)?;
    if is_reserved(&id) {
        return Err(ControlError::Reserved);
    }
    Ok(TokenStore::open(&config.directory)?.create(&id, ttl, now)?)
}
