//! A small table of what was seen a moment ago, compared in full.

use std::hash::BuildHasher as _;
use std::sync::Mutex;

/// Where each key has exactly one place, so memory is bounded by `slots x longest key` whatever a stranger sends.
///
/// The place is chosen by a keyed hash, so that nobody can aim at the place of another; the key itself is compared
/// byte for byte, so a collision can only cost a miss.
pub(super) struct Recent<V> {
    slots: Box<[Mutex<Option<Slot<V>>>]>,
    hasher: foldhash::fast::RandomState,
    longest: usize,
}

struct Slot<V> {
    key: Box<[u8]>,
    value: V,
}

impl<V: Clone> Recent<V> {
    /// A table of `slots` places for keys of at most `longest` bytes; longer ones are not remembered.
    pub(super) fn new(slots: usize, longest: usize) -> Self {
        Self {
            slots: (0..slots.max(1)).map(|_| Mutex::new(None)).collect(),
            hasher: foldhash::fast::RandomState::default(),
            longest,
        }
    }

    /// The value that was last put under exactly this key, unless another has taken its place.
    pub(super) fn find(&self, key: &[u8]) -> Option<V> {
        let slot = self.slot(key)?.lock().ok()?;
        slot.as_ref().filter(|slot| *slot.key == *key).map(|slot| slot.value.clone())
    }

    /// Remembers a value, in place of whatever had its place.
    pub(super) fn put(&self, key: &[u8], value: V) {
        if key.len() > self.longest {
            return;
        }
        // A poisoned slot is left alone: it only ever misses.
        if let Some(Ok(mut slot)) = self.slot(key).map(Mutex::lock) {
            *slot = Some(Slot { key: key.into(), value });
        }
    }

    fn slot(&self, key: &[u8]) -> Option<&Mutex<Option<Slot<V>>>> {
        let count = u64::try_from(self.slots.len()).ok()?;
        let index = self.hasher.hash_one(key).checked_rem(count)?;
        self.slots.get(usize::try_from(index).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hit_is_the_whole_key_and_nothing_less() {
        let recent = Recent::new(1, 8);
        recent.put(b"token-a", 'a');
        assert_eq!(recent.find(b"token-a"), Some('a'));
        // The one slot is the place of every key.
        for other in [&b"token-b"[..], b"token-", b"token-a ", b""] {
            assert_eq!(recent.find(other), None);
        }
        recent.put(b"token-b", 'b');
        assert_eq!(recent.find(b"token-a"), None);
        assert_eq!(recent.find(b"token-b"), Some('b'));
    }

    #[test]
    fn a_flood_takes_no_more_than_its_slots() {
        let recent = Recent::new(4, 8);
        recent.put(b"far too long", 0);
        assert_eq!(recent.find(b"far too long"), None);
        for n in 0..10_000_u32 {
            recent.put(&n.to_be_bytes(), n);
        }
        let held = (0..10_000_u32).filter(|n| recent.find(&n.to_be_bytes()).is_some()).count();
        assert!((1..=4).contains(&held), "{held}");
    }
}
