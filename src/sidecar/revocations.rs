//! What the sidecar does about revocations: the gate refuses by the newest list, connections of revoked peers end, and a
//! workload that is revoked itself is withdrawn. While it is not known who is revoked, nothing passes and nothing is given.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::certificates::Certificates;
use super::discovery::Words;
use super::in_force::InForce;
use super::standing::Standing;
use super::{Config, InvalidConfig};
use crate::authz::Gate;
use crate::identity::{Members, SpiffeId, TrustDomain, WorkloadIdentity};
use crate::mesh::{Callee, LONGEST_CONNECTION};
use crate::revocation::{
    Certificate, Finding, Knowledge, Revocation, RevocationList, Subject, Until,
};
use crate::runtime::{Clock, Drain, Ready, ReadyFlag, Tasks};
use crate::telemetry::Metrics;

/// How often it is looked what has ended. The clock may be set, so nothing longer is waited for.
const TICK: Duration = Duration::from_secs(1);
/// Envoy may have been told of a connection just before the list came, and open it just after: connections end a second
/// time after this.
const AGAIN: Duration = Duration::from_secs(2);

pub(super) type Identities = watch::Receiver<Option<Arc<WorkloadIdentity>>>;

/// What the rest of the sidecar takes from here.
pub(super) struct Withdrawn {
    pub(super) status: RevocationStatus,
    /// The workload's identity for whoever asks for it, such as the application: nothing while it is revoked.
    pub(super) issued: Identities,
    /// Who is revoked, for whoever is not the gate.
    pub(super) in_force: watch::Receiver<Arc<InForce>>,
}

/// Who and what a sidecar guards.
struct Guarded {
    own: SpiffeId,
    gate: Arc<Gate>,
    /// Whom its Envoy calls.
    callees: Vec<Callee>,
    standing: Standing,
    /// The workload's certificate; nothing where the sidecar has none.
    identity: Option<Identities>,
}

/// The task that follows the lists.
struct Revocations {
    guarded: Guarded,
    /// What the control plane says; nothing where nobody tells.
    words: Option<Words>,
    clock: Clock,
    ready: ReadyFlag,
    counts: Counts,
    status: RevocationStatus,
    held: Knowledge,
    again: Option<tokio::time::Instant>,
    issued: watch::Sender<Option<Arc<WorkloadIdentity>>>,
    in_force: watch::Sender<Arc<InForce>>,
}

/// What `/config` shows. Cloning shares it.
#[derive(Clone, Default)]
pub(super) struct RevocationStatus(Arc<Mutex<Shown>>);

#[derive(Default)]
struct Shown {
    /// How many are known; nothing while that is not known.
    known: Option<usize>,
    own: Option<Arc<Revocation>>,
}

struct Counts {
    known: Gauge,
    entries: Gauge,
    own: Gauge,
    cuts: Counter,
}

/// Puts in force what is known, before anything is served, and follows what is told later.
pub(super) fn start(
    (config, own): (&Config, SpiffeId),
    (gate, certificates, standing): (&Arc<Gate>, Option<&Certificates>, &Standing),
    (ready, clock, metrics): (&Ready, &Clock, &Metrics),
    tasks: &mut Tasks,
) -> Result<Withdrawn, InvalidConfig> {
    let guarded = Guarded {
        callees: config.callees(&own.trust_domain())?,
        own,
        gate: Arc::clone(gate),
        standing: standing.clone(),
        identity: certificates.map(|certificates| certificates.identity.clone()),
    };
    let told = certificates.and_then(|certificates| certificates.told.as_ref());
    let words = told.map(|told| told.words.clone());
    let ready = ready.require("revocation");
    let revocations = Revocations::begin(guarded, (ready, clock.clone()), (words, metrics));
    let status = revocations.status.clone();
    let issued = revocations.issued.subscribe();
    let in_force = revocations.in_force.subscribe();
    tasks.spawn("revocations", revocations.run(tasks.drain()));
    Ok(Withdrawn { status, issued, in_force })
}

