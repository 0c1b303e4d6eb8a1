//! The workload's certificate: the task that renews it and those who use it.

use std::future::Future;
use std::sync::Arc;

use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_server::SecretDiscoveryServiceServer;
use futures_util::StreamExt as _;
use prometheus_client::metrics::gauge::Gauge;
use serde_json::{Value, json};
use tokio::sync::watch;
use tonic::service::Routes;

use super::ads::EnvoyDoor;
use super::discovery::{
    Assignment, Discovery, DiscoveryStatus, Memory, Services, Words, count_discovery,
};
use super::in_use::{self, InUseConfig};
use super::judging::Aliases;
use super::standing::{Asking, Standing};
use super::{Config, StartError, sds};
use crate::certs;
use crate::identity::{SpiffeId, WorkloadIdentity};
use crate::runtime::{Clock, Drain, Listener, Ready, ReadyFlag, Tasks};
use crate::telemetry::Metrics;
use crate::xds::{AggregatedService, SecretService, Table};

/// The workload's certificate: the task that renews it and those who use it.
pub(super) struct Certificates {
    pub(super) identity: watch::Receiver<Option<Arc<WorkloadIdentity>>>,
    pub(super) renewal: certs::RenewalHandle,
    pub(super) sds: SecretServer,
    pub(super) secrets: watch::Receiver<Option<Arc<Table>>>,
    pub(super) sds_status: Arc<sds::SdsStatus>,
    pub(super) in_use: in_use::Shown,
    /// Where the workload's tokens come from.
    pub(super) tokens: certs::JwtSource,
    /// What the control plane tells; `None` when the certificate comes from somebody else.
    pub(super) told: Option<Told>,
}

/// What the control plane tells, for those who use it.
#[derive(Clone)]
pub(super) struct Told {
    pub(super) status: Arc<DiscoveryStatus>,
    /// Who is trusted no more.
    pub(super) words: Words,
    /// The services of the mesh, where they are wanted.
    pub(super) services: Option<Services>,
}

/// The condition that Envoy uses the certificate.
pub(super) const IN_USE: &str = "certificate-in-use";

type SecretServer = SecretDiscoveryServiceServer<SecretService>;

impl Certificates {
    pub(super) fn start(
        config: &Config,
        (id, memory, (assignment, aliases)): (&SpiffeId, Memory, (Assignment, Aliases)),
        (ready, metrics, clock): (&Ready, &Metrics, &Clock),
        tasks: &mut Tasks,
    ) -> Result<Option<Self>, StartError> {
        let Some(source) = &config.certificates else { return Ok(None) };
        let tokens = certs::JwtSource::new(&source.source, id.clone(), clock.clone())
            .map_err(certs::RenewalError::Server)?;
        let renewal =
            certs::Renewal::trusting(source, memory.trusted(), id.clone(), clock.clone())?;
        let identity = renewal.identity();
        let handle = renewal.handle();
        tasks.spawn("certificates", renewal.run(tasks.drain()));
        tasks.spawn(
            "certificate-ready",
            follow_certificate(
                identity.clone(),
                ready.require("certificate"),
                metrics,
                tasks.drain(),
            ),
        );
        let material = material(config, (&identity, aliases), metrics, tasks)?;
        let sds::Sds { server, publisher, status, tables: secrets } =
            sds::service(material, &tasks.drain());
        tasks.spawn("secrets", publisher.run());
        count_secrets(metrics, &status);
        let in_use = in_use::Shown::new(metrics);
        if let Some(places) = places(config) {
            let ready = ready.require(IN_USE);
            let shown = (ready, in_use.clone());
            let task = in_use::InUseTask::new(places, identity.clone(), shown, tasks.drain());
            tasks.spawn("certificate-in-use", task.run());
        }
        let envoys =
            config.sds.as_ref().map(|_| (Arc::clone(&status), config.discovery.envoy_grace));
        let parts = (identity.clone(), handle.clone());
        let running = (clock.clone(), tasks.drain());
        let discovery = memory
            .start((&source.source, assignment), parts, envoys, running)
            .map_err(certs::RenewalError::Server)?;
        let told = discovery.map(|Discovery { task, status, words, services }| {
            tasks.spawn("discovery", task.run());
            count_discovery(metrics, &status);
            Told { status, words, services }
        });
        Ok(Some(Self {
            identity,
            renewal: handle,
            sds: server,
            secrets,
            sds_status: status,
            in_use,
            tokens,
            told,
        }))
    }

