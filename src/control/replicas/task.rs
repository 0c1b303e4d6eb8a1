//! The tasks that keep a replica in touch with the others: it keeps its leases, hears theirs, and follows what they write.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::kube::{Cluster, Followed, Leases, ObjectError, ObjectName, ObjectVersion};
use crate::runtime::{Drain, Tasks, with_causes};

use super::leader::{self, LOOK, Next, Sighting};
use super::moment::Moment;
use super::presence::{Names, REPORT};
use super::report::Report;
use super::view::{Known, is_forgotten};
use super::{Replicas, Shared};

/// How often a replica renews its own lease when it has nothing new to say.
const RENEW: Duration = Duration::from_secs(5);
/// How soon it is told that this replica does not lead any more.
const TELL: Duration = Duration::from_millis(200);
/// Between two reports.
const PAUSE: Duration = Duration::from_millis(300);
/// How often the leader looks for leases of replicas that ended.
const SWEEP: Duration = Duration::from_secs(30);

/// Reads once more what all replicas share. What it holds is then in force. An error says why it cannot be read.
pub(in crate::control) type Confirm = Arc<dyn Fn() -> Result<Seen, String> + Send + Sync>;

/// What was seen of what all replicas share.
pub(in crate::control) enum Seen {
    /// All of it, and it is in force.
    Whole,
    /// Some of it is gone or damaged, and why. What was in force stays: no replica can change it now.
    Broken(String),
}

/// One of several replicas, and where the others are found.
pub(in crate::control) struct Companions {
    cluster: Cluster,
    leases: Leases,
    beside: ObjectName,
    /// The ConfigMap that is followed, beside the Secret.
    map: ObjectName,
    names: Names,
    shared: Arc<Shared>,
    confirm: Confirm,
    changed: Arc<Notify>,
}

impl Companions {
    /// Beside the Secret `beside`; `map` is a ConfigMap that all share. `None` where there are no others.
    pub(in crate::control) fn new(
        replicas: &Replicas,
        cluster: &Cluster,
        (beside, map): (&ObjectName, &ObjectName),
        confirm: Confirm,
    ) -> Option<Self> {
        let shared = Arc::clone(replicas.0.as_ref()?);
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Some(Self {
            cluster: cluster.clone(),
            leases: Leases::new(cluster, beside),
            beside: beside.clone(),
            map: map.clone(),
            names: Names::new(beside, host.trim()),
            shared,
            confirm,
            changed: Arc::default(),
        })
    }

    /// Starts them as essential tasks of `tasks`.
    pub(in crate::control) fn start(self, tasks: &mut Tasks) {
        let this = Arc::new(self);
        tracing::info!(replica = this.names.me, "one of several replicas");
        let drain = tasks.drain();
        let secret: Followed<Secret> = Followed::named(&this.cluster, &this.beside);
        let map: Followed<ConfigMap> = Followed::named(&this.cluster, &this.map);
        let label = (this.names.label.0.as_str(), this.names.label.1.as_str());
        let leases: Followed<Lease> = Followed::labelled(&this.cluster, &this.beside, label);
        let one = Arc::clone(&this);
        let heard = secret.follow(move |_| one.changed.notify_one());
        tasks.spawn("following the authority", until(drain.clone(), heard));
        let one = Arc::clone(&this);
        let heard = map.follow(move |_| one.changed.notify_one());
        tasks.spawn("following the revocations", until(drain.clone(), heard));
        let one = Arc::clone(&this);
        let heard = leases.follow(move |all| one.hear(all));
        tasks.spawn("following the replicas", until(drain.clone(), heard));
        tasks.spawn("leading", Arc::clone(&this).lead(drain.clone()));
        tasks.spawn("leadership", Arc::clone(&this).tell_who_leads(drain.clone()));
        tasks.spawn("presence", this.be_present(drain));
    }

