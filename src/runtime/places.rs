//! How many connections a server keeps, and which of them goes where one more comes.
//!
//! Whoever opens connections and leaves them alone must not keep others out. So where all places are taken, the connection
//! that was idle for longest is asked to leave, as if the server drained for it alone: what it has asked is answered. The new
//! one is refused only where every other is being answered.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::{Connection, Drain, Listener};

/// How many connections that were asked to leave may be there still, beside the others. Beyond, the first of them is cut.
const LEAVING: usize = 64;
/// A connection on which nothing was asked for so long goes before those on which something was.
const MUTE: Duration = Duration::from_secs(1);
/// It is logged once in so long that there are too many.
const SILENCE: Duration = Duration::from_secs(60);
/// The process, or the system, has no file descriptor left: EMFILE and ENFILE.
const NO_FILES: [i32; 2] = [24, 23];

/// The connections of one server, each in a task of its own.
#[derive(Debug)]
pub struct Places {
    most: usize,
    tasks: JoinSet<()>,
    taken: HashMap<Id, Seat>,
    /// Those that were asked to leave and are still here, the first one first.
    leaving: VecDeque<Id>,
    begin: Instant,
    drain: Drain,
    counts: PlaceCounts,
    /// When it was last logged that there are too many.
    logged: Option<Instant>,
}

/// The place of one connection, which tells there what it does.
#[derive(Debug)]
pub struct Place {
    usage: Arc<AtomicU64>,
    begin: Instant,
    leave: Drain,
}

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Nothing was asked yet.
    Mute,
    /// All is answered that was asked; the last of it came then.
    Idle(Instant),
    /// Something is being answered.
    Busy,
}

/// The connections of all servers of a process, counted.
#[derive(Debug, Clone, Default)]
pub struct ConnectionCounts {
    /// Connections that are open, by server.
    pub open: Family<Server, Gauge>,
    /// Connections that were closed because there were too many, by server and by which of them it was.
    pub closed: Family<Closed, Counter>,
}

/// A server, as a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Server {
    door: &'static str,
}

/// Which connections of which server were closed, as labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Closed {
    door: &'static str,
    which: &'static str,
}

/// The same for one server.
#[derive(Debug, Clone)]
pub struct PlaceCounts {
    door: &'static str,
    open: Gauge,
    idle: Counter,
    new: Counter,
}

/// What is known of a connection.
#[derive(Debug)]
struct Seat {
    usage: Arc<AtomicU64>,
    since: Instant,
    leave: Drain,
    task: AbortHandle,
}

const MUTE_YET: u64 = 0;
const BUSY: u64 = u64::MAX;

impl Places {
    /// Room for `most` connections, until the drain begins.
    #[must_use]
    pub fn new(most: usize, drain: Drain, counts: PlaceCounts) -> Self {
        Self {
            most,
            tasks: JoinSet::new(),
            taken: HashMap::new(),
            leaving: VecDeque::new(),
            begin: Instant::now(),
            drain,
            counts,
            logged: None,
        }
    }

