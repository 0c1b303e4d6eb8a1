//! When a change of the root may take its next step. Pure: what the journal says, what the fleet says and the time go
//! in, a step or a reason to wait comes out.
//!
//! A step is taken on proof, never because time passed: the new generation signs once every connected sidecar acknowledged
//! the bundle that holds its root, and the old root goes once every connected sidecar shows a leaf of the new generation.
//! Time only bounds what cannot be proven, namely who is not connected: such a sidecar has no valid leaf any more after
//! the longest lifetime of a leaf. The operator may waive that wait, and nothing else.

use std::time::{Duration, SystemTime};

use crate::identity::SpiffeId;

use super::state::{Change, Record, State, Step, at};

/// After a start of the control plane, how long its sidecars have to come back before it believes that it sees them all.
/// It is longer than the longest pause between two attempts of a sidecar to connect.
pub const RECONNECT: Duration = Duration::from_secs(60);
/// In seconds: how much longer another replica of the control plane may sign by the old key, before it has looked.
const REPLICAS: u64 = 10;
/// So many leaves are replaced per second, if the operator does not say otherwise.
const PACE: u64 = 20;
const SHORTEST: Duration = Duration::from_secs(5);

/// What the control plane knows of its sidecars at one moment.
#[derive(Debug, Clone)]
pub struct FleetView {
    /// Since when it listens. Before that, sidecars may have been connected of which it knows nothing.
    pub watching_since: SystemTime,
    /// Every sidecar that is connected.
    pub connected: Vec<Connected>,
    /// Sidecars that went away without having acknowledged the bundle of now.
    pub gone: Vec<Gone>,
    /// How long foreign trust domains that read this bundle may go by what they read before; zero where none can.
    pub readers: Duration,
}

/// A connected sidecar.
#[derive(Debug, Clone)]
pub struct Connected {
    /// Its workload.
    pub id: SpiffeId,
    /// It acknowledged the bundle of now: its proxy has it.
    pub acknowledged: bool,
    /// The authority's key identifier in its leaf, in lower-case hexadecimal.
    pub key_id: String,
    /// Since when it is as it is: when it connected, acknowledged or showed another leaf last.
    pub since: SystemTime,
}

/// A sidecar that was connected.
#[derive(Debug, Clone)]
pub struct Gone {
    /// Its workload.
    pub id: SpiffeId,
    /// The last second of its certificate.
    pub until: SystemTime,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing is under way.
    Nothing,
    /// [`super::Authority::publish`].
    Publish,
    /// [`super::Authority::activate`].
    Activate,
    /// [`super::Authority::retire`].
    Retire,
    /// [`super::Authority::reissued`].
    Reissued,
    /// Wait, for all of these.
    Wait(Vec<Awaited>),
}

/// What a step waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Awaited {
    /// This connected sidecar, which has not done what it should since then.
    Sidecar(SpiffeId, SystemTime),
    /// This sidecar went away without acknowledging; until then it may have a valid leaf.
    Gone(SpiffeId, SystemTime),
    /// The control plane has just started; until then its sidecars have time to come back.
    Reconnect(SystemTime),
    /// Leaves of the old generation may be valid until then at sidecars that are not connected; or, if none is
    /// connected at all, nobody can say who trusts what until then.
    Absent(SystemTime),
    /// Tokens of the old generation are in the hands of applications until then. Nobody can call them back, so the
    /// operator cannot waive it.
    Tokens(SystemTime),
    /// Whoever reads the bundle endpoint has had time to read the new bundle by then.
    Readers(SystemTime),
}

impl FleetView {
    /// Nobody is connected.
    #[must_use]
    pub fn empty(watching_since: SystemTime) -> Self {
        let readers = Duration::ZERO;
        Self { watching_since, connected: Vec::new(), gone: Vec::new(), readers }
    }
}

