//! Whatever the operator, the fleet and crashes do in whatever order: what must never happen does not.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::ca::vault::{Files, Found, Kept, Vault, Version};
use crate::ca::{Authority, StoreError};
use crate::identity::TrustDomain;

/// A journal in memory. A crash comes before a write counts, or right after it.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    state: Option<String>,
    files: Files,
    crash: Option<Crash>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Crash {
    Before,
    After,
}

impl Vault for Journal {
    fn load(&self) -> Result<(Found, Version), StoreError> {
        let inner = self.0.lock().unwrap();
        let version = inner.version();
        let found = inner.state.clone().map_or(Found::Nothing, |state| {
            Found::Kept(Kept { state, files: inner.files.clone() })
        });
        Ok((found, version))
    }

    fn save(&self, kept: &Kept, _: &str, over: &Version) -> Result<Version, StoreError> {
        let mut inner = self.0.lock().unwrap();
        if *over != inner.version() {
            return Err(StoreError::Conflict(self.place()));
        }
        let crash = inner.crash.take();
        if crash != Some(Crash::Before) {
            inner.state = Some(kept.state.clone());
            inner.files.clone_from(&kept.files);
        }
        if crash.is_some() { Err(StoreError::InUse("memory".into())) } else { Ok(inner.version()) }
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}

impl Inner {
    fn version(&self) -> Version {
        self.state.clone().map_or(Version::Absent, Version::Of)
    }
}

/// A sidecar: which roots its proxy trusts, and its leaf.
#[derive(Debug, Clone)]
struct Sidecar {
    connected: bool,
    /// Its pod is over.
    over: bool,
    /// By the sequence of the bundle that it acknowledged.
    acknowledged: u64,
    trusts: Vec<Vec<u8>>,
    leaf: Leaf,
}

#[derive(Debug, Clone)]
struct Leaf {
    root: Vec<u8>,
    key_id: String,
    ends: SystemTime,
}

#[derive(Debug, Clone)]
enum Event {
    Rotate,
    Abort,
    Taint,
    Step,
    Acknowledge(usize),
    Renew(usize),
    Leave(usize),
    Return(usize),
    /// Its pod is deleted: it never comes back.
    Delete(usize),
    Pass(u64),
    Crash(Crash),
}

fn event() -> impl Strategy<Value = Event> {
    let one = || 0_usize..3;
    prop_oneof![
        2 => Just(Event::Rotate),
        1 => Just(Event::Abort),
        1 => Just(Event::Taint),
        8 => Just(Event::Step),
        6 => one().prop_map(Event::Acknowledge),
        6 => one().prop_map(Event::Renew),
        1 => one().prop_map(Event::Leave),
        3 => one().prop_map(Event::Return),
        1 => one().prop_map(Event::Delete),
        4 => prop_oneof![Just(1), Just(61), Just(1000), Just(3700)].prop_map(Event::Pass),
        1 => prop_oneof![Just(Crash::Before), Just(Crash::After)].prop_map(Event::Crash),
    ]
}

struct World {
    journal: Journal,
    authority: Authority,
    sidecars: Vec<Sidecar>,
    gone: Vec<Gone>,
    started: SystemTime,
    now: SystemTime,
    /// States that a step was seen to lead to, for the crash to land on.
    expected: Vec<State>,
}

impl World {
    fn new() -> Self {
        let journal = Journal::default();
        let authority = open(&journal, now());
        let sidecars = vec![fresh(&authority, now()); 3];
        Self {
            journal,
            authority,
            sidecars,
            gone: Vec::new(),
            started: now() - RECONNECT,
            now: now(),
            expected: Vec::new(),
        }
    }

    fn view(&self) -> FleetView {
        let sequence = self.authority.trust().borrow().sequence;
        let connected = self.sidecars.iter().enumerate().filter(|(_, s)| s.connected);
        let connected = connected.map(|(index, sidecar)| Connected {
            id: id(&format!("w{index}")),
            acknowledged: sidecar.acknowledged == sequence,
            key_id: sidecar.leaf.key_id.clone(),
            since: self.now,
        });
        let connected = connected.collect();
        let gone = self.gone.clone();
        FleetView { connected, gone, ..FleetView::empty(self.started) }
    }

