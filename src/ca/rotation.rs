//! When a change of the root may take its next step. Pure: what the journal says, what the fleet says and the time go
//! in, a step or a reason to wait comes out.
//!
//! A step is taken on proof, never because time passed: the new generation signs once every connected sidecar acknowledged
//! the bundle that holds its root, and the old root goes once every connected sidecar shows a leaf of the new generation.
//! Time only bounds what cannot be proven, namely who is not connected: such a sidecar has no valid leaf any more after
//! the longest lifetime of a leaf. A sidecar whose pod is over serves nobody, so it is not waited for either; one of whose
//! pod nothing is known is. The operator may waive that wait, and nothing else.

use std::time::{Duration, SystemTime};

use crate::identity::SpiffeId;

use super::state::{Change, Record, State, Step, at};

/// After a start of the control plane, how long its sidecars have to come back before it believes that it sees them all.
/// It is longer than the longest pause between two attempts of a sidecar to connect.
pub const RECONNECT: Duration = Duration::from_secs(60);
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
    /// How many more went away, of which other replicas found that their pods are over.
    pub over_elsewhere: usize,
    /// Until when further ones may serve on, of which too many went away to be named.
    pub more_gone_until: Option<SystemTime>,
    /// The other replicas of the control plane.
    pub replicas: Vec<Replica>,
    /// For how long a replica may sign and tell as it was before a step.
    pub lag: Duration,
}

/// Another replica of the control plane.
#[derive(Debug, Clone)]
pub struct Replica {
    /// Its name.
    pub name: String,
    /// How many sidecars are connected to it, as it said last.
    pub connected: usize,
    /// What it says of them.
    pub says: Says,
}

/// What another replica says of its sidecars.
#[derive(Debug, Clone)]
pub enum Says {
    /// Nothing lately. It may serve sidecars until then.
    Nothing {
        /// Until when.
        until: SystemTime,
    },
    /// It has not followed yet: it tells another bundle, or signs with another key.
    Behind,
    /// What they have.
    Counts {
        /// All of them.
        groups: Vec<Group>,
        /// Some of them by name, those that lag first.
        named: Vec<Connected>,
    },
}

/// Sidecars of another replica that have the same.
#[derive(Debug, Clone)]
pub struct Group {
    /// They acknowledged the bundle of now.
    pub acknowledged: bool,
    /// The authority's key identifier in their leaves, in lower-case hexadecimal.
    pub key_id: String,
    /// How many there are.
    pub count: usize,
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
    /// What became of the pod that it ran in.
    pub pod: PodState,
}

/// What is known of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodState {
    /// Nothing: it ran in none, or nobody answers.
    NotKnown,
    /// It is there, so something in it may serve on.
    There,
    /// Nothing in it runs, now or ever again.
    Over,
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
    /// This sidecar went away without acknowledging; until then it may have a valid leaf, and in its pod it may serve on.
    Gone(SpiffeId, PodState, SystemTime),
    /// So many sidecars of this replica, which it does not name.
    Others(String, usize),
    /// This replica has not followed yet.
    Behind(String),
    /// This replica says nothing; until then it may serve sidecars of which nothing is known.
    Silent(String, SystemTime),
    /// The control plane, or a replica of it, has just started or ended; until then its sidecars have time to come back.
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
        Self {
            watching_since,
            connected: Vec::new(),
            gone: Vec::new(),
            readers: Duration::ZERO,
            over_elsewhere: 0,
            more_gone_until: None,
            replicas: Vec::new(),
            lag: Duration::ZERO,
        }
    }

    /// How many sidecars are connected, to whichever replica.
    #[must_use]
    pub fn size(&self) -> usize {
        let elsewhere = self.replicas.iter().map(|replica| replica.connected);
        elsewhere.fold(self.connected.len(), usize::saturating_add)
    }

    /// How many of them are known to have acknowledged the bundle of now.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        let here = self.connected.iter().filter(|sidecar| sidecar.acknowledged).count();
        let elsewhere = self.replicas.iter().map(|replica| match &replica.says {
            Says::Nothing { .. } | Says::Behind => 0,
            Says::Counts { groups, named: _ } => {
                groups.iter().filter(|group| group.acknowledged).map(|group| group.count).sum()
            }
        });
        elsewhere.fold(here, usize::saturating_add)
    }

    /// Whoever does not have what is asked for, by whether it acknowledged and by its leaf.
    #[must_use]
    pub fn lagging(&self, has: impl Fn(bool, &str) -> bool) -> Vec<Awaited> {
        let lags = |sidecar: &&Connected| !has(sidecar.acknowledged, &sidecar.key_id);
        let awaited = |one: &Connected| Awaited::Sidecar(one.id.clone(), one.since);
        let mut all: Vec<Awaited> = self.connected.iter().filter(lags).map(awaited).collect();
        for Replica { name, connected: _, says } in &self.replicas {
            match says {
                Says::Nothing { until } => all.push(Awaited::Silent(name.clone(), *until)),
                Says::Behind => all.push(Awaited::Behind(name.clone())),
                Says::Counts { groups, named } => {
                    let counted = groups.iter().filter(|one| !has(one.acknowledged, &one.key_id));
                    let counted: usize = counted.map(|group| group.count).sum();
                    let named: Vec<Awaited> = named.iter().filter(lags).map(awaited).collect();
                    let unnamed = counted.saturating_sub(named.len());
                    all.extend(named);
                    if unnamed > 0 {
                        all.push(Awaited::Others(name.clone(), unnamed));
                    }
                }
            }
        }
        all
    }

    /// For how many sidecars this stands, of those that are connected.
    #[must_use]
    pub fn weight(&self, awaited: &Awaited) -> usize {
        match awaited {
            Awaited::Sidecar(..) => 1,
            Awaited::Others(_, count) => *count,
            Awaited::Behind(name) | Awaited::Silent(name, _) => {
                let found = self.replicas.iter().find(|replica| replica.name == *name);
                found.map_or(0, |replica| replica.connected)
            }
            Awaited::Gone(..)
            | Awaited::Reconnect(_)
            | Awaited::Absent(_)
            | Awaited::Tokens(_)
            | Awaited::Readers(_) => 0,
        }
    }
}