/// What is to be done next.
#[must_use]
pub fn next(state: &State, fleet: &FleetView, now: SystemTime) -> Next {
    let Some(change) = &state.rotation else { return next_of_order(state, now) };
    let Some((from, to)) = state.generation(change.from).zip(state.generation(change.to)) else {
        return Next::Nothing;
    };
    match change.step {
        Step::Prepared => Next::Publish,
        Step::Publishing => {
            let mut awaited = lagging(fleet, |sidecar| sidecar.acknowledged);
            if !change.without_absent {
                awaited.extend(absent_while_publishing((change, from), fleet, now));
            }
            unless(awaited, Next::Activate)
        }
        Step::Reissuing => {
            let mut awaited = lagging(fleet, |sidecar| to.issuing_keys.contains(&sidecar.key_id));
            if !change.without_absent {
                awaited.extend(reconnecting(fleet, now));
                awaited.extend(until(leaves_end(change, from), now).map(Awaited::Absent));
            }
            let tokens = tokens_end(change, from).and_then(|end| until(end, now));
            awaited.extend(tokens.map(Awaited::Tokens));
            unless(awaited, Next::Retire)
        }
    }
}

/// Over which time `connected` sidecars spread the replacement of their leaves, at a steady pace.
#[must_use]
pub fn pace(connected: usize, longest_leaf: Duration) -> Duration {
    let seconds = u64::try_from(connected).unwrap_or(u64::MAX).div_ceil(PACE);
    // By half of their life leaves are replaced without an order.
    Duration::from_secs(seconds).max(SHORTEST).min((longest_leaf / 2).max(SHORTEST))
}

/// An order outside of a change of the root stands as long as a leaf that it is about can be valid: who connects later
/// must hear of it too.
fn next_of_order(state: &State, now: SystemTime) -> Next {
    let Some((order, active)) = state.reissue.zip(state.active()) else { return Next::Nothing };
    let end = order.issued_before.saturating_add(active.longest_leaf);
    match until(at(end), now) {
        None => Next::Reissued,
        Some(_) => Next::Nothing,
    }
}

fn lagging(fleet: &FleetView, done: impl Fn(&Connected) -> bool) -> Vec<Awaited> {
    fleet
        .connected
        .iter()
        .filter(|sidecar| !done(sidecar))
        .map(|sidecar| Awaited::Sidecar(sidecar.id.clone(), sidecar.since))
        .collect()
}

fn absent_while_publishing(
    (change, from): (&Change, &Record),
    fleet: &FleetView,
    now: SystemTime,
) -> Vec<Awaited> {
    let mut awaited: Vec<Awaited> = fleet
        .gone
        .iter()
        .filter_map(|gone| Some(Awaited::Gone(gone.id.clone(), until(gone.until, now)?)))
        .collect();
    awaited.extend(reconnecting(fleet, now));
    awaited.extend(readers(change, fleet).and_then(|end| until(end, now)).map(Awaited::Readers));
    if fleet.connected.is_empty() {
        awaited.extend(until(leaves_end(change, from), now).map(Awaited::Absent));
    }
    awaited
}

fn reconnecting(fleet: &FleetView, now: SystemTime) -> Option<Awaited> {
    let end = fleet.watching_since.checked_add(RECONNECT)?;
    until(end, now).map(Awaited::Reconnect)
}

/// When whoever reads the bundle endpoint has looked again since the new bundle stands there, if anybody can.
fn readers(change: &Change, fleet: &FleetView) -> Option<SystemTime> {
    let lag = Some(fleet.readers).filter(|lag| !lag.is_zero())?;
    at(change.since.saturating_add(1)).checked_add(lag)
}

/// When the last leaf ends that was signed before this step. The step's second was rounded down.
fn leaves_end(change: &Change, from: &Record) -> SystemTime {
    at(change.since.saturating_add(1).saturating_add(from.longest_leaf))
}

/// When the last token ends that was signed before this step, if there was one.
fn tokens_end(change: &Change, from: &Record) -> Option<SystemTime> {
    let longest = Some(from.longest_token).filter(|longest| *longest > 0)?;
    Some(at(change.since.saturating_add(REPLICAS).saturating_add(longest)))
}

fn until(end: SystemTime, now: SystemTime) -> Option<SystemTime> {
    (now < end).then_some(end)
}

fn unless(awaited: Vec<Awaited>, next: Next) -> Next {
    if awaited.is_empty() { next } else { Next::Wait(awaited) }
}

#[cfg(test)]
mod tests;