    /// Takes note of what the leases of the others say.
    fn hear(&self, all: &BTreeMap<String, ObjectMeta>) {
        let now = self.shared.now();
        self.shared.seen.send_modify(|seen| {
            let before = std::mem::take(seen);
            let others = all.iter().filter(|(name, _)| **name != self.names.own);
            let next = others.map(|(name, lease)| {
                let report = lease.annotations.as_ref().and_then(|all| all.get(REPORT));
                let report = report.and_then(|text| Report::read(text));
                let version = ObjectVersion::read(lease);
                let (since, moves) = match before.get(name) {
                    Some(known) if version.is_some() && known.version == version => {
                        (known.since, known.moves)
                    }
                    known => (now, known.is_some()),
                };
                (name.clone(), Known { name: name.clone(), version, report, since, moves })
            });
            *seen = Arc::new(next.collect());
        });
    }

    async fn be_present(self: Arc<Self>, drain: Drain) -> Result<(), Infallible> {
        let mut said = self.shared.said.subscribe();
        let mut version = None;
        let (mut complained, mut broken) = (false, None);
        while !drain.has_begun() {
            let report = said.borrow_and_update().clone();
            match self.confirmed(&report, &mut version).await {
                Ok(seen) => {
                    complained = false;
                    let words = match seen {
                        Seen::Whole => None,
                        Seen::Broken(words) => Some(words),
                    };
                    if let Some(words) = words.as_ref().filter(|_| words != broken) {
                        tracing::error!(reason = words, "what was in force stays");
                    }
                    broken = words;
                }
                Err(words) if complained => tracing::debug!(words, "still out of touch"),
                Err(words) => {
                    complained = true;
                    tracing::warn!(
                        reason = words,
                        "out of touch with the other replicas; nothing is signed or told any more after {SILENCE:?}",
                        SILENCE = super::SILENCE
                    );
                }
            }
            let next = Instant::now() + RENEW;
            tokio::select! {
                () = drain.begun() => break,
                () = tokio::time::sleep(PAUSE) => {}
            }
            tokio::select! {
                () = drain.begun() => break,
                () = tokio::time::sleep_until(next) => {}
                () = self.changed.notified() => {}
                _ = said.changed() => {}
            }
        }
        // The others need not wait for this one.
        let report = Report { leaving: true, ..said.borrow().clone() };
        if let Err(error) = self.write_own(&report, &mut version).await {
            tracing::warn!(
                error = with_causes(&error),
                "the other replicas do not hear that this one ends"
            );
        }
        Ok(())
    }

    /// Sees how everything stands, and says so.
    async fn confirmed(
        &self,
        report: &Report,
        version: &mut Option<ObjectVersion>,
    ) -> Result<Seen, String> {
        let began = self.shared.now();
        let confirm = Arc::clone(&self.confirm);
        let done = tokio::task::spawn_blocking(move || confirm()).await;
        let seen = done.map_err(|_| "a part of the program failed".to_owned())??;
        self.write_own(report, version).await.map_err(|error| with_causes(&error))?;
        *self.shared.confirmed.lock().unwrap_or_else(PoisonError::into_inner) = began;
        Ok(seen)
    }

    async fn write_own(
        &self,
        report: &Report,
        version: &mut Option<ObjectVersion>,
    ) -> Result<(), ObjectError> {
        let name = &self.names.own;
        let new = self.names.present(self.shared.now().wall, report);
        let written = match self.leases.write(name, &new, version.as_ref()).await {
            // An answer that was lost, or whoever swept too early: nobody else has this name.
            Err(ObjectError::Conflict(_) | ObjectError::Gone(_)) => {
                *version = self.leases.read(name).await?.map(|held| held.version);
                self.leases.write(name, &new, version.as_ref()).await
            }
            written => written,
        };
        *version = Some(written?);
        Ok(())
    }

