//! The power fails before every single change of the directory, at every step of an authority's life: what is found
//! afterwards is the state before the step or the one after it, never anything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use super::*;
use crate::ca::{Authority, Phase, State};
use crate::identity::TrustDomain;

/// How many changes of the directory are left before the power fails.
#[derive(Clone)]
pub(crate) struct Power(Arc<AtomicI64>);

impl Default for Power {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(i64::MAX)))
    }
}

impl Power {
    fn left(changes: i64) -> Self {
        Self(Arc::new(AtomicI64::new(changes)))
    }

    pub(super) fn draw(&self) -> Result<(), StoreError> {
        if self.0.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Ok(());
        }
        let source = io::Error::other("the power failed");
        Err(StoreError::Io { action: "write", path: PathBuf::new(), source })
    }

    /// True once a change was refused.
    fn failed(&self) -> bool {
        self.0.load(Ordering::SeqCst) < 0
    }
}

struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hopgate-store-{}-{n}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        Self(path)
    }

    fn copy_of(other: &Path) -> Self {
        let place = Self::new();
        copy(other, &place.0);
        place
    }

    fn open(&self, power: Power) -> Result<Authority, crate::ca::AuthorityError> {
        let mut directory = Directory::open(&self.0)?;
        directory.power = power;
        Authority::open_in(Box::new(directory), &domain(), now())
    }

    /// What a restart finds.
    fn replay(&self) -> State {
        self.open(Power::default()).unwrap_or_else(|e| panic!("refused: {e}")).state()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn copy(from: &Path, to: &Path) {
    create_private(to).unwrap();
    for name in names(from).unwrap() {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() { copy(&from, &to) } else { fs::copy(from, to).map(drop).unwrap() }
    }
}

fn domain() -> TrustDomain {
    TrustDomain::parse("demo.mesh").unwrap()
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

type Step = (&'static str, fn(&Authority) -> Result<(), crate::ca::AuthorityError>);

const HOUR: Duration = Duration::from_secs(3600);
const STEPS: [Step; 9] = [
    ("taint", |authority| authority.taint(HOUR, now())),
    ("prepare", |authority| authority.prepare(None, now())),
    ("abort prepared", |authority| authority.abort(HOUR, now())),
    ("prepare again", |authority| authority.prepare(None, now())),
    ("publish", |authority| authority.publish(now())),
    ("activate", |authority| authority.activate(HOUR, now())),
    ("taint while re-issuing", |authority| authority.taint(HOUR, now())),
    ("go back", |authority| authority.abort(HOUR, now())),
    ("retire", |authority| authority.retire(now())),
];

/// The state without what is drawn at random.
fn shape(state: &State) -> String {
    let generation =
        |r: &crate::ca::Record| (r.number, r.phase, r.issuing_keys.len(), r.files.len());
    let generations: Vec<_> = state.generations.iter().map(generation).collect();
    format!("{} {generations:?} {:?} {:?}", state.sequence, state.rotation, state.reissue)
}

#[test]
fn a_power_cut_at_any_change_of_any_step_replays_to_before_or_after() {
    let place = Place::new();
    let mut before = place.replay();
    for (name, step) in STEPS {
        let mut after = None;
        for changes in 0.. {
            let copy = Place::copy_of(&place.0);
            let power = Power::left(changes);
            let authority = copy.open(power.clone()).unwrap();
            let done = step(&authority).is_ok();
            let told = authority.state();
            drop(authority);
            let found = copy.replay();
            let expected = shape(&told);
            assert_eq!(shape(&found), expected, "{name}, {changes} changes: what was said is kept");
            assert_eq!(done, found != before, "{name}, {changes} changes");
            // What the cut left over hinders nothing, and no key of what never was is kept.
            let again = copy.open(Power::default()).unwrap();
            if !done {
                step(&again).unwrap_or_else(|e| panic!("{name} after {changes} changes: {e}"));
            }
            drop(again);
            if !done {
                after = Some(shape(&copy.replay()));
            } else if let Some(after) = &after {
                assert_eq!(shape(&found), *after, "{name}, {changes} changes");
            }
            let state = copy.replay();
            let named: usize = state.generations.iter().map(|r| r.files.len()).sum();
            let held = names(&copy.0.join(GENERATIONS)).unwrap();
            if !power.failed() {
                assert_eq!(held.len(), named, "{name}, {changes} changes: {held:?}");
                break;
            }
        }
        let authority = place.open(Power::default()).unwrap();
        step(&authority).unwrap();
        before = authority.state();
    }
    assert_eq!(before.generation(2).map(|r| r.phase), Some(Phase::Retired));
}

#[test]
fn a_power_cut_in_the_first_start_leaves_nothing_or_one_root() {
    for changes in 0.. {
        let place = Place::new();
        let power = Power::left(changes);
        let first = place.open(power.clone()).map(|authority| authority.bundle());
        let second = place.open(Power::default()).unwrap().bundle();
        match first {
            Ok(first) => assert_eq!(first, second, "after {changes} changes"),
            Err(_) => assert!(power.failed(), "after {changes} changes"),
        }
        if !power.failed() {
            break;
        }
    }
}

#[test]
fn a_power_cut_while_the_old_layout_is_taken_over_keeps_its_root() {
    let old = Place::new();
    let authority = old.open(Power::default()).unwrap();
    let (root, key_id) = (authority.bundle(), authority.active_key_id());
    drop(authority);
    let generations = old.0.join(GENERATIONS);
    for (new, name) in [
        ("1.root.key", "root.key"),
        ("1.issuing-1.pem", "issuing.pem"),
        ("1.issuing-1.key", "issuing.key"),
    ] {
        fs::rename(generations.join(new), old.0.join(name)).unwrap();
    }
    fs::remove_dir_all(&generations).unwrap();
    fs::remove_file(old.0.join(STATE)).unwrap();
    for changes in 0.. {
        let place = Place::copy_of(&old.0);
        let power = Power::left(changes);
        drop(place.open(power.clone()));
        let authority = place.open(Power::default()).unwrap();
        assert_eq!((authority.bundle(), authority.active_key_id()), (root.clone(), key_id.clone()));
        let mut found = names(&place.0).unwrap();
        found.sort_unstable();
        assert_eq!(found, [GENERATIONS, LOCK, ROOTS, STATE], "after {changes} changes");
        if !power.failed() {
            break;
        }
    }
}
