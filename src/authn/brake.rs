//! A brake on bad credentials: who keeps failing is refused for a while without being looked at.
//!
//! Failures are counted twice, per source address and per credential, each in a leaky bucket: `failures` in quick
//! succession, or some more that come slower but faster than `within` drains them, hold the key for `hold`. What it promises:
//!
//! - As long as nothing is held anywhere, asking costs one relaxed load.
//! - Memory is fixed at the start. Nothing of a credential is kept, only a hash under a key of this process.
//! - A clock that goes back never makes a hold longer than `hold` from then on.
//!
//! **When the table is full.** Each key has a handful of places that a keyed hash chose, so nobody can aim at another's.
//! A newcomer takes a free place or one whose failures have drained, else that of the least guilty; never the place of
//! one that is held. So a flood of strangers with one failure each only pushes out other strangers: who is close to
//! being held is still counted, who is held stays held, and nobody is held for what others did. If all places of a
//! newcomer are held, it is not counted. That would be worth something to an attacker who could fill the table with
//! held keys, so addresses and credentials have a table each: credentials can be invented for nothing, and every held
//! address costs an address.
//!
//! There is deliberately no way to say that a credential was good: whoever has one good account could otherwise wipe
//! out the failures of its address before each next guess.
//!
//! **Who may be held by others.** Users behind one address translator share an address, and whoever knows the
//! beginning of a key or the readable part of a token can have it held. So ask about an address before looking at a
//! credential, and about a credential only when it is not already known to be good.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Places that one key may take.
const WAYS: usize = 8;
/// Longer times are cut to this: they would make of a brake a ban.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// How much of an opaque credential tells it from others.
const PREFIX: usize = 8;
/// Vendors put a name such as `hk_live_` before a key. It is the same for everyone, so it does not count; a longer one
/// is no name.
const LONGEST_LABEL: usize = 16;

/// When the brake is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrakeRules {
    /// So many failures at once hold a key.
    pub failures: NonZeroU32,
    /// The time in which that many failures are forgiven, one after the other. At most a day.
    pub within: Duration,
    /// How long a key is held. At most a day.
    pub hold: Duration,
    /// How many keys are counted at a time, addresses and credentials together; 24 bytes each.
    pub max_entries: usize,
}

/// Who failed.
#[derive(Clone, Copy)]
pub enum BrakeKey<'a> {
    /// The source address. IPv6 counts by /64, which is what one customer has.
    Address(IpAddr),
    /// The credential as it was sent. A JWT counts by all but its signature, so guessing at signatures is one key; an
    /// opaque credential by its first eight characters behind a name such as `hk_live_`.
    Credential(&'a str),
}

/// The brake. One per process, or per listener.
pub struct Brake {
    addresses: Table,
    credentials: Table,
    hasher: RandomState,
    rules: Nanos,
    /// Nothing is held at or after this moment.
    last_hold_ends: AtomicU64,
}

/// The rules in nanoseconds.
#[derive(Clone, Copy)]
struct Nanos {
    /// What one failure weighs.
    each: u64,
    /// What as many failures as hold weigh; at least `each`.
    limit: u64,
    hold: u64,
}

struct Table(Box<[Mutex<[Slot; WAYS]>]>);

/// One key and its failures.
#[derive(Clone, Copy)]
struct Slot {
    key: u64,
    /// When all its failures will have drained. In the past: the slot is free.
    drained: u64,
    held: Held,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    No,
    Since(u64),
}

impl Brake {
    /// A brake with these rules. Allocates all it will ever need.
    #[must_use]
    pub fn new(rules: BrakeRules) -> Self {
        let each = (nanos(rules.within.min(LONGEST)) / u64::from(rules.failures.get())).max(1);
        let rules_in_nanos = Nanos {
            each,
            limit: each.saturating_mul(u64::from(rules.failures.get())),
            hold: nanos(rules.hold.min(LONGEST)),
        };
        let buckets = (rules.max_entries / 2).div_ceil(WAYS).max(1);
        Self {
            addresses: Table::new(buckets),
            credentials: Table::new(buckets),
            hasher: RandomState::new(),
            rules: rules_in_nanos,
            last_hold_ends: AtomicU64::new(0),
        }
    }

