//! Readiness: true only while every named condition was said aloud to hold.

use std::sync::{Arc, Mutex, PoisonError};

/// The conditions of one process. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Ready {
    conditions: Arc<Mutex<Vec<Condition>>>,
}

#[derive(Debug)]
struct Condition {
    name: &'static str,
    /// `None` means that it holds; else what is still missing.
    missing: Option<String>,
}

/// The right to say whether one condition holds. Dropping it says nothing.
#[derive(Debug)]
pub struct ReadyFlag {
    conditions: Arc<Mutex<Vec<Condition>>>,
    index: usize,
}

impl Ready {
    /// No conditions yet. A process without conditions is not ready: see [`Ready::missing`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition that does not hold yet.
    #[must_use]
    pub fn require(&self, name: &'static str) -> ReadyFlag {
        let mut conditions = lock(&self.conditions);
        conditions.push(Condition { name, missing: Some("not there yet".to_owned()) });
        ReadyFlag { conditions: Arc::clone(&self.conditions), index: conditions.len() - 1 }
    }

    /// What is still missing, as `(condition, reason)`. Empty means ready.
    #[must_use]
    pub fn missing(&self) -> Vec<(&'static str, String)> {
        let conditions = lock(&self.conditions);
        if conditions.is_empty() {
            return vec![("process", "still starting".to_owned())];
        }
        conditions
            .iter()
            .filter_map(|c| c.missing.as_ref().map(|reason| (c.name, reason.clone())))
            .collect()
    }
}

impl ReadyFlag {
    /// The condition holds now.
    pub fn met(&self) {
        self.set(None);
    }

    /// The condition does not hold; `reason` is shown to the operator.
    pub fn unmet(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, missing: Option<String>) {
        if let Some(condition) = lock(&self.conditions).get_mut(self.index) {
            condition.missing = missing;
        }
    }
}

fn lock(conditions: &Mutex<Vec<Condition>>) -> std::sync::MutexGuard<'_, Vec<Condition>> {
    conditions.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_when_every_condition_was_met() {
        let ready = Ready::new();
        assert!(!ready.missing().is_empty(), "nothing said yet");
        let (keys, policy) = (ready.require("keys"), ready.require("policy"));
        keys.met();
        assert_eq!(ready.missing(), [("policy", "not there yet".to_owned())]);
        policy.met();
        assert!(ready.missing().is_empty());
        policy.unmet("draining");
        drop(policy);
        assert_eq!(ready.missing(), [("policy", "draining".to_owned())]);
    }
}
