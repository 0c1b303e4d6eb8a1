//! Which proofs were used already: two generations of a table, each kept for at least as long as a proof can live.
//!
//! A proof is forgotten only with its whole generation, and a generation only when everything in it is too old to be
//! accepted anyway. Should a clock that jumped ahead have made that judgement wrong, the newest `iat` that was
//! forgotten stays behind as a floor: nothing as old as that is accepted again. A clock that goes back delays
//! forgetting; it never hastens it.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{Context, SHA256};

/// Half a SHA-256: finding two proofs that share it takes 2^64 tries, and would only have the second one refused.
type Entry = [u8; 16];
type Entries = HashSet<Entry, foldhash::fast::RandomState>;

/// What came of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remembered {
    /// It was not known, and now is.
    New,
    /// It was known, or is as old as what was forgotten.
    Replayed,
    /// It is not known and cannot be remembered.
    Overloaded,
}

/// The proofs of this process.
pub(super) struct Replays {
    generations: Mutex<Generations>,
    capacity: usize,
    life: Duration,
}

struct Generations {
    current: Generation,
    previous: Generation,
    /// No proof as old as this is accepted.
    floor: Option<SystemTime>,
}

struct Generation {
    entries: Entries,
    /// When its first and its last entry was made; nothing while it is empty.
    first: Option<SystemTime>,
    last: Option<SystemTime>,
    /// The newest `iat` in it.
    newest: Option<SystemTime>,
}

impl Replays {
    /// Up to `capacity` entries, each kept for `life` at least.
    pub(super) fn new(capacity: usize, life: Duration) -> Self {
        let generations = Generations {
            current: Generation::empty(),
            previous: Generation::empty(),
            floor: None,
        };
        Self { generations: Mutex::new(generations), capacity, life }
    }

    /// Remembers a proof by the thumbprint of its key, its `jti` and its `iat`, unless it is known.
    pub(super) fn remember(
        &self,
        thumbprint: &[u8; 32],
        id: &str,
        issued: SystemTime,
        now: SystemTime,
    ) -> Remembered {
        let entry = entry(thumbprint, id);
        // Whoever died in there may have left half a change.
        let Ok(mut generations) = self.generations.lock() else { return Remembered::Overloaded };
        generations.age(self.life, now);
        if generations.floor.is_some_and(|floor| issued <= floor) || generations.know(&entry) {
            return Remembered::Replayed;
        }
        if generations.len() >= self.capacity {
            return Remembered::Overloaded;
        }
        generations.current.insert(entry, issued, now);
        Remembered::New
    }
}

impl Generations {
    /// Starts a new generation when the current one is a lifetime old, and forgets the previous one when all of it is.
    fn age(&mut self, life: Duration, now: SystemTime) {
        let past = |time: Option<SystemTime>| {
            time.is_some_and(|time| now.duration_since(time).is_ok_and(|age| age >= life))
        };
        if past(self.current.first) {
            // Nothing went into the previous one since the current one began, so that one is older still.
            self.forget_previous();
            self.previous = std::mem::replace(&mut self.current, Generation::empty());
        }
        if past(self.previous.last) {
            self.forget_previous();
        }
    }

    fn forget_previous(&mut self) {
        self.floor = self.floor.max(self.previous.newest);
        self.previous = Generation::empty();
    }

    fn know(&self, entry: &Entry) -> bool {
        self.current.entries.contains(entry) || self.previous.entries.contains(entry)
    }

    fn len(&self) -> usize {
        self.current.entries.len() + self.previous.entries.len()
    }
}

impl Generation {
    fn empty() -> Self {
        Self { entries: Entries::default(), first: None, last: None, newest: None }
    }

    fn insert(&mut self, entry: Entry, issued: SystemTime, now: SystemTime) {
        self.entries.insert(entry);
        self.first.get_or_insert(now);
        self.last = self.last.max(Some(now));
        self.newest = self.newest.max(Some(issued));
    }
}

