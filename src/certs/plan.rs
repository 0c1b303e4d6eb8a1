//! What is held, how the attempts since went, and what follows from both. Pure.

use std::time::{Duration, SystemTime};

use super::schedule::{Jitter, Next, Reissue, Retry, Schedule, Standing, next};

/// The state of a renewal. `T` is what is held with its schedule.
///
/// What is held is kept until something better takes its place, also past its end: the clock that says that it is over
/// may be put right again.
#[derive(Debug)]
pub struct Plan<T> {
    held: Option<(T, Schedule)>,
    retry: Option<Retry>,
}

impl<T> Plan<T> {
    /// Nothing is held, nothing was tried.
    #[must_use]
    pub fn new() -> Self {
        Self { held: None, retry: None }
    }

    /// What to do at `now`.
    #[must_use]
    pub fn next(&self, now: SystemTime) -> Next {
        next(self.held.as_ref().map(|(_, schedule)| schedule), self.retry.as_ref(), now)
    }

    /// What may be served at `now`: what is held, unless it is over. A clock before its first second does not take it
    /// away: everybody else's clock may be right.
    #[must_use]
    pub fn servable(&self, now: SystemTime) -> Option<(&T, &Schedule)> {
        let (held, schedule) = self.held.as_ref()?;
        match schedule.standing(now) {
            Standing::NotYetValid | Standing::Fresh | Standing::Due => Some((held, schedule)),
            Standing::Expired => None,
        }
    }

    /// What is held, servable or not.
    #[must_use]
    pub fn held(&self) -> Option<&T> {
        self.held.as_ref().map(|(held, _)| held)
    }

    /// Takes something better. Failures before it are forgotten.
    pub fn hold(&mut self, better: T, schedule: Schedule) {
        self.held = Some((better, schedule));
        self.retry = None;
    }

    /// Puts something in the place of what is held, with the same schedule. Without anything held nothing happens.
    pub fn replace(&mut self, with: T) {
        if let Some((held, _)) = &mut self.held {
            *held = with;
        }
    }

    /// Plans the renewal of what is held under an order that was heard at `heard`; `None` takes an order back.
    pub fn order(&mut self, order: Option<&Reissue>, heard: SystemTime, jitter: Jitter) {
        if let Some((_, schedule)) = &mut self.held {
            *schedule = schedule.under(order, heard, jitter);
        }
    }

    /// Gives up what is held: it must not be served any more, whatever the clock says.
    pub fn give_up(&mut self) {
        self.held = None;
        self.retry = None;
    }

    /// Counts one more failed attempt. The next one is not made before `told` is over, as whoever was asked wants it.
    pub fn failed(&mut self, now: SystemTime, jitter: Jitter, told: Duration) {
        let retry = Retry::after(self.retry.as_ref(), now, jitter).not_before(told);
        self.retry = Some(retry);
    }

    /// Forgets the failures: what stood in the way may be gone.
    pub fn forget_failures(&mut self) {
        self.retry = None;
    }
}

impl<T> Default for Plan<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
