//! The resources of the cluster: heard, chosen for each sidecar, told; and what became of them, written back.
//!
//! Promised here:
//! - nothing is told before everything was heard in full, and no error of the API server takes anything away;
//! - a sidecar is told what selects its pod, and of a pod that is not known nothing, so that what it has stands;
//! - sidecars with the same resources share them, and one that is slow holds back nobody.

mod config;
mod groups;
mod known;
mod report;
mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::stream::{BoxStream, SelectAll, StreamExt as _};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;

use crate::identity::TrustDomain;
use crate::kube::index::{Change, Index};
use crate::kube::{self, Cluster, InvalidReview, StatusWriter};
use crate::runtime::{Clock, Drain, Ready, ReadyFlag, Tasks};
use crate::telemetry::Metrics;

use super::discovery::{Audience, Fleet};

pub use config::ResourcesConfig;

use groups::Groups;
use known::Known;
use report::Report;
use services::ServiceTable;

/// The most that is heard before it is told.
const MAX_BURST: usize = 1000;
/// An error of the API server that lasts is said again after this.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Follows the resources of a cluster and tells each sidecar its own.
pub(super) struct Controller {
    index: Index,
    changes: SelectAll<BoxStream<'static, Change>>,
    fleet: Fleet,
    groups: Groups,
    services: ServiceTable,
    known: watch::Sender<Arc<Known>>,
    counts: Counts,
    ready: ReadyFlag,
    writer: StatusWriter,
    /// What fails, by kind, and when that was last said.
    troubles: BTreeMap<&'static str, Instant>,
}

/// Answers the API server before a resource is stored. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Admission(watch::Receiver<Arc<Known>>);

/// What a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Concern {
    /// Which resources are for whom.
    Resources,
    /// Which services there are, and who is behind them.
    Services,
}

/// What is counted.
#[derive(Debug, Default)]
struct Counts {
    services: Gauge,
    resources: Gauge,
    pods: Gauge,
    sets: Gauge,
    failures: Counter,
}

impl Controller {
    pub(super) fn new(
        (config, domain): (&ResourcesConfig, &TrustDomain),
        cluster: &Cluster,
        fleet: Fleet,
        (ready, metrics): (&Ready, &Metrics),
    ) -> Self {
        let counts = Counts::default();
        counts.register(metrics);
        let ready = ready.require("resources");
        ready.unmet("no resource of the cluster was heard yet");
        Self {
            index: Index::new(&config.root_namespace),
            changes: kube::changes(cluster),
            fleet,
            groups: Groups::default(),
            services: ServiceTable::new(domain.clone()),
            known: watch::Sender::new(Arc::new(Known::nothing(&config.root_namespace))),
            counts,
            ready,
            writer: StatusWriter::new(cluster.clone()),
            troubles: BTreeMap::new(),
        }
    }

    /// Judges resources before they are stored.
    pub(super) fn admission(&self) -> Admission {
        Admission(self.known.subscribe())
    }

    /// Starts following and writing statuses, the latter while `leader` says that this replica leads.
    pub(super) fn start(self, clock: &Clock, leader: watch::Receiver<bool>, tasks: &mut Tasks) {
        let parts = (self.known.subscribe(), self.fleet.clone());
        let report = Report::new(parts, leader, self.writer.clone(), clock.clone());
        tasks.spawn("status of resources", report.run(tasks.drain()));
        tasks.spawn("resources", self.run(tasks.drain()));
    }

    async fn run(mut self, drain: Drain) -> Result<(), Infallible> {
        let mut arrivals = self.fleet.arrivals();
        loop {
            let mut concerns = BTreeSet::new();
            tokio::select! {
                () = drain.begun() => return Ok(()),
                Some(change) = self.changes.next() => concerns.extend(self.hear(change)),
                // Never an error: the fleet is held here.
                Ok(()) = arrivals.changed() => {}
            }
            for _ in 0..MAX_BURST {
                let Some(Some(change)) = self.changes.next().now_or_never() else { break };
                concerns.extend(self.hear(change));
            }
            self.tell(&concerns);
        }
    }

    /// Says what the change is about.
    fn hear(&mut self, change: Change) -> &'static [Concern] {
        use Concern::{Resources, Services};
        let (kind, failure, concerns): (_, _, &[Concern]) = match &change {
            Change::Resources(kind, heard) => (*kind, heard.failure(), &[Resources, Services]),
            Change::Pods(heard) => ("Pod", heard.failure(), &[Resources, Services]),
            Change::Services(heard) => ("Service", heard.failure(), &[Services]),
            Change::Slices(heard) => ("EndpointSlice", heard.failure(), &[Services]),
        };
        match failure {
            None => {
                if self.troubles.remove(kind).is_some() {
                    tracing::info!(kind, "the API server is heard again");
                }
            }
            Some(words) => {
                self.counts.failures.inc();
                let now = Instant::now();
                let said = self.troubles.get(kind);
                if said.is_none_or(|said| now.duration_since(*said) >= SAY_AGAIN) {
                    tracing::warn!(
                        kind,
                        error = words,
                        "the API server is not heard; what was heard before stands"
                    );
                    self.troubles.insert(kind, now);
                }
                if !self.index.is_whole() {
                    self.ready.unmet(format!("{kind}: {words}"));
                }
            }
        }
        self.index.apply(change);
        concerns
    }

    fn tell(&mut self, concerns: &BTreeSet<Concern>) {
        if concerns.contains(&Concern::Services) {
            self.services.renew(&self.index);
        }
        if let Some(services) = self.services.table() {
            self.fleet.tell_services(services);
        }
        if !self.index.is_whole() {
            return;
        }
        let audience = if concerns.contains(&Concern::Resources) {
            Audience::Everyone
        } else {
            Audience::Newcomers
        };
        if audience == Audience::Everyone {
            self.groups.renew(self.index.resources());
            self.known.send_replace(Arc::new(Known::of(&self.index, &self.groups)));
        }
        let Self { index, groups, fleet, .. } = self;
        fleet.tell_each(audience, |certificate, running| {
            let account = certificate.id.service_account()?;
            let selected = index.selected(&running.pod_uid, account)?;
            let pod = index.pod(&running.pod_uid, account)?;
            Some((pod.id(), groups.table(&selected)))
        });
        self.ready.met();
        self.counts.set(&self.index, &self.groups, self.services.len());
    }
}

impl Admission {
    /// Answers an `AdmissionReview` in JSON with one, among the resources that are there now.
    ///
    /// # Errors
    /// When it is no review. The API server must not take that for a yes.
    pub fn answer(&self, review: &[u8]) -> Result<serde_json::Value, InvalidReview> {
        let known = Arc::clone(&self.0.borrow());
        kube::validate(review, &known.neighbours)
    }
}

impl Counts {
    fn register(&self, metrics: &Metrics) {
        metrics.register(|registry| {
            for (name, help, gauge) in [
                ("resources_known", "Resources of the cluster that were heard.", &self.resources),
                (
                    "resources_services",
                    "Services of the cluster that are part of the mesh.",
                    &self.services,
                ),
                ("resources_pods", "Pods of the cluster that were heard.", &self.pods),
                ("resources_sets", "Sets of resources that sidecars share.", &self.sets),
            ] {
                registry.register(name, help, gauge.clone());
            }
            let help = "Times the API server could not be heard.";
            registry.register("resources_watch_failures", help, self.failures.clone());
        });
    }

    fn set(&self, index: &Index, groups: &Groups, services: usize) {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.services.set(count(services));
        self.resources.set(count(index.resources().count()));
        self.pods.set(count(index.pods()));
        self.sets.set(count(groups.len()));
    }
}