    /// Serves the connections of a listener until the drain begins, then waits for those that are open.
    ///
    /// # Errors
    /// Never; it has the form of an essential task.
    pub async fn serve<F>(
        mut self,
        listener: Listener,
        one: impl Fn(Connection, Place) -> F,
    ) -> io::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let drain = self.drain.clone();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(connection) => self.take(|place| one(connection, place)),
                    Err(error) => self.not_accepted(&error).await,
                },
                () = self.left() => {}
                () = drain.begun() => break,
            }
        }
        drop(listener);
        while !self.taken.is_empty() {
            self.left().await;
        }
        Ok(())
    }

    /// Takes one in, or drops it where all others are being answered.
    fn take<F>(&mut self, one: impl FnOnce(Place) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (staying, door) = (self.taken.len() - self.leaving.len(), self.counts.door);
        if staying >= self.most {
            let has_room = self.make_room();
            if self.logged.is_none_or(|logged| logged.elapsed() >= SILENCE) {
                self.logged = Some(Instant::now());
                let most = self.most;
                if has_room {
                    tracing::warn!(
                        door,
                        most,
                        "many connections: the one that was idle for longest is closed for each new one"
                    );
                } else {
                    tracing::warn!(
                        door,
                        most,
                        "too many connections, and all of them are being answered: new ones are closed"
                    );
                }
            }
            if !has_room {
                self.counts.new.inc();
                return;
            }
        }
        let (usage, leave) = (Arc::new(AtomicU64::new(MUTE_YET)), self.drain.child());
        let place = Place { usage: Arc::clone(&usage), begin: self.begin, leave: leave.clone() };
        let task = self.tasks.spawn(one(place));
        self.taken.insert(task.id(), Seat { usage, since: Instant::now(), leave, task });
        self.counts.open.inc();
    }

    /// Asks the connection to leave that was idle for longest. False where none is idle.
    fn make_room(&mut self) -> bool {
        let now = Instant::now();
        let idle =
            self.taken.iter().filter_map(|(id, seat)| Some((seat.rank(self.begin, now)?, *id)));
        let Some((_, id)) = idle.min_by_key(|(rank, _)| *rank) else { return false };
        let Some(seat) = self.taken.get(&id) else { return false };
        seat.leave.begin();
        self.counts.idle.inc();
        self.leaving.push_back(id);
        if self.leaving.len() > LEAVING
            && let Some(first) = self.leaving.front().and_then(|first| self.taken.get(first))
        {
            first.task.abort();
        }
        true
    }

    async fn not_accepted(&mut self, error: &io::Error) {
        tracing::warn!(%error, door = self.counts.door, "connection not accepted");
        // Nobody else may close one.
        if error.raw_os_error().is_some_and(|code| NO_FILES.contains(&code)) {
            self.make_room();
        }
        // Without a pause, a process out of file descriptors would spin.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    /// Waits until one has ended; for ever while there is none.
    async fn left(&mut self) {
        let Some(ended) = self.tasks.join_next_with_id().await else {
            return std::future::pending().await;
        };
        let id = ended.map_or_else(|error| of_ended(&error, self.counts.door), |(id, ())| id);
        self.leaving.retain(|leaving| *leaving != id);
        if self.taken.remove(&id).is_some() {
            self.counts.open.dec();
        }
    }
}

fn of_ended(error: &JoinError, door: &'static str) -> Id {
    if error.is_panic() {
        tracing::error!(%error, door, "a connection ended in a panic");
    }
    error.id()
}

impl Seat {
    /// The least of all is asked to leave; nothing for one that is not.
    fn rank(&self, begin: Instant, now: Instant) -> Option<(bool, u64)> {
        if self.leave.has_begun() {
            return None;
        }
        match self.usage.load(Ordering::Relaxed) {
            BUSY => None,
            // A new one is not closed for the next new one: its first request may be on its way.
            MUTE_YET => {
                let is_new = now.saturating_duration_since(self.since) < MUTE;
                Some((is_new, micros(begin, self.since)))
            }
            used => Some((true, used)),
        }
    }
}

/// From 1 on.
fn micros(begin: Instant, at: Instant) -> u64 {
    let passed = at.saturating_duration_since(begin).as_micros();
    u64::try_from(passed).map_or(BUSY - 1, |passed| passed.saturating_add(1).min(BUSY - 1))
}

impl Place {
    /// Begins when this connection has to leave: with the drain of its server, or to make room for another.
    #[must_use]
    pub fn leave(&self) -> Drain {
        self.leave.clone()
    }

    /// Tells what the connection does from now on.
    pub fn tell(&self, usage: Usage) {
        let usage = match usage {
            Usage::Mute => MUTE_YET,
            Usage::Idle(used) => micros(self.begin, used),
            Usage::Busy => BUSY,
        };
        self.usage.store(usage, Ordering::Relaxed);
    }

    /// A place that is nobody else's, until the drain begins.
    #[cfg(test)]
    #[must_use]
    pub fn alone(leave: Drain) -> Self {
        Self { usage: Arc::default(), begin: Instant::now(), leave }
    }
}

impl ConnectionCounts {
    /// Those of one server. All of them are there from the start.
    #[must_use]
    pub fn of(&self, door: &'static str) -> PlaceCounts {
        let closed = |which| self.closed.get_or_create(&Closed { door, which }).clone();
        PlaceCounts {
            door,
            open: self.open.get_or_create(&Server { door }).clone(),
            idle: closed("idle"),
            new: closed("new"),
        }
    }
}

#[cfg(test)]
mod tests;