impl PodState {
    /// As a word for people and programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotKnown => "notKnown",
            Self::There => "there",
            Self::Over => "over",
        }
    }

    fn may_serve(self) -> bool {
        match self {
            Self::NotKnown | Self::There => true,
            Self::Over => false,
        }
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
            let mut awaited = fleet.lagging(|acknowledged, _| acknowledged);
            if !change.without_absent {
                awaited.extend(absent_while_publishing((change, from), fleet, now));
            }
            unless(awaited, Next::Activate)
        }
        Step::Reissuing => {
            let mut awaited =
                fleet.lagging(|_, key_id| to.issuing_keys.iter().any(|one| one == key_id));
            if !change.without_absent {
                awaited.extend(reconnecting(fleet, now));
                // A replica that was behind may have signed for a while as before.
                let end = leaves_end(change, from).checked_add(fleet.lag);
                awaited.extend(end.and_then(|end| until(end, now)).map(Awaited::Absent));
            }
            let tokens = tokens_end(change, from, fleet.lag).and_then(|end| until(end, now));
            awaited.extend(tokens.map(Awaited::Tokens));
            unless(awaited, Next::Retire)
        }
    }
}

/// Whether it matters which sidecars went away.
#[must_use]
pub fn waits_for_absent(state: &State) -> bool {
    let change = state.rotation.as_ref();
    change.is_some_and(|change| change.step == Step::Publishing && !change.without_absent)
}

/// How many sidecars would be waited for if their pods were not over.
#[must_use]
pub fn let_go(state: &State, fleet: &FleetView, now: SystemTime) -> usize {
    if !waits_for_absent(state) {
        return 0;
    }
    let over = fleet.gone.iter().filter(|gone| !gone.pod.may_serve() && now < gone.until);
    over.count().saturating_add(fleet.over_elsewhere)
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

fn absent_while_publishing(
    (change, from): (&Change, &Record),
    fleet: &FleetView,
    now: SystemTime,
) -> Vec<Awaited> {
    let gone = fleet.gone.iter().filter(|gone| gone.pod.may_serve());
    let gone =
        gone.filter_map(|one| Some(Awaited::Gone(one.id.clone(), one.pod, until(one.until, now)?)));
    let mut awaited: Vec<Awaited> = gone.collect();
    awaited.extend(reconnecting(fleet, now));
    awaited.extend(readers(change, fleet).and_then(|end| until(end, now)).map(Awaited::Readers));
    awaited.extend(fleet.more_gone_until.and_then(|end| until(end, now)).map(Awaited::Absent));
    if fleet.size() == 0 {
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
fn tokens_end(change: &Change, from: &Record, lag: Duration) -> Option<SystemTime> {
    let longest = Some(from.longest_token).filter(|longest| *longest > 0)?;
    at(change.since.saturating_add(1).saturating_add(longest)).checked_add(lag)
}

fn until(end: SystemTime, now: SystemTime) -> Option<SystemTime> {
    (now < end).then_some(end)
}

fn unless(awaited: Vec<Awaited>, next: Next) -> Next {
    if awaited.is_empty() { next } else { Next::Wait(awaited) }
}

#[cfg(test)]
mod tests;