/// The thumbprint has a fixed length, so no two pairs run together.
fn entry(thumbprint: &[u8; 32], id: &str) -> Entry {
    let mut hash = Context::new(&SHA256);
    hash.update(thumbprint);
    hash.update(id.as_bytes());
    let mut entry = Entry::default();
    for (into, from) in entry.iter_mut().zip(hash.finish().as_ref()) {
        *into = *from;
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(120);
    const KEY: [u8; 32] = [1; 32];

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + seconds)
    }

    fn used(replays: &Replays, id: &str, seconds: u64) -> Remembered {
        replays.remember(&KEY, id, at(seconds), at(seconds))
    }

    #[test]
    fn a_proof_is_new_once() {
        let replays = Replays::new(100, LIFE);
        assert_eq!(used(&replays, "a", 0), Remembered::New);
        assert_eq!(used(&replays, "a", 0), Remembered::Replayed);
        assert_eq!(used(&replays, "b", 0), Remembered::New);
        // The same id under another key is another proof.
        assert_eq!(replays.remember(&[2; 32], "a", at(0), at(0)), Remembered::New);
        for seconds in 0..LIFE.as_secs() {
            assert_eq!(used(&replays, "a", seconds), Remembered::Replayed, "{seconds}");
        }
    }

    /// Whatever the traffic, an entry is known for its whole life.
    #[test]
    fn generations_forget_nothing_early() {
        let replays = Replays::new(10_000, LIFE);
        for seconds in 0..1_000_u64 {
            assert_eq!(used(&replays, &seconds.to_string(), seconds), Remembered::New);
            for age in 0..LIFE.as_secs().min(seconds) {
                let id = (seconds - age).to_string();
                // As the sender of an old proof would: with the `iat` that it has.
                let again = replays.remember(&KEY, &id, at(seconds - age), at(seconds));
                assert_eq!(again, Remembered::Replayed, "{seconds} {age}");
            }
        }
        let generations = replays.generations.lock().unwrap();
        assert!(generations.len() <= 241, "{}", generations.len());
    }

    #[test]
    fn a_full_table_refuses_and_forgets_nothing() {
        let replays = Replays::new(3, LIFE);
        for id in ["a", "b", "c"] {
            assert_eq!(used(&replays, id, 0), Remembered::New);
        }
        for seconds in [0, 60, 119] {
            assert_eq!(used(&replays, "d", seconds), Remembered::Overloaded);
            assert_eq!(used(&replays, "a", seconds), Remembered::Replayed);
        }
        assert_eq!(used(&replays, "d", 120), Remembered::New);
        assert_eq!(Replays::new(0, LIFE).remember(&KEY, "a", at(0), at(0)), Remembered::Overloaded);
    }

    #[test]
    fn an_idle_table_is_freed() {
        let replays = Replays::new(2, LIFE);
        assert_eq!(used(&replays, "a", 0), Remembered::New);
        assert_eq!(used(&replays, "b", 0), Remembered::New);
        assert_eq!(used(&replays, "c", 500), Remembered::New);
        assert_eq!(used(&replays, "d", 500), Remembered::New);
    }

    #[test]
    fn no_clock_brings_a_used_proof_back() {
        let replays = Replays::new(100, LIFE);
        assert_eq!(used(&replays, "a", 0), Remembered::New);
        // An hour ahead and twice a lifetime more: all is forgotten.
        assert_eq!(used(&replays, "x", 3_600), Remembered::New);
        assert_eq!(used(&replays, "y", 3_800), Remembered::New);
        assert_eq!(used(&replays, "z", 4_000), Remembered::New);
        // And back to where the first proof was young.
        assert_eq!(used(&replays, "a", 0), Remembered::Replayed);
        assert_eq!(used(&replays, "y", 3_800), Remembered::Replayed);
    }

    #[test]
    fn a_clock_that_goes_back_forgets_nothing() {
        let replays = Replays::new(100, LIFE);
        assert_eq!(used(&replays, "a", 10_000), Remembered::New);
        assert_eq!(used(&replays, "b", 0), Remembered::New);
        for seconds in [0, 200, 9_000, 10_000, 10_119] {
            assert_eq!(used(&replays, "a", seconds), Remembered::Replayed);
        }
        assert_eq!(used(&replays, "c", 300), Remembered::New);
    }
}