    /// How long this key is still held, for `Retry-After`; nothing if it may be looked at.
    #[must_use]
    pub fn held(&self, key: BrakeKey<'_>, now: SystemTime) -> Option<Duration> {
        let ends = self.last_hold_ends.load(Ordering::Relaxed);
        // Before the clock is even converted: where nobody was ever held, this is all there is.
        if ends == 0 {
            return None;
        }
        let now = since_epoch(now);
        if now >= ends {
            return None;
        }
        let last_possible = now.saturating_add(self.rules.hold);
        if ends > last_possible {
            // The clock went back. Otherwise the short way would be closed until it is there again.
            self.last_hold_ends.store(last_possible, Ordering::Relaxed);
        }
        let (hash, mut bucket) = self.bucket(key);
        let slot = bucket.iter_mut().find(|slot| slot.key == hash)?;
        slot.left(now, self.rules.hold).map(Duration::from_nanos)
    }

    /// Counts a failure. What is held already is not held longer for it.
    pub fn failed(&self, key: BrakeKey<'_>, now: SystemTime) {
        let now = since_epoch(now);
        let (hash, mut bucket) = self.bucket(key);
        let Some(slot) = place(&mut bucket, hash, now, self.rules.hold) else { return };
        if slot.key != hash {
            *slot = Slot { key: hash, drained: 0, held: Held::No };
        }
        if slot.left(now, self.rules.hold).is_some() {
            return;
        }
        // Further ahead than any count reaches: the clock went back, and what was counted then says nothing now.
        let furthest = now.saturating_add(self.rules.limit).saturating_add(self.rules.each);
        let drained = if slot.drained > furthest { now } else { slot.drained.max(now) };
        slot.drained = drained.saturating_add(self.rules.each);
        // What drained since the first failure, if it is less than one, does not save anyone.
        if slot.drained.saturating_sub(now) > self.rules.limit - self.rules.each {
            slot.held = Held::Since(now);
            let ends = now.saturating_add(self.rules.hold);
            self.last_hold_ends.fetch_max(ends, Ordering::Relaxed);
        }
    }

    /// The hash of a key, and the places that it may take.
    fn bucket(&self, key: BrakeKey<'_>) -> (u64, MutexGuard<'_, [Slot; WAYS]>) {
        let (table, hash) = match key {
            BrakeKey::Address(address) => (&self.addresses, self.hasher.hash_one(network(address))),
            BrakeKey::Credential(text) => {
                (&self.credentials, self.hasher.hash_one(distinctive(text.as_bytes())))
            }
        };
        (hash, table.bucket(hash))
    }
}

impl Table {
    fn new(buckets: usize) -> Self {
        let free = Slot { key: 0, drained: 0, held: Held::No };
        Self((0..buckets).map(|_| Mutex::new([free; WAYS])).collect())
    }

    fn bucket(&self, hash: u64) -> MutexGuard<'_, [Slot; WAYS]> {
        let count = u64::try_from(self.0.len()).unwrap_or(u64::MAX);
        let index = usize::try_from(hash.checked_rem(count).unwrap_or(0)).unwrap_or(0);
        #[expect(clippy::indexing_slicing, reason = "a remainder by the length is an index")]
        let bucket = &self.0[index];
        // Whatever thread died there left integers, and every integer is a valid slot.
        bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// How long it is still held. Forgets a hold that is over.
    fn left(&mut self, now: u64, hold: u64) -> Option<u64> {
        let Held::Since(since) = self.held else { return None };
        // The clock went back: the hold begins anew, so it lasts at most `hold` from now.
        let since = since.min(now);
        let left = since.saturating_add(hold).saturating_sub(now);
        self.held = if left == 0 { Held::No } else { Held::Since(since) };
        (left > 0).then_some(left)
    }
}

/// The place of a key: its own, else that of the one with the least to lose, but of no one who is held.
fn place(bucket: &mut [Slot; WAYS], key: u64, now: u64, hold: u64) -> Option<&mut Slot> {
    if let Some(own) = bucket.iter().position(|slot| slot.key == key) {
        return bucket.get_mut(own);
    }
    bucket
        .iter_mut()
        .filter_map(|slot| slot.left(now, hold).is_none().then_some(slot))
        .min_by_key(|slot| slot.drained)
}

/// One customer's network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
    }
}

/// The part of a credential by which its failures are counted.
fn distinctive(credential: &[u8]) -> &[u8] {
    let dots = credential.iter().filter(|byte| **byte == b'.').count();
    let end = if dots == 2 {
        credential.iter().rposition(|byte| *byte == b'.').unwrap_or(0)
    } else {
        let label = credential.iter().take(LONGEST_LABEL).rposition(|byte| *byte == b'_');
        label.map_or(0, |at| at + 1) + PREFIX
    };
    credential.get(..end).unwrap_or(credential)
}

fn since_epoch(time: SystemTime) -> u64 {
    nanos(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