    /// What `/certificates` shows: the chain that is served, when it will be renewed, and whom the workload trusts, by trust
    /// domain. No private key.
    pub(super) fn shown(&self) -> impl Fn() -> Value + Send + Sync + use<> {
        let (identity, renewal) = (self.identity.clone(), self.renewal.clone());
        move || {
            let held = identity.borrow().clone();
            let bundles = held.iter().flat_map(|held| {
                let bundles = &held.bundles;
                std::iter::once(bundles.own()).chain(bundles.foreign()).map(|roots| {
                    let domain = roots.domain();
                    let jwt = bundles.jwt_of(domain).map(|jwt| json!({ "keys": jwt.keys() }));
                    (domain.to_string(), json!({ "roots": roots.to_pem(), "jwtKeys": jwt }))
                })
            });
            json!({
                "id": held.as_ref().map(|held| held.svid.id().as_str()),
                "chain": held.as_ref().map(|held| held.svid.chain_pem()),
                "nextRenewal": renewal.status().next_renewal.and_then(super::dump::rfc3339),
                "bundles": bundles.collect::<serde_json::Map<_, _>>(),
            })
        }
    }
}

/// What the secrets are made of.
fn material(
    config: &Config,
    (identity, aliases): (&watch::Receiver<Option<Arc<WorkloadIdentity>>>, Aliases),
    metrics: &Metrics,
    tasks: &mut Tasks,
) -> Result<sds::Material, StartError> {
    let mut material = sds::Material::new(identity.clone());
    material.aliases = aliases;
    if let Some(path) = config.sds.as_ref().and_then(|sds| sds.crl.clone()) {
        let lists = sds::CrlTask::new(path)?;
        material.crl = lists.subscribe();
        count_lists(metrics, lists.subscribe());
        tasks.spawn("revocation-lists", lists.run(tasks.drain()));
    }
    Ok(material)
}

/// Where it can be looked whether Envoy uses the certificate.
fn places(config: &Config) -> Option<InUseConfig> {
    let sds = config.sds.as_ref()?;
    let captured = config.capture.as_ref().map(|capture| capture.admin.clone());
    let listed = config.envoy.as_ref().map(|envoy| envoy.admin.clone());
    let of_pod = config.pod.as_ref().map(|pod| pod.envoy_admin.clone());
    let admin = captured.or(listed).or(of_pod);
    let default = admin.map(|admin| InUseConfig { admin: Some(admin), listeners: Vec::new() });
    sds.in_use.clone().or(default)
}

/// Secrets, the rest of the configuration where it is ours, and whether connections may stand: all of it is asked for by the
/// Envoy of this workload alone.
pub(super) fn serve_sds(
    tasks: &mut Tasks,
    (server, ads, standing): (SecretServer, Option<AggregatedService<EnvoyDoor>>, Standing),
    listener: Listener,
    drain: Drain,
) {
    let mut routes = Routes::new(server);
    if let Some(ads) = ads {
        routes = routes.add_service(ads);
    }
    let secrets = std::mem::take(routes.axum_router_mut());
    *routes.axum_router_mut() = secrets.merge(standing.routes());
    let incoming = listener.incoming().map(|accepted| accepted.map(Asking::new));
    tasks.spawn("sds", async move {
        tonic::transport::Server::builder()
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, async move { drain.begun().await })
            .await
    });
}

