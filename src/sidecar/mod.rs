//! The process beside a workload: ext_authz, SDS and admin, composed.

mod ads;
mod assigned;
mod authn_metrics;
mod callers;
mod certificates;
mod config;
pub mod discovery;
mod doors;
mod dump;
mod envoy_admin;
pub mod envoys;
mod ext_authz;
mod grpc;
mod in_force;
mod in_use;
mod judging;
mod outbound;
pub mod pod;
mod referenced;
mod reload;
mod resources;
mod revocations;
mod running_metrics;
pub mod sds;
mod sources;
mod standing;
mod texts;
pub mod workload_api;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;

pub use ads::{Drained, EnvoyDrain, InvalidServices};
pub use assigned::AssignedPage;
pub use callers::{BrakeConfig, BrakeLimits, Proxy, ProxyAbsent, ProxyHeader, ProxyTrust};
pub use config::{
    Admin, Config, DecisionLogConfig, ExtAuthz as ExtAuthzConfig, Identity, InvalidConfig,
    RawCallerAttributes, Tracing, Workload,
};
pub use discovery::DiscoveryConfig;
pub use doors::{DoorAddress, DoorConfig, DoorProxy, InvalidDoorAddress};
pub use ext_authz::{CheckLimits, ExtAuthz};
pub use in_use::InUseConfig;
pub use outbound::OutboundConfig;
pub use pod::{PodAddresses, PodConfig};
pub use referenced::{Unreadable, referenced_files};
pub use resources::{
    Counts, InvalidResources, Resources, identity_providers, mesh_policy, resource_texts,
};
pub use sds::config::Sds;
pub use sources::{ControlResources, Sources};
pub use workload_api::{CallerUsers, WorkloadApi, WorkloadApiConfig};

use crate::authn::Tokens;
use crate::authz::Gate;
use crate::certs;
use crate::runtime::{
    Address, BindError, Clock, ConnectionCounts, Ready, ReadyFlag, TaskEnded, Tasks, WatchError,
};
use crate::telemetry::{DecisionLog, LogTarget, Metrics};
use ads::Ads;
use certificates::{Certificates, serve_sds};
use discovery::Memory;
use doors::HttpDoor;
use dump::dump;
use ext_authz::Door as _;
use judging::Judging;
use outbound::Outbound;
use standing::Standing;

/// A sidecar with everything bound and loaded, not serving yet.
pub struct Bound {
    tasks: Tasks,
    drain_timeout: Duration,
    envoy_drain: Option<ads::EnvoyDrain>,
    ready: Ready,
    draining: ReadyFlag,
    addresses: Addresses,
}

/// Where a sidecar serves.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// External authorization.
    pub ext_authz: Vec<Address>,
    /// The doors of other proxies, each with its name.
    pub doors: Vec<(String, Address)>,
    /// Secret discovery.
    pub sds: Option<Address>,
    /// The SPIFFE Workload API.
    pub workload_api: Option<Address>,
    /// Tokens of the application's own calls.
    pub outbound: Option<Address>,
    /// What the pod's network reaches.
    pub pod: Option<PodAddresses>,
    /// Admin.
    pub admin: Address,
}

