//! The process beside a workload: ext_authz, SDS and admin, composed.

mod certificates;
mod config;
mod dump;
mod ext_authz;
mod grpc;
mod reload;
mod resources;
pub mod sds;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::mpsc;

pub use config::{
    Admin, Config, DecisionLogConfig, ExtAuthz as ExtAuthzConfig, Identity, InvalidConfig, Sds,
    Tracing, Workload,
};
pub use ext_authz::ExtAuthz;
pub use resources::{Counts, InvalidResources, Resources};

use crate::authn::{KeyHandle, KeyRefresh, KeyStatus, Roots, Verifier};
use crate::authz::Gate;
use crate::certs;
use crate::runtime::{
    Address, BindError, Clock, FileWatch, Ready, ReadyFlag, TaskEnded, Tasks, WatchError,
};
use crate::telemetry::{DecisionLog, LogTarget, Metrics};
use certificates::{Certificates, serve_sds};
use dump::dump;
use reload::{Reload, ReloadStatus};

/// Verified tokens kept, at most.
const TOKEN_CACHE: u64 = 100_000;

/// A sidecar with everything bound and loaded, not serving yet.
pub struct Bound {
    tasks: Tasks,
    drain_timeout: Duration,
    ready: Ready,
    draining: ReadyFlag,
    addresses: Addresses,
}

/// Where a sidecar serves.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// External authorization.
    pub ext_authz: Vec<Address>,
    /// Secret discovery.
    pub sds: Option<Address>,
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
    /// The certificate source is wrong.
    #[error(transparent)]
    Certificates(#[from] certs::RenewalError),
    /// Keys cannot be fetched.
    #[error(transparent)]
    Keys(#[from] crate::authn::FetchError),
}

impl Bound {
    /// Loads everything, binds everything, fails early.
    ///
    /// # Errors
    /// When any part of the configuration cannot be used as it is.
    pub async fn build(config: Config, clock: Clock) -> Result<Self, StartError> {
        let Identity { id, workload } = config.validate()?;
        // Watched before they are read, so that no change falls between.
        let files = FileWatch::new(&config.resources)?;
        let resources = Resources::load(&config.resources, &workload)?;
        let metrics = Metrics::new();
        let ready = Ready::new();
        let mut tasks = Tasks::new();
        let drain = tasks.drain();
        let log = open_log(&config.decision_log)?;
        count_lost_lines(&metrics, &log);

        let gate = Arc::new(Gate::new(
            resources.snapshot(),
            Verifier::new(TOKEN_CACHE),
            workload.trust_domain.clone(),
            clock.clone(),
        ));
        let (new_keys, keys_received) = mpsc::channel(16);
        let (key_task, keys) = KeyRefresh::new(clock.clone(), Roots::System, new_keys)?;
        keys.update(resources.providers());
        count_keys(&metrics, &keys, &clock);
        tasks.spawn("keys", key_task.run(drain.clone()));

        let policy_ready = ready.require("policy");
        let status = ReloadStatus::new(&metrics);
        let counts = resources.counts();
        let reload = Reload::new(
            (config.resources.clone(), workload.clone()),
            resources,
            (Arc::clone(&gate), keys.clone()),
            (ready.require("keys"), status.clone()),
        );
        tasks.spawn("resources", reload.run(files, keys_received, drain.clone()));
        policy_ready.met();

        let certificates =
            Certificates::start(&config, (&id, &clock), (&ready, &metrics), &mut tasks)?;
        let mut addresses = Vec::new();
        let service = ExtAuthz::new(
            Arc::clone(&gate),
            log,
            keys.clone(),
            (&metrics, config.ext_authz.max_request_bytes),
        );
        for address in &config.ext_authz.listen {
            let listener = address.bind().await?;
            addresses.push(listener.address().map_err(StartError::Address)?);
            tasks.spawn("ext_authz", service.clone().serve(listener, drain.clone()));
        }
        let sds = match (&config.sds, &certificates) {
            (Some(sds), Some(certificates)) => {
                let listener = sds.listen.bind().await?;
                let address = listener.address().map_err(StartError::Address)?;
                serve_sds(&mut tasks, certificates.sds.clone(), listener, drain.clone());
                Some(address)
            }
            (Some(_) | None, _) => None,
        };
        let admin = config.admin.listen.bind().await?;
        let addresses = Addresses {
            ext_authz: addresses,
            sds,
            admin: admin.address().map_err(StartError::Address)?,
        };
        let dump = dump(&config, (gate, status, counts), (keys, clock), certificates.as_ref());
        let mut pages = crate::admin::Admin::new(ready.clone(), metrics, dump);
        if let Some(certificates) = &certificates {
            let renewal = certificates.renewal.clone();
            pages = pages.with_renewal(move || renewal.renew_now());
        }
        tasks.spawn("admin", pages.serve(admin, drain));
        let draining = ready.require("serving");
        draining.met();
        Ok(Self { tasks, drain_timeout: config.drain_timeout, ready, draining, addresses })
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

    /// Serves until `shutdown` resolves, then drains: not ready first, then requests in flight finish.
    ///
    /// # Errors
    /// When an essential task ended before.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), TaskEnded> {
        let draining = self.draining;
        let shutdown = async move {
            shutdown.await;
            draining.unmet("draining");
            tracing::info!("draining");
        };
        self.tasks.run(shutdown, self.drain_timeout).await
    }
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

/// Age and fetches of the providers' keys; read when the page is asked for.
fn count_keys(metrics: &Metrics, keys: &KeyHandle, clock: &Clock) {
    struct Keys(KeyHandle, Clock);
    impl std::fmt::Debug for Keys {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Keys")
        }
    }
    impl Collector for Keys {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
            let status = self.0.status();
            let sum = |of: fn(&KeyStatus) -> u64| status.iter().map(of).sum::<u64>();
            for (name, help, value) in [
                ("authn_key_fetches", "Fetches of key sets that ended.", sum(|s| s.fetches)),
                (
                    "authn_key_fetch_failures",
                    "Fetches of key sets that failed.",
                    sum(|s| s.failures),
                ),
            ] {
                let count = ConstCounter::new(value);
                count.encode(encoder.encode_descriptor(
                    name,
                    help,
                    None,
                    count.metric_type(),
                )?)?;
            }
            let oldest =
                status.iter().filter_map(|s| s.age(self.1.now())).max().unwrap_or_default();
            let age = ConstGauge::new(i64::try_from(oldest.as_secs()).unwrap_or(i64::MAX));
            let help =
                "Time since the keys of the provider that is longest without an answer came.";
            let (name, kind) = ("authn_key_age_seconds", age.metric_type());
            age.encode(encoder.encode_descriptor(name, help, None, kind)?)
        }
    }
    let keys = Keys(keys.clone(), clock.clone());
    metrics.register(|registry| registry.register_collector(Box::new(keys)));
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