fn unix_seconds(at: std::time::SystemTime) -> i64 {
    let since = at.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Readiness and the gauges of its life follow the certificate.
fn follow_certificate(
    mut identity: watch::Receiver<Option<Arc<WorkloadIdentity>>>,
    ready: ReadyFlag,
    metrics: &Metrics,
    drain: Drain,
) -> impl Future<Output = Result<(), std::convert::Infallible>> + use<> {
    let (start, expiry): (Gauge, Gauge) = Default::default();
    metrics.register(|registry| {
        registry.register(
            "certs_start_timestamp_seconds",
            "Since when the workload's certificate is good, in seconds since 1970; 0 without one",
            start.clone(),
        );
        registry.register(
            "certs_expiry_timestamp_seconds",
            "When the workload's certificate ends, in seconds since 1970; 0 without one",
            expiry.clone(),
        );
    });
    async move {
        loop {
            let life = identity.borrow_and_update().as_ref().map(|identity| {
                let leaf = identity.svid.leaf();
                (unix_seconds(leaf.not_before()), unix_seconds(leaf.not_after()))
            });
            let (begins, ends) = life.unwrap_or_default();
            start.set(begins);
            expiry.set(ends);
            match life {
                Some(_) => ready.met(),
                None => ready.unmet("no valid certificate yet"),
            }
            tokio::select! {
                changed = identity.changed() => if changed.is_err() {
                    // The task that renews ended; the process ends with it.
                    drain.begun().await;
                    return Ok(());
                },
                () = drain.begun() => return Ok(()),
            }
        }
    }
}

/// Acknowledgements and refusals of secrets, and open streams; read when the page is asked for.
fn count_secrets(metrics: &Metrics, status: &Arc<sds::SdsStatus>) {
    #[derive(Debug)]
    struct Secrets(Arc<sds::SdsStatus>);
    impl prometheus_client::collector::Collector for Secrets {
        fn encode(
            &self,
            mut encoder: prometheus_client::encoding::DescriptorEncoder<'_>,
        ) -> Result<(), std::fmt::Error> {
            use prometheus_client::encoding::EncodeMetric as _;
            use prometheus_client::metrics::counter::ConstCounter;
            use prometheus_client::metrics::gauge::ConstGauge;
            let streams = ConstGauge::new(i64::try_from(self.0.streams()).unwrap_or(i64::MAX));
            let help = "Secret discovery streams that are open.";
            streams.encode(encoder.encode_descriptor(
                "sds_streams",
                help,
                None,
                streams.metric_type(),
            )?)?;
            let sum = |of: fn(&sds::KindCount) -> u64| self.0.counts().iter().map(of).sum::<u64>();
            for (name, help, value) in [
                ("sds_acks", "Secrets that an Envoy took.", sum(|count| count.acks)),
                ("sds_nacks", "Secrets that an Envoy refused.", sum(|count| count.nacks)),
            ] {
                let count = ConstCounter::new(value);
                count.encode(encoder.encode_descriptor(
                    name,
                    help,
                    None,
                    count.metric_type(),
                )?)?;
            }
            Ok(())
        }
    }
    metrics.register(|registry| registry.register_collector(Box::new(Secrets(Arc::clone(status)))));
}

/// When the first revocation list is out of date; read when the page is asked for.
fn count_lists(metrics: &Metrics, lists: watch::Receiver<Option<sds::Crl>>) {
    #[derive(Debug)]
    struct Lists(watch::Receiver<Option<sds::Crl>>);
    impl prometheus_client::collector::Collector for Lists {
        fn encode(
            &self,
            mut encoder: prometheus_client::encoding::DescriptorEncoder<'_>,
        ) -> Result<(), std::fmt::Error> {
            use prometheus_client::encoding::EncodeMetric as _;
            let end = self.0.borrow().as_ref().and_then(sds::Crl::next_update);
            let end =
                end.and_then(|end| end.duration_since(std::time::SystemTime::UNIX_EPOCH).ok());
            let seconds = end.map_or(0, |end| i64::try_from(end.as_secs()).unwrap_or(i64::MAX));
            let gauge = prometheus_client::metrics::gauge::ConstGauge::new(seconds);
            gauge.encode(encoder.encode_descriptor(
                "sds_crl_next_update_timestamp_seconds",
                "When the first revocation list is out of date, in seconds since 1970; 0 if none says so.",
                None,
                gauge.metric_type(),
            )?)
        }
    }
    metrics.register(|registry| registry.register_collector(Box::new(Lists(lists))));
}
