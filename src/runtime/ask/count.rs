//! What was asked and answered, counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What was asked and answered.
#[derive(Default)]
pub(super) struct Counts {
    asked: AtomicU64,
    remembered: AtomicU64,
    /// By code: there are as many as faults.
    failed: Mutex<BTreeMap<&'static str, u64>>,
}

/// A picture of what was asked and answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskCounts {
    /// Questions sent.
    pub asked: u64,
    /// Those that are out at this moment.
    pub out: usize,
    /// Questions that brought no clear answer or were not sent, by the code of what was wrong.
    pub failed: BTreeMap<&'static str, u64>,
    /// Answers taken from memory.
    pub remembered: u64,
}

impl Counts {
    pub(super) fn asked(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn remembered(&self) {
        self.remembered.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, code: &'static str) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        *failed.entry(code).or_default() += 1;
    }

    pub(super) fn picture(&self, out: usize) -> AskCounts {
        AskCounts {
            asked: self.asked.load(Ordering::Relaxed),
            out,
            failed: self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            remembered: self.remembered.load(Ordering::Relaxed),
        }
    }
}

/// How many questions may be out, in total or at one endpoint.
#[derive(Debug, Clone)]
pub struct Slots {
    out: Arc<AtomicUsize>,
    most: usize,
}

/// One of them: a question that is out. Given back when it is dropped, which is when the question ends, however.
pub(super) struct Slot(Arc<AtomicUsize>);

impl Slots {
    /// At most so many.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { out: Arc::default(), most }
    }

    /// Nothing when all are taken.
    pub(super) fn take(&self) -> Option<Slot> {
        let more = |out: usize| (out < self.most).then(|| out + 1);
        self.out.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Slot(Arc::clone(&self.out)))
    }

    pub(super) fn out(&self) -> usize {
        self.out.load(Ordering::Acquire)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_slots_are_taken_than_there_are_and_each_comes_back_once() {
        let slots = Slots::new(2);
        let (one, two) = (slots.take().unwrap(), slots.take().unwrap());
        assert!(slots.take().is_none());
        assert_eq!(slots.out(), 2);
        drop(one);
        let three = slots.take().unwrap();
        assert!(slots.take().is_none());
        drop((two, three));
        assert_eq!(slots.out(), 0);
    }
}
