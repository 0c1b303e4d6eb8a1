//! Several replicas of one control plane. All sign with the same keys and tell sidecars the same; one of them leads, and
//! does what must be done once: changes of the root, new keys, sweeping.
//!
//! Each replica keeps a lease of its own, in which it says what its sidecars have. It renews it only after it has seen the
//! authority as it stands in the Kubernetes API, so a lease that is renewed says: this replica is not behind. A replica that
//! could not renew for [`SILENCE`] ends its streams and signs nothing more, for it cannot know what the others agreed on.

mod leader;
mod moment;
mod presence;
mod report;
mod task;
mod view;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::runtime::Clock;

pub(super) use moment::Moment;
pub(super) use report::{Gone, Named, Report, at, unix};
pub(super) use task::{Companions, Confirm, Seen};
pub(super) use view::{Here, Others};

use view::Known;

/// A replica that was out of touch with the API server for this long serves nobody.
pub(super) const SILENCE: Duration = Duration::from_secs(600);

/// What a replica knows of itself and of the others. Cloning shares it.
#[derive(Clone)]
pub(super) struct Replicas(Option<Arc<Shared>>);

struct Shared {
    clock: Clock,
    /// When the last renewal of the leader's lease began, if that is held.
    leads: Mutex<Option<Moment>>,
    /// When the last renewal of the own lease began: until then nothing was missed.
    confirmed: Mutex<Moment>,
    /// What [`Replicas::leads`] said last.
    leading: watch::Sender<bool>,
    seen: watch::Sender<Arc<BTreeMap<String, Known>>>,
    said: watch::Sender<Report>,
}

impl Replicas {
    /// There is one process, which has all to itself.
    pub(super) fn alone() -> Self {
        Self(None)
    }

    /// One of several, which has just seen how everything stands.
    pub(super) fn one_of_several(clock: &Clock) -> Self {
        Self(Some(Arc::new(Shared {
            clock: clock.clone(),
            leads: Mutex::new(None),
            confirmed: Mutex::new(Moment::now(clock)),
            leading: watch::Sender::new(false),
            seen: watch::Sender::new(Arc::default()),
            said: watch::Sender::new(Report::default()),
        })))
    }

    /// True while nobody else may do what must be done once.
    pub(super) fn leads(&self) -> bool {
        self.0.as_ref().is_none_or(|shared| {
            let renewed = *shared.leads.lock().unwrap_or_else(PoisonError::into_inner);
            leader::leads(renewed, shared.now())
        })
    }

    /// Whether it leads, for whoever waits for that to change. It may be told a moment late.
    pub(super) fn leading(&self) -> watch::Receiver<bool> {
        match &self.0 {
            None => watch::channel(true).1,
            Some(shared) => shared.leading.subscribe(),
        }
    }

    /// How long this replica may still finish what it does as the leader; `None` if another one leads.
    pub(super) fn leads_for(&self) -> Option<Duration> {
        let shared = self.0.as_ref()?;
        let renewed = *shared.leads.lock().unwrap_or_else(PoisonError::into_inner);
        leader::left(renewed, shared.now())
    }

    /// False when too much may have happened of which this replica does not know.
    pub(super) fn is_in_touch(&self) -> bool {
        self.0.as_ref().is_none_or(|shared| {
            let confirmed = *shared.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
            shared.now().at_most_since(confirmed) < SILENCE
        })
    }

    /// For how long a replica may act on what has changed since.
    pub(super) fn lag(&self) -> Duration {
        self.0.as_ref().map_or(Duration::ZERO, |_| SILENCE)
    }

    /// What the others come to, compared with what stands here.
    pub(super) fn others(&self, here: &Here<'_>) -> Others {
        let Some(shared) = &self.0 else { return Others::default() };
        let seen: Vec<Known> = shared.seen.borrow().values().cloned().collect();
        Others::new(&seen, here)
    }

    /// Tells of every change of what is known of the others; never when there are none.
    pub(super) fn changes(&self) -> Changes {
        Changes(self.0.as_ref().map(|shared| shared.seen.subscribe()))
    }

    /// Says to the others how the sidecars of this one stand.
    pub(super) fn say(&self, report: Report) {
        let Some(shared) = &self.0 else { return };
        shared.said.send_if_modified(|said| {
            let differs = *said != report;
            if differs {
                *said = report;
            }
            differs
        });
    }
}

impl Shared {
    fn now(&self) -> Moment {
        Moment::now(&self.clock)
    }
}

/// Changes of what is known of the other replicas.
pub(super) struct Changes(Option<watch::Receiver<Arc<BTreeMap<String, Known>>>>);

impl Changes {
    /// Waits for the next one. Nothing is lost when the wait is given up.
    pub(super) async fn next(&mut self) {
        if let Some(seen) = &mut self.0
            && seen.changed().await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}
