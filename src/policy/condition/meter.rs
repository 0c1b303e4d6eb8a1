//! The steps of one evaluation, counted, so that neither a condition nor what a stranger sends makes it slow.
//!
//! A step is about one operator, one member of a list or 64 bytes of a text. Every fact is charged when it is read,
//! by the steps it can cost at most from then on (see `cost`). Who has spent all steps has no answer.

use std::sync::atomic::{AtomicU64, Ordering};

use super::known::Outcome;
use crate::policy::decide::UndecidableReason;

/// The most steps of one evaluation: some milliseconds.
pub(in crate::policy) const MAX_STEPS: u64 = 100_000;
/// How many bytes of a text are one step.
const BYTES_PER_STEP: u64 = 64;

/// Counts the steps of one evaluation.
#[derive(Debug)]
pub(super) struct Meter {
    spent: AtomicU64,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self { spent: AtomicU64::new(0) }
    }

    /// Spends steps. Nothing may be done for which they do not suffice.
    pub(super) fn spend(&self, steps: u64) -> Outcome<()> {
        // One thread evaluates; the interpreter only demands that another could.
        let spent = self.spent.load(Ordering::Relaxed).saturating_add(steps).min(MAX_STEPS + 1);
        self.spent.store(spent, Ordering::Relaxed);
        if spent > MAX_STEPS { Err(UndecidableReason::TooCostly) } else { Ok(()) }
    }

    /// The steps that have been spent.
    pub(super) fn spent(&self) -> u64 {
        self.spent.load(Ordering::Relaxed)
    }

    /// Refuses an answer that was found with too many steps: parts of it were left out.
    pub(super) fn check<T>(&self, outcome: Outcome<T>) -> Outcome<T> {
        if self.spent() > MAX_STEPS { Err(UndecidableReason::TooCostly) } else { outcome }
    }
}

/// The steps of going over so many members.
pub(super) fn member_steps(members: usize) -> u64 {
    u64::try_from(members).unwrap_or(u64::MAX)
}

/// The steps of a text.
pub(super) fn text_steps(text: &str) -> u64 {
    u64::try_from(text.len()).map_or(u64::MAX, |bytes| 1 + bytes / BYTES_PER_STEP)
}
