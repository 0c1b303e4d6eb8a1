//! Who is connected, and what each has.

mod programming;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::identity::{Leaf, SpiffeId};
use crate::kube::PodId;
use crate::runtime::Clock;
use crate::xds::own::Running;
use crate::xds::{Catalogue, Refusal, SharedFeed};

use super::NotAdmitted;

pub(in crate::control) use programming::Audience;
pub use programming::Programming;

/// The most streams that one certificate may have: one, and a second while its sidecar changes over, for two attempts.
const MAX_STREAMS: usize = 4;

/// The sidecars that are connected. Cloning shares it. Replicas that share a SPIFFE ID are so many connections.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

struct Inner {
    clock: Clock,
    seats: Mutex<Seats>,
    changes: watch::Sender<u64>,
    /// How many have said what they are.
    arrivals: watch::Sender<u64>,
}

#[derive(Default)]
struct Seats {
    /// The number of the next one, and so how many there were.
    next: u64,
    turned_away: u64,
    taken: BTreeMap<u64, Connection>,
}

struct Connection {
    certificate: Certificate,
    running: Running,
    /// The pod that it runs in, once the API server has shown one that is as it says.
    pod: Option<PodId>,
    since: SystemTime,
    changed: SystemTime,
    feed: Option<SharedFeed>,
    /// What only this sidecar gets; of no type before that is known.
    own: watch::Sender<Arc<Catalogue>>,
    end: Arc<End>,
}

#[derive(Default)]
struct End {
    token: CancellationToken,
    why: OnceLock<NotAdmitted>,
}

/// What a connection proved itself with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Who it names.
    pub id: SpiffeId,
    /// Its serial number, in lower-case hexadecimal.
    pub serial: String,
    /// The key identifier of the authority that issued it, in lower-case hexadecimal; empty if it names none.
    pub authority_key_id: String,
    /// Its last second.
    pub not_after: SystemTime,
}

/// One connected sidecar, as it was when it was asked for.
#[derive(Debug, Clone)]
pub struct Connected {
    /// What it proved itself with.
    pub certificate: Certificate,
    /// What it says it runs.
    pub running: Running,
    /// The pod that it runs in: the API server has shown one that is as it says, and runs as its workload. Which of the pods
    /// of that workload it is, is its own word.
    pub pod: Option<PodId>,
    /// Since when it is connected.
    pub since: SystemTime,
    /// When it last acknowledged or refused something, or connected.
    pub changed: SystemTime,
    /// How many resources were sent to it of which it said nothing yet.
    pub unanswered: usize,
    /// What it refuses: type, name and why.
    pub refused: Vec<(&'static str, Arc<str>, Refusal)>,
    /// The revision of the resources that are for it; `None` while that is not known.
    pub resources: Option<String>,
    /// How many resources are for it, and how many of them it runs as they are now; `None` while that is not known.
    pub programmed: Option<(usize, usize)>,
}

/// How far one version of one resource got.
#[derive(Debug, Clone)]
pub struct Acknowledgement {
    /// How many connected sidecars have it.
    pub acknowledged: usize,
    /// Those that do not, the longest connected first.
    pub lagging: Vec<Lagging>,
}

/// A sidecar that does not have what was asked for.
#[derive(Debug, Clone)]
pub struct Lagging {
    /// Who it is.
    pub id: SpiffeId,
    /// The serial number of its certificate.
    pub serial: String,
    /// Since when it is connected.
    pub since: SystemTime,
    /// The version it has; `None` for none.
    pub holds: Option<Arc<str>>,
    /// Why it refused one, if it did.
    pub refused: Option<Refusal>,
}

impl Fleet {
    pub(in crate::control) fn new(clock: Clock) -> Self {
        let (changes, arrivals) = (watch::Sender::new(0), watch::Sender::new(0));
        Self(Arc::new(Inner { clock, seats: Mutex::default(), changes, arrivals }))
    }

    /// Says that somebody has said what it is, and so may wait for what is its own.
    pub(in crate::control) fn arrivals(&self) -> watch::Receiver<u64> {
        self.0.arrivals.subscribe()
    }

    /// Says that something changed: who is connected, or what one has. The number means nothing but that.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// How many are connected.
    #[must_use]
    pub fn size(&self) -> usize {
        self.lock().taken.len()
    }

    /// How many streams there were so far, and how many callers were not let in or let out because of their certificate.
    pub(super) fn counts(&self) -> (u64, u64) {
        let seats = self.lock();
        (seats.next, seats.turned_away)
    }

    pub(super) fn turn_away(&self) {
        let mut seats = self.lock();
        seats.turned_away = seats.turned_away.saturating_add(1);
    }

    /// All who are connected, the longest connected first.
    #[must_use]
    pub fn connected(&self) -> Vec<Connected> {
        self.lock().taken.values().map(Connection::show).collect()
    }

    /// Who has `version` of a resource, and who has not. `None` as version: who has heard that there is no such resource.
    /// A sidecar that connected but asked for nothing yet lags.
    #[must_use]
    pub fn acknowledged(
        &self,
        (type_url, name): (&str, &str),
        version: Option<&str>,
    ) -> Acknowledgement {
        let mut answer = Acknowledgement { acknowledged: 0, lagging: Vec::new() };
        for connection in self.lock().taken.values() {
            match connection.lagging((type_url, name), version) {
                None => answer.acknowledged += 1,
                Some(lagging) => answer.lagging.push(lagging),
            }
        }
        answer
    }