impl Revocations {
    /// Puts in force what is known at the start, before anything is served.
    fn begin(
        guarded: Guarded,
        (ready, clock): (ReadyFlag, Clock),
        (mut words, metrics): (Option<Words>, &Metrics),
    ) -> Self {
        let held = words.as_mut().map(|words| words.last().knowledge.clone());
        let held = held.unwrap_or_else(Knowledge::nobody_tells);
        if let Knowledge::Known(list) = &held {
            guarded.gate.revoke(Arc::clone(list));
        }
        let in_force = InForce::new(held.clone(), guarded.own.trust_domain(), Vec::new());
        let revocations = Self {
            in_force: watch::Sender::new(Arc::new(in_force)),
            guarded,
            words,
            clock,
            ready,
            counts: Counts::register(metrics),
            status: RevocationStatus::default(),
            held,
            again: None,
            issued: watch::Sender::new(None),
        };
        revocations.look();
        revocations
    }

    /// Runs until the drain begins.
    ///
    /// # Errors
    /// Never; the type is that of an essential task.
    async fn run(mut self, drain: Drain) -> Result<(), Infallible> {
        let mut identity = self.guarded.identity.clone();
        while !drain.has_begun() {
            let heard = tokio::select! {
                () = drain.begun() => break,
                () = more(self.words.as_mut()) => true,
                () = changed(identity.as_mut()) => false,
                () = tokio::time::sleep(TICK) => false,
            };
            let word = self.words.as_mut().filter(|_| heard).map(Words::last);
            if let Some(Knowledge::Known(list)) = word.as_deref().map(|word| &word.knowledge) {
                self.take(list);
            }
            self.end_again();
            self.look();
            if let Some((words, word)) = self.words.as_ref().zip(word) {
                words.in_force(&word);
            }
        }
        Ok(())
    }

    /// Puts a list in force. The gate has it first: whoever comes again is judged by it.
    fn take(&mut self, list: &Arc<RevocationList>) {
        let before = self.held.list().cloned();
        if before.as_ref() == Some(list) {
            return;
        }
        self.guarded.gate.revoke(Arc::clone(list));
        self.held = Knowledge::Known(Arc::clone(list));
        let before = before.unwrap_or_default();
        let known: HashMap<&Subject, Until> =
            before.entries().map(|entry| (&entry.subject, entry.until)).collect();
        let affected = list.entries().any(|entry| {
            let is_known = known.get(&entry.subject).is_some_and(|until| *until >= entry.until);
            let Subject::Workload(revoked) = &entry.subject;
            !is_known && self.guarded.gate.may_hold_connection(&revoked.id, LONGEST_CONNECTION)
        });
        if before.is_empty() && list.is_empty() {
            tracing::info!("nobody is revoked");
        } else {
            tracing::warn!(revocations = list.len(), "the list of revocations changed");
        }
        self.guarded.standing.change(|orders| orders.lists = orders.lists.saturating_add(1));
        if affected {
            self.end_connections();
            self.again = tokio::time::Instant::now().checked_add(AGAIN);
        }
    }

    fn end_connections(&self) {
        tracing::warn!("a revoked peer may hold a connection, so connections are ended");
        self.counts.cuts.inc();
        self.guarded.standing.change(|orders| orders.cuts = orders.cuts.saturating_add(1));
    }

    fn end_again(&mut self) {
        if self.again.is_some_and(|again| again <= tokio::time::Instant::now()) {
            self.again = None;
            self.end_connections();
        }
    }

