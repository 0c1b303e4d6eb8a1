//! The control plane process: the certificate authority behind Istio's signing contract, and discovery for sidecars.

mod attest;
mod authority;
mod config;
pub mod discovery;
mod error;
pub mod federation;
mod issuer;
mod limits;
mod map_revocations;
mod minting;
mod operator;
mod own;
mod place;
mod rate;
mod refused;
mod replicas;
mod resources;
mod rotation;
mod secret_tokens;
mod secret_vault;
mod signing;
mod signing_metrics;
mod start;
mod tls;
mod turns;
mod upkeep;
pub mod webhooks;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::server::ResolvesServerCert;
use tokio::sync::watch;

use crate::ca::{
    Attestor, Authority, JoinToken, JwtLifetime, Lifetime, TokenStore, Trust, is_reserved,
    workload_id,
};
use crate::identity::{Bundles, SpiffeBundle, TrustBundle};
use crate::kube::{CertificateRequests, Cluster, Pods};
use crate::revocation::RevocationStore;
use crate::runtime::{Address, Clock, Listener, Ready, ReadyFlag};
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
use discovery::{Fleet, FleetPage, Published, Publisher};
use federation::{Federation, FederationError, FederationHandle};
pub use rotation::{
    AwaitedStanding, ChangeStanding, GenerationStanding, ReissueStanding, RequestStanding, Standing,
};

use own::OwnCertificate;
use place::Place;
use replicas::{Companions, Replicas};
use resources::Controller;
use webhooks::Webhooks;

/// A control plane that is bound and ready to run.
pub struct Control {
    authority: Arc<Authority>,
    /// Whoever signs the issuing certificate, where that is somebody else.
    requests: Option<CertificateRequests>,
    replicas: Replicas,
    /// What keeps this replica in touch with the others, where there can be some.
    companions: Option<Companions>,
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
    /// Who is asked what became of a pod.
    pods: Option<Pods>,
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
        let place = Place::of(config, &clock).await?;
        let replicas = place.replicas(&clock);
        let Opened { authority, requests } =
            authority::open(config, (&place, &replicas), &clock).await?;
        let tokens = Arc::new(place.tokens()?);
        let revocations = Arc::new(place.revocations().await?);
        let companions = place.companions(&replicas, &authority, &revocations, &clock);
        let attestor = attest::attestor(config, &authority, Arc::clone(&tokens))?
            .refusing(revocations.follow());
        let cluster = attest::cluster(config, &clock).await?;
        let learner = Learner::new(config, cluster.as_ref(), &clock);
        let names = (config.server_names.as_slice(), config.leaf_lifetime);
        let own = own::certificate(&authority, names, clock.now()).await?;
        let shown: Arc<dyn ResolvesServerCert> = Arc::<OwnCertificate>::clone(&own);
        let parts = (shown, authority.trust());
        let shelf = place.federation()?;
        let federation = Federation::bind(&config.federation, shelf, parts, &clock).await?;
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
        let operator = config.operator()?.bind().await?;
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
            pods: cluster.as_ref().map(Pods::new),
            publisher,
            fleet,
            metrics,
            authority,
            requests,
            replicas,
            companions,
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
}

/// The bundle that a control plane with this configuration published last. It need not run.
///
/// # Errors
/// When there is nothing, or it cannot be read.
pub async fn published_bundle(config: &Config) -> Result<SpiffeBundle, ControlError> {
    let shelf = Place::of(config, &Clock::system()).await?.federation()?;
    let domain = config.trust_domain.clone();
    authority::blocking(move || {
        federation::published(&*shelf, &domain).map_err(FederationError::from)
    })
    .await
}

/// Makes a join token for `workload` (`ns/<namespace>/sa/<service account>`). The control plane need not run.
///
/// # Errors
/// When the workload is none, is reserved, or the token cannot be stored.
pub async fn create_join_token(
    config: &Config,
    workload: &str,
    ttl: Duration,
    now: SystemTime,
) -> Result<JoinToken, ControlError> {
    let id = workload_id(&config.trust_domain, workload)?;
    if is_reserved(&id) {
        return Err(ControlError::Reserved);
    }
    let tokens = Place::of(config, &Clock::system()).await?.tokens()?;
    authority::blocking(move || tokens.create(&id, ttl, now)).await
}