    pub(super) fn seat(&self, certificate: Certificate) -> Result<Seat, NotAdmitted> {
        let now = self.0.clock.now();
        let mut seats = self.lock();
        let same = |held: &&Connection| held.certificate == certificate;
        if seats.taken.values().filter(same).count() >= MAX_STREAMS {
            return Err(NotAdmitted::TooMany);
        }
        let number = seats.next;
        seats.next = number.wrapping_add(1);
        let end: Arc<End> = Arc::default();
        let own = watch::Sender::new(Arc::new(Catalogue::unknown()));
        let told = own.subscribe();
        tracing::info!(
            workload.id = %certificate.id,
            certificate.serial = certificate.serial,
            "a sidecar connected"
        );
        let connection = Connection {
            certificate,
            running: Running::default(),
            pod: None,
            since: now,
            changed: now,
            feed: None,
            own,
            end: Arc::clone(&end),
        };
        seats.taken.insert(number, connection);
        drop(seats);
        self.changed();
        Ok(Seat { fleet: self.clone(), number, own: told, end })
    }

    /// Ends the streams whose certificate does not pass. They are gone from here at once, whether they read or not.
    pub(super) fn end_those_that(&self, passes: impl Fn(&Certificate) -> Result<(), NotAdmitted>) {
        let mut ended = 0;
        let mut seats = self.lock();
        seats.taken.retain(|_, connection| {
            let Err(why) = passes(&connection.certificate) else { return true };
            let certificate = &connection.certificate;
            tracing::warn!(
                workload.id = %certificate.id,
                certificate.serial = certificate.serial,
                reason = %why,
                "a sidecar is told nothing more"
            );
            // Set once: this connection is removed here.
            drop(connection.end.why.set(why));
            connection.end.token.cancel();
            ended += 1;
            false
        });
        seats.turned_away = seats.turned_away.saturating_add(ended);
        drop(seats);
        if ended > 0 {
            self.changed();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.0.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.0.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("size", &self.size()).finish_non_exhaustive()
    }
}

impl Certificate {
    pub(super) fn of(leaf: &Leaf) -> Self {
        Self {
            id: leaf.id().clone(),
            serial: leaf.serial().to_owned(),
            authority_key_id: leaf.authority_key_id().unwrap_or_default().to_owned(),
            not_after: leaf.not_after(),
        }
    }
}

impl Connection {
    fn show(&self) -> Connected {
        let programmed = self.programmed();
        let feed = self.feed.as_ref().map(SharedFeed::lock);
        let refused = feed.iter().flat_map(|feed| feed.refusals());
        Connected {
            certificate: self.certificate.clone(),
            running: self.running.clone(),
            pod: self.pod.clone(),
            since: self.since,
            changed: self.changed,
            unanswered: feed.as_ref().map_or(0, |feed| feed.unanswered()),
            refused: refused
                .map(|(type_url, name, refusal)| (type_url, Arc::clone(name), refusal.clone()))
                .collect(),
            resources: self.resources().map(|table| table.revision().to_owned()),
            programmed,
        }
    }

    /// `None` when it has what is asked for.
    fn lagging(&self, (type_url, name): (&str, &str), version: Option<&str>) -> Option<Lagging> {
        let feed = self.feed.as_ref().map(SharedFeed::lock);
        if feed.as_ref().is_some_and(|feed| feed.has_acknowledged(type_url, name, version)) {
            return None;
        }
        let refused = feed.as_ref().and_then(|feed| {
            let mut all = feed.refusals();
            all.find(|(of, named, _)| *of == type_url && ***named == *name).map(|(.., r)| r.clone())
        });
        Some(Lagging {
            id: self.certificate.id.clone(),
            serial: self.certificate.serial.clone(),
            since: self.since,
            holds: feed.as_ref().and_then(|feed| feed.acknowledged(type_url, name)),
            refused,
        })
    }
}

/// The place of one open stream; left on drop.
pub(crate) struct Seat {
    fleet: Fleet,
    number: u64,
    own: watch::Receiver<Arc<Catalogue>>,
    end: Arc<End>,
}

impl Seat {
    pub(super) fn take(&self, running: Running, feed: SharedFeed) {
        self.update(|connection| {
            connection.running = running;
            connection.feed = Some(feed);
        });
        self.fleet.0.arrivals.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(super) fn own(&self) -> watch::Receiver<Arc<Catalogue>> {
        self.own.clone()
    }

    pub(super) fn moved(&self) {
        self.update(|_| {});
    }

    /// Waits until the stream must end.
    pub(super) async fn ended(&self) -> NotAdmitted {
        self.end.token.cancelled().await;
        self.end.why.get().cloned().unwrap_or(NotAdmitted::Expired)
    }

    fn update(&self, change: impl FnOnce(&mut Connection)) {
        let now = self.fleet.0.clock.now();
        if let Some(connection) = self.fleet.lock().taken.get_mut(&self.number) {
            change(connection);
            connection.changed = now;
        }
        self.fleet.changed();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let left = self.fleet.lock().taken.remove(&self.number);
        if let Some(Connection { certificate, .. }) = left {
            tracing::info!(
                workload.id = %certificate.id,
                certificate.serial = certificate.serial,
                "a sidecar disconnected"
            );
            self.fleet.changed();
        }
    }
}
