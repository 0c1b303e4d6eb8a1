//! Room for bodies and answers that the connections of a server share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What each connection has for itself, whatever others keep: enough for usual requests, which so never look at what is shared.
pub(super) const OWN: usize = 32 * 1024;
/// How much is taken out of the shared room at once.
const STEP: usize = 256 * 1024;

/// Room that connections share, in bytes. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Room {
    left: Arc<AtomicUsize>,
    /// How much of it one connection may take.
    most: usize,
}

/// The room of one connection.
#[derive(Debug)]
pub(super) struct Share {
    room: Room,
    used: usize,
    /// How much was taken out of the shared room.
    taken: usize,
}

impl Room {
    /// Room for so many bytes, half of which one connection may take, beside the little that each has for itself.
    #[must_use]
    pub fn new(whole: usize) -> Self {
        Self { left: Arc::new(AtomicUsize::new(whole)), most: whole / 2 }
    }
}

impl Share {
    pub(super) fn of(room: Room) -> Self {
        Self { room, used: 0, taken: 0 }
    }

    /// How much is kept.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Takes room; nothing where there is not so much.
    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Option<()> {
        let used = self.used.checked_add(length)?;
        let lacking = used.saturating_sub(OWN + self.taken);
        if lacking > 0 {
            self.borrow(lacking.max(STEP)).or_else(|| self.borrow(lacking))?;
        }
        self.used = used;
        Some(())
    }

    /// Counts what is kept whether there is room or not.
    pub(super) fn add(&mut self, length: usize) {
        self.used = self.used.saturating_add(length);
    }

    /// Gives room back.
    #[inline]
    pub(super) fn give(&mut self, length: usize) {
        self.used = self.used.saturating_sub(length);
        if self.taken > 0 && self.used <= OWN {
            self.give_back();
        }
    }

    fn borrow(&mut self, length: usize) -> Option<()> {
        let taken = self.taken.checked_add(length).filter(|taken| *taken <= self.room.most)?;
        let take = |left: usize| left.checked_sub(length);
        self.room.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        self.taken = taken;
        Some(())
    }

    fn give_back(&mut self) {
        self.room.left.fetch_add(std::mem::take(&mut self.taken), Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_shared_and_given_back() {
        let room = Room::new(4 * STEP);
        let left = || room.left.load(Ordering::Relaxed);
        let mut shares = [(); 3].map(|()| Share::of(room.clone()));
        let [a, b, c] = &mut shares;
        assert_eq!((a.take(OWN), left()), (Some(()), 4 * STEP), "its own");
        assert_eq!((a.take(1), left()), (Some(()), 3 * STEP));
        assert_eq!((a.take(2 * STEP), left()), (None, 3 * STEP), "more than half");
        assert_eq!((a.take(2 * STEP - 1), a.take(1), left()), (Some(()), None, 2 * STEP));
        assert_eq!((b.take(OWN + 2 * STEP), left()), (Some(()), 0));
        assert_eq!(
            (c.take(OWN + 1), c.take(OWN), c.take(1)),
            (None, Some(()), None),
            "its own stays"
        );
        b.give(2 * STEP - 1);
        assert_eq!((c.take(1), left()), (None, 0), "not while some of it is used");
        b.give(1);
        assert_eq!((c.take(1), left()), (Some(()), STEP));
        a.add(10 * STEP);
        assert_eq!((a.used(), left()), (OWN + 12 * STEP, STEP));
        a.give(12 * STEP);
        assert_eq!((a.used(), left()), (OWN, 3 * STEP));
        drop(shares);
        assert_eq!(left(), 4 * STEP);
        assert_eq!(Share::of(room.clone()).take(usize::MAX), None);
    }
}
