//! Whose turn it is: callers wait in lanes, one for each namespace, and the lanes are served in turn. A namespace that asks
//! a thousand times keeps another, which asks once, waiting for one turn only. What waits is bounded, in each lane and in
//! all; what does not fit, or waits too long, is told to come again, and when.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

/// In whose lane a caller waits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// That of a namespace, which the caller's certificate or an API server vouched for.
    Namespace(String),
    /// That of an address: who calls is not proven yet, and must not fill the lane of a namespace that it only claims.
    Address(IpAddr),
    /// That of callers without an address (a unix socket).
    Local,
}

/// How much may wait, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Callers served at the same time.
    pub(super) at_once: usize,
    /// Callers waiting in one lane.
    pub(super) lane: usize,
    /// Callers waiting in all lanes.
    pub(super) all: usize,
    /// The longest that one waits.
    pub(super) patience: Duration,
}

/// Why a caller is not served now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Shed {
    /// Its own lane is full.
    #[error("too many callers of this namespace are waiting")]
    Lane,
    /// All lanes together are.
    #[error("too many callers are waiting")]
    All,
    /// Its turn did not come in time.
    #[error("the caller's turn did not come in time")]
    Patience,
}

/// The callers that wait, in the order in which they are served. Pure.
struct Lanes<T> {
    lanes: HashMap<Lane, VecDeque<T>>,
    /// Lanes that are not empty; the first is served next.
    order: VecDeque<Lane>,
    waiting: usize,
}

/// Hands out turns. Cloning shares them.
#[derive(Clone)]
pub(super) struct Turns {
    state: Arc<Mutex<State>>,
    bounds: Bounds,
}

struct State {
    lanes: Lanes<oneshot::Sender<Turn>>,
    free: usize,
    /// How long one caller is served, as of late.
    mean: Duration,
}

/// Leave to be served. The next one's turn comes when it is dropped.
pub(super) struct Turn {
    turns: Option<Turns>,
    since: Instant,
}

impl<T> Lanes<T> {
    fn new() -> Self {
        Self { lanes: HashMap::new(), order: VecDeque::new(), waiting: 0 }
    }

    fn in_lane(&self, lane: &Lane) -> usize {
        self.lanes.get(lane).map_or(0, VecDeque::len)
    }

    fn push(&mut self, lane: Lane, caller: T) {
        let queue = self.lanes.entry(lane.clone()).or_default();
        if queue.is_empty() {
            self.order.push_back(lane);
        }
        queue.push_back(caller);
        self.waiting += 1;
    }

    /// The first caller of the first lane, which then becomes the last.
    fn pop(&mut self) -> Option<T> {
        let lane = self.order.pop_front()?;
        let queue = self.lanes.get_mut(&lane)?;
        let caller = queue.pop_front();
        self.waiting = self.waiting.saturating_sub(1);
        if queue.is_empty() {
            // An empty lane is forgotten: there may be as many as there are addresses.
            self.lanes.remove(&lane);
        } else {
            self.order.push_back(lane);
        }
        caller
    }

    /// Forgets callers that gave up.
    fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.lanes.retain(|_, queue| {
            queue.retain(&keep);
            !queue.is_empty()
        });
        self.order.retain(|lane| self.lanes.contains_key(lane));
        self.waiting = self.order.iter().map(|lane| self.in_lane(lane)).sum();
    }
}

impl Turns {
    pub(super) fn new(bounds: Bounds) -> Self {
        let state = State { lanes: Lanes::new(), free: bounds.at_once, mean: Duration::ZERO };
        Self { state: Arc::new(Mutex::new(state)), bounds }
    }

    /// Waits for a turn.
    pub(super) async fn wait(&self, lane: Lane) -> Result<Turn, Shed> {
        let turn = match self.enter(lane)? {
            Entered::Now(turn) => return Ok(turn),
            Entered::Waiting(turn) => turn,
        };
        match tokio::time::timeout(self.bounds.patience, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(Shed::Patience),
        }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.lock().lanes.waiting
    }

    /// When those who wait now will have been served, about.
    pub(super) fn backlog(&self) -> Duration {
        let state = self.lock();
        let waiting = u32::try_from(state.lanes.waiting).unwrap_or(u32::MAX);
        let at_once = u32::try_from(self.bounds.at_once.max(1)).unwrap_or(u32::MAX);
        state.mean.saturating_mul(waiting) / at_once
    }

    fn enter(&self, lane: Lane) -> Result<Entered, Shed> {
        let mut state = self.lock();
        if state.free > 0 {
            state.free -= 1;
            return Ok(Entered::Now(self.turn()));
        }
        if self.full(&state, &lane).is_some() {
            state.lanes.retain(|caller| !caller.is_closed());
        }
        if let Some(shed) = self.full(&state, &lane) {
            return Err(shed);
        }
        let (sender, receiver) = oneshot::channel();
        state.lanes.push(lane, sender);
        Ok(Entered::Waiting(receiver))
    }

    fn full(&self, state: &State, lane: &Lane) -> Option<Shed> {
        if state.lanes.in_lane(lane) >= self.bounds.lane {
            return Some(Shed::Lane);
        }
        (state.lanes.waiting >= self.bounds.all).then_some(Shed::All)
    }

    fn turn(&self) -> Turn {
        Turn { turns: Some(self.clone()), since: Instant::now() }
    }

    /// Gives a turn that came back to the next one who still waits.
    fn next(&self, served: Duration) {
        let mut state = self.lock();
        state.mean = state.mean.mul_f64(0.9) + served.mul_f64(0.1);
        while let Some(caller) = state.lanes.pop() {
            match caller.send(self.turn()) {
                Ok(()) => return,
                // It gave up. Its turn must not come back by itself while the state is locked.
                Err(mut turn) => turn.turns = None,
            }
        }
        state.free += 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Entered {
    Now(Turn),
    Waiting(oneshot::Receiver<Turn>),
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.take() {
            turns.next(self.since.elapsed());
        }
    }
}

#[cfg(test)]
mod tests;
