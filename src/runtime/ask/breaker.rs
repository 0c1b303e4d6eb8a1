//! Endpoints that are down are left alone for a while, then tried with one question.
//!
//! Only what says that the endpoint is down counts ([`Health`]): whoever finds a question that an endpoint chokes on
//! must not be able to shut it for everybody else.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::NotSent;

/// So many failures in a row, and an endpoint rests.
const FAILURES: u32 = 5;
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// Endpoints that are known. Each reload of resources may make new ones; the old are forgotten together.
const MAX_KNOWN: usize = 1024;

/// One breaker for each endpoint.
#[derive(Default)]
pub(super) struct Breakers(Mutex<HashMap<[u8; 32], Breaker>>);

#[derive(Default)]
struct Breaker {
    /// Failures in a row, without those that were on their way already when the endpoint was let rest.
    failures: u32,
    rests_until: Option<Instant>,
}

/// As what a question was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// As one of many.
    Usual,
    /// To see whether the endpoint is back.
    Trial,
}

/// How a question ended, as far as the endpoint's health goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// The endpoint answered, whatever it said.
    Up,
    /// It did not, or cannot.
    Down,
}

impl Breakers {
    /// Lets a question pass. While an endpoint rests none does; after it one does, and puts the rest off for others.
    pub(super) fn admit(&self, endpoint: &[u8; 32]) -> Result<Pass, NotSent> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(breaker) = all.get_mut(endpoint) else { return Ok(Pass::Usual) };
        let now = Instant::now();
        match breaker.rests_until {
            Some(until) if now < until => Err(NotSent::Resting),
            Some(_) => {
                breaker.rests_until = Some(now + rest(breaker.failures));
                Ok(Pass::Trial)
            }
            None => Ok(Pass::Usual),
        }
    }

    /// A question ended.
    pub(super) fn ended(&self, endpoint: &[u8; 32], pass: Pass, health: Health) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if health == Health::Up {
            all.remove(endpoint);
            return;
        }
        if all.len() >= MAX_KNOWN && !all.contains_key(endpoint) {
            all.clear();
        }
        let breaker = all.entry(*endpoint).or_default();
        // A hundred questions that fail together are one outage: they must not make the rest as long as a hundred
        // trials would.
        if pass == Pass::Usual && breaker.rests_until.is_some() {
            return;
        }
        breaker.failures = breaker.failures.saturating_add(1);
        if breaker.failures >= FAILURES {
            breaker.rests_until = Some(Instant::now() + rest(breaker.failures));
        }
    }
}

/// Twice as long for each failure beyond the first few.
fn rest(failures: u32) -> Duration {
    let beyond = failures.saturating_sub(FAILURES).min(8);
    FIRST_REST.saturating_mul(1 << beyond).min(LONGEST_REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: [u8; 32] = [7; 32];

    fn fail(breakers: &Breakers, times: u32) {
        for _ in 0..times {
            breakers.ended(&ONE, Pass::Usual, Health::Down);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_rests_after_failures_and_is_tried_once() {
        let breakers = Breakers::default();
        for _ in 0..FAILURES {
            assert_eq!(breakers.admit(&ONE), Ok(Pass::Usual));
            fail(&breakers, 1);
        }
        assert_eq!(breakers.admit(&ONE), Err(NotSent::Resting));
        assert!(breakers.admit(&[8; 32]).is_ok(), "others are not concerned");
        tokio::time::advance(FIRST_REST).await;
        assert_eq!(breakers.admit(&ONE), Ok(Pass::Trial));
        assert_eq!(breakers.admit(&ONE), Err(NotSent::Resting), "and no second one");
        breakers.ended(&ONE, Pass::Trial, Health::Down);
        tokio::time::advance(FIRST_REST).await;
        assert_eq!(breakers.admit(&ONE), Err(NotSent::Resting), "longer now");
        tokio::time::advance(FIRST_REST).await;
        assert_eq!(breakers.admit(&ONE), Ok(Pass::Trial));
        breakers.ended(&ONE, Pass::Trial, Health::Up);
        for _ in 0..10 {
            assert_eq!(breakers.admit(&ONE), Ok(Pass::Usual), "healed");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_fail_together_are_one_outage() {
        let breakers = Breakers::default();
        fail(&breakers, 500);
        tokio::time::advance(FIRST_REST).await;
        assert_eq!(breakers.admit(&ONE), Ok(Pass::Trial), "the first rest is a short one");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_between_failures_begins_the_count_anew() {
        let breakers = Breakers::default();
        for _ in 0..20 {
            fail(&breakers, FAILURES - 1);
            breakers.ended(&ONE, Pass::Usual, Health::Up);
        }
        assert_eq!(breakers.admit(&ONE), Ok(Pass::Usual));
    }
}