    /// What holds at this moment: revocations end by the clock, and certificates change.
    fn look(&self) {
        let now = self.clock.now();
        let snapshot = self.guarded.gate.snapshot();
        let domain = self.guarded.own.trust_domain();
        let aliases = &snapshot.mesh().aliases;
        let members = Members::of(&domain).with_aliases(aliases);
        self.in_force.send_if_modified(|shown| {
            let changed = !shown.is(&self.held, aliases);
            if changed {
                let now = InForce::new(self.held.clone(), domain.clone(), aliases.clone());
                *shown = Arc::new(now);
            }
            changed
        });
        let identity =
            self.guarded.identity.as_ref().and_then(|identity| identity.borrow().clone());
        let serial = identity.as_ref().map(|identity| identity.svid.leaf().serial());
        let certificate = serial.map_or(Certificate::Unseen, Certificate::Serial);
        let own = self.held.find(self.guarded.own.as_str(), certificate, members, now);
        let clear = |id: &SpiffeId| {
            self.held.find(id.as_str(), Certificate::Unneeded, members, now).is_clear()
        };
        let callees = self.guarded.callees.iter();
        let refused = callees.filter(|callee| !callee.identities.iter().all(clear));
        let refused = refused.map(|callee| callee.name.to_string()).collect();
        self.guarded.standing.change(|orders| {
            orders.own_revoked = own.revocation().is_some();
            orders.refused = refused;
        });
        match own {
            Finding::NotRevoked => self.ready.met(),
            Finding::Revoked(entry) => {
                self.ready.unmet(format!("this workload is revoked: {}", entry.reason));
            }
            Finding::Unknown => self.ready.unmet(
                "the control plane has not yet told who is revoked, so nothing passes; see discovery in /config",
            ),
        }
        let issued = identity.filter(|_| own.is_clear());
        self.issued.send_if_modified(|held| {
            let same = match (&*held, &issued) {
                (None, None) => true,
                (Some(held), Some(issued)) => Arc::ptr_eq(held, issued),
                (None, Some(_)) | (Some(_), None) => false,
            };
            held.clone_from(&issued);
            !same
        });
        let entries = self.held.list().map(|list| list.len());
        self.counts.known.set(i64::from(entries.is_some()));
        self.counts.entries.set(i64::try_from(entries.unwrap_or_default()).unwrap_or(i64::MAX));
        let own = own.revocation().cloned();
        self.counts.own.set(i64::from(own.is_some()));
        self.status.show(entries, own);
    }
}

/// Resolves when the control plane says more; never where nobody tells.
async fn more(words: Option<&mut Words>) {
    match words {
        Some(words) => words.more().await,
        None => std::future::pending().await,
    }
}

/// Resolves when there is another value; never where nobody tells one.
async fn changed<T>(values: Option<&mut watch::Receiver<T>>) {
    if let Some(values) = values
        && values.changed().await.is_ok()
    {
        return;
    }
    // Whoever told ended, which ends the process elsewhere.
    std::future::pending().await
}

impl RevocationStatus {
    fn show(&self, known: Option<usize>, own: Option<Arc<Revocation>>) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *shown, Shown { known, own });
        if let (None, Some(own)) = (&before.own, &shown.own) {
            tracing::error!(reason = %own.reason, "this workload is revoked: its gate refuses everything");
        } else if before.own.is_some() && shown.own.is_none() {
            tracing::warn!("this workload is trusted again");
        }
    }

    /// How many revocations are known (`null`: nobody can say), and that of the workload itself.
    pub(super) fn to_json(&self) -> Value {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        json!({
            "known": shown.known,
            "own": shown.own.as_ref().map(|own| json!({
                "reason": own.reason.as_str(),
                "by": own.by.as_str(),
                "ends": own.until.to_string(),
            })),
        })
    }
}

impl Counts {
    fn register(metrics: &Metrics) -> Self {
        let (known, entries, own) = (Gauge::default(), Gauge::default(), Gauge::default());
        let counts = Self { known, entries, own, cuts: Counter::default() };
        metrics.register(|registry| {
            registry.register(
                "revocation_known",
                "1 once it is known who is revoked, else 0: nothing passes the gate then",
                counts.known.clone(),
            );
            registry.register(
                "revocation_entries",
                "Revocations that are known here",
                counts.entries.clone(),
            );
            registry.register(
                "revocation_own",
                "1 while the workload itself is revoked, else 0",
                counts.own.clone(),
            );
            registry.register(
                "revocation_cuts",
                "How often bare connections were ended because a revoked peer might hold one",
                counts.cuts.clone(),
            );
        });
        counts
    }
}

impl Config {
    /// Whom the Envoy beside this sidecar calls.
    fn callees(&self, domain: &TrustDomain) -> Result<Vec<Callee>, InvalidConfig> {
        let Some(envoy) = &self.envoy else { return Ok(Vec::new()) };
        envoy.callees(domain).map_err(|invalid| InvalidConfig {
            field: "envoy".to_owned(),
            problem: invalid.to_string(),
        })
    }
}