    fn play(&mut self, event: &Event) {
        let hour = secs(3600);
        match event {
            Event::Rotate => self.change(|authority, now| authority.prepare(None, now)),
            Event::Abort => self.change(|authority, now| authority.abort(hour, now)),
            Event::Taint => self.change(|authority, now| authority.taint(hour, now)),
            Event::Step => match next(&self.authority.state(), &self.view(), self.now) {
                Next::Nothing | Next::Wait(_) => {}
                Next::Publish => self.change(|authority, now| authority.publish(now)),
                Next::Activate => self.change(|authority, now| authority.activate(hour, now)),
                Next::Retire => self.change(|authority, now| authority.retire(now)),
                Next::Reissued => self.change(|authority, now| authority.reissued(now)),
            },
            Event::Acknowledge(index) => {
                let trust = Arc::clone(&self.authority.trust().borrow());
                let sidecar = &mut self.sidecars[*index];
                if sidecar.connected {
                    sidecar.acknowledged = trust.sequence;
                    sidecar.trusts = roots(&self.authority);
                }
            }
            Event::Renew(index) => {
                if self.sidecars[*index].connected {
                    self.renew(*index);
                }
            }
            Event::Leave(index) => {
                let sequence = self.authority.trust().borrow().sequence;
                let sidecar = &mut self.sidecars[*index];
                if sidecar.connected {
                    sidecar.connected = false;
                    if sidecar.acknowledged != sequence {
                        let (id, until) = (id(&format!("w{index}")), sidecar.leaf.ends);
                        self.gone.push(Gone { id, until, pod: PodState::There });
                    }
                }
            }
            // Who comes back with an expired leaf starts anew; in any case the bundle comes first.
            Event::Return(index) => {
                let fresh = fresh(&self.authority, self.now);
                let sidecar = &mut self.sidecars[*index];
                if !sidecar.connected && !sidecar.over {
                    sidecar.connected = true;
                    sidecar.acknowledged = fresh.acknowledged;
                    sidecar.trusts = fresh.trusts;
                    if sidecar.leaf.ends < self.now {
                        sidecar.leaf = fresh.leaf;
                    }
                }
            }
            Event::Delete(index) => {
                self.play(&Event::Leave(*index));
                self.sidecars[*index].over = true;
                let name = id(&format!("w{index}"));
                for gone in self.gone.iter_mut().filter(|gone| gone.id == name) {
                    gone.pod = PodState::Over;
                }
            }
            Event::Pass(seconds) => {
                self.now += secs(*seconds);
                for index in 0..self.sidecars.len() {
                    // A connected sidecar renews in time, whatever happens.
                    let sidecar = &self.sidecars[index];
                    if sidecar.connected && sidecar.leaf.ends < self.now + secs(600) {
                        self.renew(index);
                    }
                }
            }
            Event::Crash(crash) => self.journal.0.lock().unwrap().crash = Some(*crash),
        }
    }

    fn renew(&mut self, index: usize) {
        let leaf = fresh(&self.authority, self.now).leaf;
        for sidecar in self.sidecars.iter().filter(|s| s.connected) {
            let sequence = self.authority.trust().borrow().sequence;
            if sidecar.acknowledged == sequence {
                assert!(sidecar.trusts.contains(&leaf.root), "a leaf that {sidecar:?} refuses");
            }
        }
        self.sidecars[index].leaf = leaf;
    }