    async fn lead(self: Arc<Self>, drain: Drain) -> Result<(), Infallible> {
        let mut sighting = None;
        let mut swept = Instant::now();
        while !drain.has_begun() {
            if let Err(error) = self.look(&mut sighting).await {
                tracing::debug!(
                    error = with_causes(&error),
                    "the leader's lease cannot be looked after"
                );
            }
            if self.leads() && swept.elapsed() >= SWEEP {
                swept = Instant::now();
                self.sweep().await;
            }
            tokio::select! {
                () = drain.begun() => break,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        self.give_back(sighting).await;
        Ok(())
    }

    fn leads(&self) -> bool {
        let renewed = *self.shared.leads.lock().unwrap_or_else(PoisonError::into_inner);
        leader::leads(renewed, self.shared.now())
    }

    /// Says when this replica begins to lead and when it stops, which no look at the lease may say in time.
    async fn tell_who_leads(self: Arc<Self>, drain: Drain) -> Result<(), Infallible> {
        loop {
            let leads = self.leads() && !drain.has_begun();
            let changed = self.shared.leading.send_if_modified(|led| {
                let changed = *led != leads;
                *led = leads;
                changed
            });
            if changed {
                tracing::info!(
                    replica = self.names.me,
                    leads,
                    "whether this replica leads changes"
                );
            }
            tokio::select! {
                () = drain.begun() => return Ok(()),
                () = tokio::time::sleep(TELL) => {}
            }
        }
    }

    /// One look at the leader's lease, and what follows from it.
    async fn look(&self, sighting: &mut Option<Sighting>) -> Result<(), ObjectError> {
        let name = &self.names.leader;
        // The moment before it is asked: what is seen is no older.
        let asked = self.shared.now();
        let lease = self.leases.read(name).await?;
        let now = self.shared.now();
        *sighting = lease.map(|lease| Sighting::again(sighting.take(), lease, now));
        let transitions = sighting.as_ref().map_or(0, |seen| seen.lease.transitions);
        let (over, transitions) = match leader::next(&self.names.me, sighting.as_ref(), asked) {
            Next::Make => (None, 0),
            Next::Take(version) => (Some(version), transitions.saturating_add(1)),
            Next::Renew(version) => (Some(version), transitions),
            Next::Wait => {
                self.set_leading(None);
                return Ok(());
            }
        };
        let began = self.shared.now();
        let new = self.names.leading(began.wall, transitions);
        self.leases.write(name, &new, over.as_ref()).await?;
        self.set_leading(Some(began));
        Ok(())
    }

    async fn give_back(&self, sighting: Option<Sighting>) {
        let led = self.leads();
        self.set_leading(None);
        let Some(Sighting { lease, .. }) = sighting.filter(|_| led) else { return };
        // As it stands after the last renewal, which the sighting came before.
        let done = async {
            let Some(now) = self.leases.read(&self.names.leader).await? else { return Ok(()) };
            if now.holder.as_deref() != Some(&*self.names.me) {
                return Ok(());
            }
            let wall = self.shared.now().wall;
            let given = self.names.given_back(wall, lease.transitions);
            self.leases.write(&self.names.leader, &given, Some(&now.version)).await.map(drop)
        };
        if let Err(error) = done.await {
            tracing::warn!(
                error = with_causes(&error),
                "the leader's lease is not given back; it ends by itself"
            );
        }
    }

    fn set_leading(&self, renewed: Option<Moment>) {
        *self.shared.leads.lock().unwrap_or_else(PoisonError::into_inner) = renewed;
    }

    /// Removes leases of replicas that ended and on which nothing depends any more.
    async fn sweep(&self) {
        let (now, seen) = (self.shared.now(), self.shared.seen.borrow().clone());
        for over in seen.values().filter(|one| is_forgotten(one, now)) {
            let Some(version) = &over.version else { continue };
            match self.leases.delete(&over.name, version).await {
                Ok(()) | Err(ObjectError::Conflict(_)) => {}
                Err(error) => {
                    tracing::warn!(
                        lease = over.name,
                        error = with_causes(&error),
                        "cannot be removed"
                    );
                }
            }
        }
    }
}

async fn until(drain: Drain, work: impl Future<Output = ()>) -> Result<(), Infallible> {
    tokio::select! {
        () = drain.begun() => {}
        () = work => {}
    }
    Ok(())
}
