//! All relationships: what is held of each, the task that looks for newer bundles, and the handle that changes them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, watch};

use crate::identity::{SpiffeBundle, TrustBundle, TrustDomain};
use crate::runtime::{Clock, Drain, dice};

use super::Foreign;
use super::accept::{Plan, accept};
use super::config::{Profile, Relationship};
use super::fetch::{FetchError, Fetched, Recognised, fetch};
use super::shelf::Shelf;
use super::status::{Counts, RelationStatus};
use super::store::{Kept, Store, StoreError, supplied};

/// How often the clock is looked at.
const TICK: Duration = Duration::from_secs(1);

/// The relationships of this mesh.
pub struct Relations {
    shared: Arc<Shared>,
}

/// A handle on [`Relations`]. Cloning shares it.
#[derive(Clone)]
pub struct FederationHandle {
    shared: Arc<Shared>,
}

struct Shared {
    entries: Mutex<BTreeMap<TrustDomain, Entry>>,
    counts: Mutex<Counts>,
    store: Store,
    own: watch::Receiver<Arc<SpiffeBundle>>,
    foreign: watch::Sender<Arc<Foreign>>,
    changed: Notify,
    clock: Clock,
}

/// One relationship and what is held of it.
pub(super) struct Entry {
    pub(super) relationship: Relationship,
    pub(super) held: Option<Kept>,
    pub(super) plan: Plan,
    /// A look is under way: never two at once.
    out: bool,
    /// It was asked for a look while one was under way: what that one brings may be older than the question.
    again: bool,
    pub(super) withdrawn: bool,
    pub(super) fetches: u64,
    pub(super) failures: u64,
    pub(super) last_error: Option<String>,
}

/// What one look came to.
type Landed = (Relationship, Result<Fetched, FetchError>);

impl Relations {
    /// Takes the relationships, with what was kept of each on `shelf`, or what its `bundleFile` holds. `own` is the
    /// bundle of this mesh.
    ///
    /// # Errors
    /// When something that was kept or supplied cannot be read.
    pub(in crate::control) fn open(
        shelf: Arc<dyn Shelf>,
        relationships: Vec<Relationship>,
        own: watch::Receiver<Arc<SpiffeBundle>>,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let shared = Shared {
            entries: Mutex::default(),
            counts: Mutex::default(),
            store: Store::on(shelf),
            own,
            foreign: watch::Sender::new(Arc::default()),
            changed: Notify::new(),
            clock,
        };
        shared.update(relationships)?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A handle to change them, to ask how they stand and to follow their bundles.
    #[must_use]
    pub fn handle(&self) -> FederationHandle {
        FederationHandle { shared: Arc::clone(&self.shared) }
    }

    /// Looks for newer bundles until the process drains.
    ///
    /// # Errors
    /// Never; it has the form of an essential task.
    pub async fn run(self, drain: Drain) -> Result<(), Infallible> {
        let mut looks = FuturesUnordered::new();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.extend(self.shared.due().into_iter().map(|look| self.look(look)));
            tokio::select! {
                () = drain.begun() => return Ok(()),
                () = self.shared.changed.notified() => {}
                _ = tick.tick() => self.shared.withdraw_the_old(),
                Some(landed) = looks.next(), if !looks.is_empty() => {
                    let shared = Arc::clone(&self.shared);
                    // What comes is kept, which blocks.
                    drop(tokio::task::spawn_blocking(move || shared.landed(landed)).await);
                }
            }
        }
    }

    async fn look(&self, relationship: Relationship) -> Landed {
        let trust = |domain: &TrustDomain| self.shared.trust(domain);
        let recognised = Recognised::new(&relationship.profile, trust, &self.shared.clock);
        let result = match recognised {
            Ok(recognised) => fetch(&relationship, recognised).await,
            Err(error) => Err(error),
        };
        (relationship, result)
    }
}

impl FederationHandle {
    /// The foreign bundles that are believed now, and each change of them.
    #[must_use]
    pub fn foreign(&self) -> watch::Receiver<Arc<Foreign>> {
        self.shared.foreign.subscribe()
    }