/// Why a sidecar does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// The resource files are wrong.
    #[error(transparent)]
    Resources(#[from] InvalidResources),
    /// An address cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A bound socket does not tell its address.
    #[error("cannot tell the address of a socket")]
    Address(#[source] io::Error),
    /// The files cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The decision log cannot be opened.
    #[error("cannot open the decision log {path}")]
    DecisionLog {
        /// Where it should be.
        path: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A file that the configuration names cannot be read.
    #[error("extAuthz.grpcDescriptors: {0}")]
    File(#[from] crate::runtime::FileError),
    /// The descriptors of gRPC services cannot be used.
    #[error("extAuthz.grpcDescriptors: {0}")]
    Descriptors(#[from] crate::authz::InvalidDescriptors),
    /// The revocation lists cannot be used.
    #[error(transparent)]
    Crl(#[from] sds::CrlStartError),
    /// The certificate source is wrong.
    #[error(transparent)]
    Certificates(#[from] certs::RenewalError),
    /// What the control plane told before cannot be read.
    #[error(transparent)]
    Told(#[from] discovery::StoredError),
    /// Nobody could call the Workload API, or anybody.
    #[error("workloadApi.callers: {0}")]
    Callers(workload_api::InvalidCallers),
    /// Nothing can be fetched.
    #[error(transparent)]
    Http(#[from] crate::authn::HttpError),
    /// Fetched keys cannot be kept.
    #[error("stateDir: {0}")]
    Store(#[from] crate::authn::InvalidKeyStore),
    /// The services of the mesh cannot be used.
    #[error("capture.services: {0}")]
    Services(#[from] InvalidServices),
    /// Envoy's bootstrap cannot be written.
    #[error("capture.bootstrap: {0}")]
    Bootstrap(#[source] crate::runtime::FileError),
    /// Envoy's configuration cannot be written.
    #[error(transparent)]
    Encode(#[from] crate::mesh::NotEncodable),
    /// Tokens of the application's own calls cannot be had.
    #[error(transparent)]
    Outbound(#[from] crate::authn::InvalidTarget),
    /// TLS to the application cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// The system has no randomness.
    #[error(transparent)]
    Randomness(#[from] crate::authn::NoRandomness),
}

impl Bound {
    /// Loads everything, binds everything, fails early.
    ///
    /// # Errors
    /// When any part of the configuration cannot be used as it is.
    pub async fn build(config: Config, clock: Clock) -> Result<Self, StartError> {
        let own = config.validate()?;
        let id = own.id.clone();
        let metrics = Metrics::new();
        let ready = Ready::new();
        let mut tasks = Tasks::new();
        let drain = tasks.drain();
        let log = open_log(&config.decision_log)?;
        count_lost_lines(&metrics, &log);

        let memory = Memory::of(&config, &id)?;
        let (judging, assignment) =
            Judging::start(&config, (own, &memory, &clock), (&ready, &metrics), &mut tasks)?;
        let parts = (&id, memory, (assignment, judging.aliases.clone()));
        let certificates =
            Certificates::start(&config, parts, (&ready, &metrics, &clock), &mut tasks)?;
        if let Some(certificates) = &certificates {
            tasks.spawn("roots", judging.follow_roots(certificates, drain.clone()));
        }
        let standing = Standing::new(drain.clone());
        let parts = (&judging.gate, certificates.as_ref(), &standing);
        let around = (&ready, &clock, &metrics);
        let withdrawn = revocations::start((&config, id), parts, around, &mut tasks)?;
        let service = ExtAuthz::new(
            Arc::clone(&judging.gate),
            log.clone(),
            judging.resolver.clone(),
            (&metrics, config.check_limits()),
        );
        let connections = count_connections(&metrics);
        let doors = (&service, &connections);
        let (addresses, doors) = open_doors(&config, doors, &mut tasks).await?;
        let parts = (&judging.gate, certificates.as_ref(), standing);
        let (sds, ads) = serve_envoy(&config, parts, around, &mut tasks).await?;
        let (ads_status, envoy_drain) = ads.map(|ads| (ads.status, ads.drain)).unzip();
        let workload_api = workload_api::start(
            config.workload_api.as_ref(),
            certificates.as_ref().map(|certificates| workload_api::Holdings {
                identity: withdrawn.issued,
                revoked: withdrawn.in_force,
                tokens: certificates.tokens.clone(),
            }),
            (&clock, &metrics),
            &mut tasks,
        )
        .await?;
        let tokens = outbound(&config, &clock, (&metrics, &connections), &mut tasks).await?;
        let pod = match &config.pod {
            Some(pod) => Some(pod::start(pod, (&ready, &metrics), &mut tasks).await?),
            None => None,
        };
        let admin = config.admin.listen.bind().await?;
        let addresses = Addresses {
            ext_authz: addresses,
            doors,
            sds,
            workload_api,
            outbound: tokens.as_ref().map(|(address, _)| address.clone()),
            pod,
            admin: admin.address().map_err(StartError::Address)?,
        };
        let tokens = tokens.map(|(_, tokens)| tokens);
        let status = (certificates.as_ref(), withdrawn.status, ads_status);
        let dump = dump(&config, (judging, tokens), clock, status);
        let mut pages = crate::admin::Admin::new(ready.clone(), metrics, dump).with_decisions(log);
        if let Some(certificates) = &certificates {
            let renewal = certificates.renewal.clone();
            pages = pages.with_renewal(move || renewal.renew_now());
            pages = pages.with_certificates(certificates.shown());
        }
        tasks.spawn("admin", pages.serve(admin, drain));
        let draining = ready.require("serving");
        draining.met();
        let drain_timeout = config.drain_timeout;
        Ok(Self { tasks, drain_timeout, envoy_drain, ready, draining, addresses })
    }

    /// Where it serves.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What is still missing before it is ready.
    #[must_use]
    pub fn ready(&self) -> Ready {
        self.ready.clone()
    }

    /// Serves until `shutdown` resolves, then drains: not ready first, then Envoy's callers turn elsewhere, then requests in
    /// flight finish.
    ///
    /// # Errors
    /// When an essential task ended before.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), TaskEnded> {
        let (draining, envoy) = (self.draining, self.envoy_drain);
        let shutdown = async move {
            shutdown.await;
            draining.unmet("draining");
            tracing::info!("draining");
            // All of this sidecar still serves meanwhile.
            if let Some(envoy) = envoy {
                envoy.run_and_tell().await;
            }
        };
        self.tasks.run(shutdown, self.drain_timeout).await
    }
}

/// What the Envoy of this workload asks for: its secrets, and its configuration where that is ours.
async fn serve_envoy(
    config: &Config,
    (gate, certificates, standing): (&Arc<Gate>, Option<&Certificates>, Standing),
    around: (&Ready, &Clock, &Metrics),
    tasks: &mut Tasks,
) -> Result<(Option<Address>, Option<Ads>), StartError> {
    let (Some(sds), Some(certificates)) = (&config.sds, certificates) else {
        return Ok((None, None));
    };
    let listener = sds.listen.bind().await?;
    let address = listener.address().map_err(StartError::Address)?;
    let ads = ads::start(config, (gate, certificates, &standing), around, tasks)?;
    let aggregated = ads.as_ref().map(|ads| ads.service.clone());
    let drain = tasks.drain();
    serve_sds(tasks, (certificates.sds.clone(), aggregated, standing), listener, drain);
    Ok((Some(address), ads))
}

/// The doors of those who ask: Envoys by gRPC, and other proxies by HTTP.
async fn open_doors(
    config: &Config,
    (service, connections): (&ExtAuthz, &ConnectionCounts),
    tasks: &mut Tasks,
) -> Result<(Vec<Address>, Vec<(String, Address)>), StartError> {
    let (mut addresses, mut doors) = (Vec::new(), Vec::new());
    for address in &config.ext_authz.listen {
        let listener = address.bind().await?;
        addresses.push(listener.address().map_err(StartError::Address)?);
        let served = service.clone().serve(listener, tasks.drain(), connections.of("ext_authz"));
        tasks.spawn("ext_authz", served);
    }
    for config in &config.doors {
        let door = HttpDoor::new(config.clone(), service.clone());
        for address in &config.listen {
            let listener = address.bind().await?;
            let address = listener.address().map_err(StartError::Address)?;
            doors.push((config.name.clone(), address));
            let served = door.clone().serve(listener, tasks.drain(), connections.of("http"));
            tasks.spawn("door", served);
        }
    }
    Ok((addresses, doors))
}

/// The door that gives outgoing calls their tokens.
async fn outbound(
    config: &Config,
    clock: &Clock,
    (metrics, connections): (&Metrics, &ConnectionCounts),
    tasks: &mut Tasks,
) -> Result<Option<(Address, Tokens)>, StartError> {
    let Some(OutboundConfig { listen, tokens }) = &config.outbound else { return Ok(None) };
    let (tokens, sources) = Tokens::compile(tokens, clock)?;
    for source in sources {
        tasks.spawn("tokens", source.run(tasks.drain()));
    }
    let listener = listen.bind().await?;
    let address = listener.address().map_err(StartError::Address)?;
    let door = Outbound::new(tokens.clone(), clock.clone(), config.check_limits(), metrics);
    tasks.spawn("outbound", door.serve(listener, tasks.drain(), connections.of("outbound")));
    Ok(Some((address, tokens)))
}

fn open_log(config: &DecisionLogConfig) -> Result<DecisionLog, StartError> {
    let target = match &config.path {
        Some(path) if path.as_os_str() != "stdout" => LogTarget::File(path.clone()),
        Some(_) | None => LogTarget::Stdout,
    };
    DecisionLog::open(&target).map_err(|source| {
        let path =
            config.path.as_ref().map_or_else(|| "stdout".to_owned(), |p| p.display().to_string());
        StartError::DecisionLog { path, source }
    })
}

fn count_connections(metrics: &Metrics) -> ConnectionCounts {
    let counts = ConnectionCounts::default();
    metrics.register(|registry| {
        let help = "Connections of those who ask about requests, by door";
        registry.register("sidecar_connections", help, counts.open.clone());
        let help = "Connections closed because a door had too many: the one that was idle for longest, or a new one";
        registry.register("sidecar_connections_closed", help, counts.closed.clone());
    });
    counts
}

fn count_lost_lines(metrics: &Metrics, log: &DecisionLog) {
    /// Read when the page is asked for.
    #[derive(Debug)]
    struct Lost(DecisionLog);
    impl Collector for Lost {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
            let lost = ConstCounter::new(self.0.lost());
            let help = "Decision records lost because the log took none for too long.";
            let encoder =
                encoder.encode_descriptor("decision_log_lost", help, None, lost.metric_type())?;
            lost.encode(encoder)
        }
    }
    metrics.register(|registry| registry.register_collector(Box::new(Lost(log.clone()))));
}
