//! Flow control: RFC 9113, sections 5.2 and 6.9.

/// No window may become larger.
pub(super) const LARGEST: u32 = 0x7fff_ffff;

/// How much the peer may still send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Receiving {
    left: u32,
    whole: u32,
}

impl Receiving {
    pub(super) fn new(whole: u32) -> Self {
        Self { left: whole, whole }
    }

    /// Counts what was received, padding included; nothing if it is more than was allowed.
    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Option<()> {
        self.left = self.left.checked_sub(u32::try_from(length).ok()?)?;
        Some(())
    }

    /// What to grant the peer again, once that is worth a frame.
    #[inline]
    pub(super) fn refill(&mut self) -> Option<u32> {
        let used = self.whole - self.left;
        if used < self.whole / 2 {
            return None;
        }
        self.left = self.whole;
        Some(used)
    }
}

/// How much may still be sent to the peer. Below zero after the peer made its windows smaller (section 6.9.2).
#[derive(Debug, Clone, Copy)]
pub(super) struct Sending(i64);

impl Sending {
    pub(super) fn new(whole: u32) -> Self {
        Self(i64::from(whole))
    }

    pub(super) fn room(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// Counts what is sent, which is never more than there is room for.
    #[inline]
    pub(super) fn take(&mut self, length: usize) {
        self.0 -= i64::try_from(length).unwrap_or(i64::MAX);
    }

    /// Adds to it, or takes off; nothing if it becomes larger than a window may be.
    pub(super) fn add(&mut self, difference: i64) -> Option<()> {
        self.0 = self.0.checked_add(difference).filter(|sum| *sum <= i64::from(LARGEST))?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_refilled_by_halves_and_never_overrun() {
        let mut window = Receiving::new(100);
        assert_eq!((window.take(49), window.refill()), (Some(()), None));
        assert_eq!((window.take(1), window.refill()), (Some(()), Some(50)));
        assert_eq!(window.take(101), None);
        assert_eq!(window.take(usize::MAX), None);
        assert_eq!((window.take(100), window.refill()), (Some(()), Some(100)));
    }

    #[test]
    fn what_may_be_sent_can_be_negative_but_not_too_large() {
        let mut window = Sending::new(10);
        window.take(10);
        assert_eq!(window.add(-10), Some(()));
        assert_eq!(window.room(), 0);
        assert_eq!(window.add(i64::from(LARGEST)), Some(()));
        assert_eq!(window.add(10), Some(()));
        assert_eq!(window.room(), usize::try_from(LARGEST).unwrap());
        assert_eq!(window.add(1), None);
    }
}