    /// Puts these relationships in the place of the ones before. What is no longer among them is no longer believed
    /// when this returns. It may block.
    ///
    /// # Errors
    /// When something that was kept or supplied cannot be read; all stays as it was then.
    pub fn update(&self, relationships: Vec<Relationship>) -> Result<(), StoreError> {
        self.shared.update(relationships)
    }

    /// Looks for a newer bundle of every trust domain now, whatever was planned.
    pub fn look_now(&self) {
        let now = self.shared.clock.now();
        self.shared.entries().values_mut().for_each(|entry| {
            entry.plan = Plan::new(now);
            entry.again = entry.out;
        });
        self.shared.changed.notify_one();
    }

    /// How each relationship stands, by name.
    #[must_use]
    pub fn status(&self) -> Vec<RelationStatus> {
        let now = self.shared.clock.now();
        self.shared.entries().values().map(|entry| RelationStatus::new(entry, now)).collect()
    }

    /// What was done so far.
    pub(super) fn counts(&self) -> Counts {
        self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<TrustDomain, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, relationships: Vec<Relationship>) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut entries = self.entries();
        let mut made = BTreeMap::new();
        // Everything that can fail comes first.
        for relationship in relationships {
            let kept = self.held(&relationship, entries.get(&relationship.domain), now)?;
            made.insert(relationship.domain.clone(), (relationship, kept));
        }
        let gone: Vec<TrustDomain> =
            entries.keys().filter(|domain| !made.contains_key(*domain)).cloned().collect();
        for domain in gone {
            entries.remove(&domain);
            tracing::info!(trust_domain = %domain, "no longer federated: its bundle is withdrawn");
            if let Err(error) = self.store.forget(&domain) {
                tracing::error!(%error, trust_domain = %domain, "its kept bundle cannot be removed");
            }
        }
        for (domain, (relationship, held)) in made {
            match entries.get_mut(&domain) {
                Some(entry) if entry.relationship == relationship && entry.held == held => {}
                Some(entry) => {
                    // What is under way belongs to what was before, and is not taken.
                    entry.out = entry.out && entry.relationship == relationship;
                    entry.relationship = relationship;
                    entry.held = held;
                    entry.plan = Plan::new(now);
                }
                None => drop(entries.insert(domain, Entry::new(relationship, held, now))),
            }
        }
        self.publish(&mut entries, now);
        drop(entries);
        self.changed.notify_one();
        Ok(())
    }

    /// What is believed of a trust domain before the first answer: what was kept, unless the operator supplies another
    /// file than then (SPIFFE Federation, section 4.2).
    fn held(
        &self,
        relationship: &Relationship,
        known: Option<&Entry>,
        now: SystemTime,
    ) -> Result<Option<Kept>, StoreError> {
        let kept = match known.and_then(|entry| entry.held.clone()) {
            Some(kept) => Some(kept),
            None => self.store.load(&relationship.domain)?,
        };
        let Some(path) = &relationship.bundle_file else { return Ok(kept) };
        let file = supplied(&relationship.domain, path, now)?;
        if let Some(kept) = kept
            && kept.supplied == file.supplied
        {
            return Ok(Some(kept));
        }
        tracing::info!(trust_domain = %relationship.domain, path = %path.display(), "took the bundle from its file");
        self.store.keep(&file)?;
        Ok(Some(file))
    }

    /// The relationships that are to be looked at now; marked as under way.
    fn due(&self) -> Vec<Relationship> {
        let now = self.clock.now();
        let mut entries = self.entries();
        let due = entries.values_mut().filter(|entry| !entry.out && entry.plan.is_due(now));
        due.map(|entry| {
            entry.out = true;
            entry.relationship.clone()
        })
        .collect()
    }

    /// The latest roots of a trust domain, by which an endpoint is recognised.
    fn trust(&self, domain: &TrustDomain) -> Option<TrustBundle> {
        let own = self.own.borrow().clone();
        if own.domain() == domain {
            return own.x509().cloned();
        }
        let entries = self.entries();
        let entry = entries.get(domain).filter(|entry| !entry.withdrawn)?;
        entry.held.as_ref()?.bundle.x509().cloned()
    }

    fn landed(&self, (relationship, result): Landed) {
        let now = self.clock.now();
        let mut entries = self.entries();
        // Removed or changed while the look was under way.
        let entry = entries.get_mut(&relationship.domain);
        let Some(entry) = entry.filter(|entry| entry.relationship == relationship) else { return };
        entry.out = false;
        let result = result.and_then(|came| {
            accept(entry.held.as_ref().map(|kept| &kept.bundle), &came.bundle)?;
            Ok(came)
        });
        let failed = result.is_err();
        self.count(result.as_ref().err().map(FetchError::code));
        entry.fetches += 1;
        match result {
            Ok(came) => self.take(entry, came, now),
            Err(error) => {
                let error = error.to_string();
                tracing::warn!(trust_domain = %relationship.domain, url = relationship.url, error, "no newer bundle");
                entry.failures += 1;
                entry.last_error = Some(error);
            }
        }
        let held = entry.held.as_ref().map(|kept| &kept.bundle);
        entry.plan = if std::mem::take(&mut entry.again) {
            Plan::new(now)
        } else {
            entry.plan.next((held, failed), dice(), now)
        };
        self.publish(&mut entries, now);
    }

    fn take(&self, entry: &mut Entry, came: Fetched, now: SystemTime) {
        let domain = &entry.relationship.domain;
        let Fetched { bundle, document } = came;
        let before = entry.held.as_ref();
        if !before.is_some_and(|kept| kept.bundle.same_keys(&bundle)) {
            let roots = bundle.x509().map_or(0, |x509| x509.roots().len());
            tracing::info!(
                trust_domain = %domain, sequence = bundle.sequence(), roots, jwt_keys = bundle.jwt().keys().len(),
                "took a new bundle"
            );
            for ignored in bundle.ignored() {
                tracing::info!(trust_domain = %domain, key = ignored.position, why = %ignored.why, "a key is ignored");
            }
        }
        let supplied = before.and_then(|kept| kept.supplied.clone());
        let kept = Kept { bundle, document, confirmed: now, supplied };
        if let Err(error) = self.store.keep(&kept) {
            tracing::error!(%error, trust_domain = %domain, "the bundle holds, but not over a restart");
        }
        entry.held = Some(kept);
        entry.last_error = None;
    }

    fn count(&self, failure: Option<&'static str>) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.fetches += 1;
        if let Some(reason) = failure {
            *counts.failures.entry(reason).or_default() += 1;
        }
    }

    fn withdraw_the_old(&self) {
        let now = self.clock.now();
        self.publish(&mut self.entries(), now);
    }

    /// Tells what is believed, if that is something else than before.
    fn publish(&self, entries: &mut BTreeMap<TrustDomain, Entry>, now: SystemTime) {
        let mut believed = BTreeMap::new();
        for (domain, entry) in entries.iter_mut() {
            let Some(kept) = &entry.held else { continue };
            let too_old = entry.relationship.max_age.is_some_and(|bound| kept.age(now) > bound);
            if too_old != entry.withdrawn {
                entry.withdrawn = too_old;
                if too_old {
                    tracing::error!(trust_domain = %domain, "its bundle was not confirmed for too long and is withdrawn");
                }
            }
            if !too_old {
                believed.insert(domain.clone(), kept.bundle.clone());
            }
        }
        self.foreign.send_if_modified(|foreign| {
            let same = foreign.0.len() == believed.len()
                && believed.iter().all(|(domain, bundle)| {
                    foreign.0.get(domain).is_some_and(|known| **known == *bundle)
                });
            if !same {
                let believed = believed.into_iter().map(|(d, bundle)| (d, Arc::new(bundle)));
                *foreign = Arc::new(Foreign(believed.collect()));
            }
            !same
        });
    }
}

impl Entry {
    fn new(relationship: Relationship, held: Option<Kept>, now: SystemTime) -> Self {
        Self {
            relationship,
            held,
            plan: Plan::new(now),
            out: false,
            again: false,
            withdrawn: false,
            fetches: 0,
            failures: 0,
            last_error: None,
        }
    }
}

impl Kept {
    /// How long ago it was confirmed. A clock that went back counts as now.
    pub(super) fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.confirmed).unwrap_or(Duration::ZERO)
    }
}

impl Relationship {
    /// `https_web` or `https_spiffe`.
    pub(super) fn profile_name(&self) -> &'static str {
        match self.profile {
            Profile::Web { .. } => "https_web",
            Profile::Spiffe(_) => "https_spiffe",
        }
    }
}