    /// A step; if the journal crashes in it, the process dies, its sidecars lose their connection and come back.
    fn change(
        &mut self,
        step: impl Fn(&Authority, SystemTime) -> Result<(), crate::ca::AuthorityError>,
    ) {
        let before = self.authority.state();
        let crash = self.journal.0.lock().unwrap().crash;
        let done = step(&self.authority, self.now);
        let crashed = crash.is_some() && self.journal.0.lock().unwrap().crash.is_none();
        if !crashed {
            if done.is_err() {
                assert_eq!(self.authority.state(), before, "refused, and nothing changed");
            }
            return;
        }
        // What the step leads to without the crash, in another life.
        let other = Journal(Arc::new(Mutex::new(Inner {
            state: Some(crate::ca::vault::seal(&before).unwrap()),
            files: self.journal.0.lock().unwrap().files.clone(),
            crash: None,
        })));
        self.authority = open(&self.journal, self.now);
        self.started = self.now;
        let found = self.authority.state();
        if found == before {
            assert_eq!(crash, Some(Crash::Before));
        } else {
            assert_eq!(crash, Some(Crash::After));
            // Which keys were drawn is the only difference.
            if let Found::Kept(kept) = other.load().unwrap().0
                && before
                    .generations
                    .iter()
                    .all(|r| r.files.keys().all(|f| kept.files.contains_key(f)))
            {
                let uncrashed = open(&other, self.now);
                step(&uncrashed, self.now).unwrap();
                assert_eq!(shape(&uncrashed.state()), shape(&found));
            }
        }
        self.expected.push(found);
    }

    /// What must hold at every moment.
    fn check(&self) {
        let state = self.authority.state();
        assert_eq!(state.contradiction(), None);
        let active = state.generations.iter().filter(|r| r.phase == Phase::Active).count();
        assert_eq!(active, 1, "one generation signs");
        let bundle = roots(&self.authority);
        let leaf = fresh(&self.authority, self.now).leaf;
        assert!(bundle.contains(&leaf.root), "the active root is in the bundle");
        for sidecar in &self.sidecars {
            if sidecar.leaf.ends >= self.now {
                assert!(
                    bundle.contains(&sidecar.leaf.root),
                    "a valid leaf is trusted: {sidecar:?}"
                );
            }
        }
        let connected = || self.sidecars.iter().filter(|s| s.connected);
        for server in connected() {
            for client in connected() {
                assert!(
                    server.trusts.contains(&client.leaf.root),
                    "{server:?} must trust {client:?} in {state:?}"
                );
            }
        }
    }
}

fn open(journal: &Journal, now: SystemTime) -> Authority {
    let domain = TrustDomain::parse("demo.mesh").unwrap();
    Authority::open_in(Box::new(journal.clone()), &domain, now).unwrap()
}

fn roots(authority: &Authority) -> Vec<Vec<u8>> {
    authority.bundle().roots().iter().map(|root| root.to_vec()).collect()
}

/// A sidecar that just started: the bundle of now, and a leaf by whoever signs.
fn fresh(authority: &Authority, now: SystemTime) -> Sidecar {
    let trusts = roots(authority);
    let leaf =
        Leaf { root: trusts[0].clone(), key_id: authority.active_key_id(), ends: now + secs(3600) };
    let acknowledged = authority.trust().borrow().sequence;
    Sidecar { connected: true, over: false, acknowledged, trusts, leaf }
}

/// A state without what is drawn at random.
fn shape(state: &State) -> String {
    let generations: Vec<_> = state
        .generations
        .iter()
        .map(|r| (r.number, r.phase, r.issuing_keys.len(), r.files.len(), r.longest_leaf))
        .collect();
    format!("{} {generations:?} {:?} {:?}", state.sequence, state.rotation, state.reissue)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_history_breaks_trust(events in proptest::collection::vec(event(), 1..120)) {
        let mut world = World::new();
        world.check();
        for event in &events {
            world.play(event);
            world.check();
        }
    }
}

/// The property above would hold of an authority that never does anything, too.
#[test]
fn a_willing_fleet_gets_a_new_root() {
    let mut world = World::new();
    let old = roots(&world.authority);
    world.play(&Event::Rotate);
    for _ in 0..4 {
        world.play(&Event::Step);
        for index in 0..3 {
            world.play(&Event::Acknowledge(index));
            world.play(&Event::Renew(index));
        }
        world.play(&Event::Pass(3700));
        world.check();
    }
    let new = roots(&world.authority);
    assert_eq!(new.len(), 1);
    assert_ne!(new, old);
}
