//! Resources that were told, on their way into force: pure bookkeeping.
//!
//! All that is told is tried together, once the control plane has said all of it. Where that fails, what is new is tried one by
//! one on top of what is in force, so that no resource is refused for another's fault; but never before a whole set was in
//! force, because what is left out of it may be what refuses. Of a resource that is refused, what was in force before stays.

use std::collections::{BTreeSet, VecDeque};

use crate::runtime::with_causes;
use crate::sidecar::assigned::AssignedSet;
use crate::xds::Update;
use crate::xds::own::PolicyResource;

/// Resources that were told.
#[derive(Debug, Default)]
pub(super) struct PolicyLedger {
    /// What is in force.
    good: AssignedSet,
    /// A whole set came into force at some time.
    whole: bool,
    /// What was told last, good or not.
    told: AssignedSet,
    waiting: Vec<Change>,
    /// What waits goes to the end of what there is to tell.
    complete: bool,
    tried: Option<Attempt>,
    /// What was refused and may be good together with something else.
    refused: BTreeSet<String>,
    /// What was told and cannot even be read.
    unreadable: BTreeSet<String>,
}

/// One answer of the control plane, read.
#[derive(Debug, Clone)]
struct Change {
    update: Update,
    resources: Vec<PolicyResource>,
}

/// What is being compiled.
#[derive(Debug)]
enum Attempt {
    /// Everything that was told, with these changes.
    Together(Vec<Change>),
    /// One change on top of what is in force; the others follow.
    Alone { change: Change, rest: VecDeque<Change>, taken: bool },
    /// Of a stream that is gone: whether it comes into force counts, but nobody is told.
    Orphaned(AssignedSet),
}

/// What is to be said to the control plane.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It is in force.
    Accept(Update),
    /// It is not, for this reason.
    Refuse(Update, String),
    /// These are to be told once more: they were refused, and what they need may be there now.
    AskAgain(Vec<String>),
}

impl PolicyLedger {
    /// Begins with what is in force; `None` when no whole set is.
    pub(super) fn new(in_force: Option<AssignedSet>) -> Self {
        let whole = in_force.is_some();
        let good = in_force.unwrap_or_default();
        Self { told: good.clone(), good, whole, ..Self::default() }
    }

    /// What is in force; `None` when no whole set ever was.
    pub(super) fn in_force(&self) -> Option<&AssignedSet> {
        self.whole.then_some(&self.good)
    }

    /// Takes an answer. The words say why it is refused at once.
    pub(super) fn push(&mut self, update: Update) -> Result<(), Box<(Update, String)>> {
        self.complete = !update.revision.is_empty();
        let read = |resource: &crate::xds::NewContent| {
            PolicyResource::decode(&resource.name, &resource.content)
        };
        let read: Result<Vec<_>, _> = update.resources.iter().map(read).collect();
        let names = update.resources.iter().map(|resource| &resource.name).chain(&update.removed);
        match read {
            Ok(resources) => {
                for name in names {
                    self.unreadable.remove(name);
                }
                self.waiting.push(Change { update, resources });
                Ok(())
            }
            Err(error) => {
                self.unreadable.extend(names.cloned());
                Err(Box::new((update, with_causes(&error))))
            }
        }
    }

    /// The set to be compiled now, if any; what it comes to is to be told by [`PolicyLedger::judged`].
    pub(super) fn attempt(&mut self) -> Option<AssignedSet> {
        // What cannot be read may be what refuses. Later there is an earlier version of it, which stays.
        let whole = self.whole || self.unreadable.is_empty();
        if self.tried.is_some() || !self.complete || self.waiting.is_empty() || !whole {
            return None;
        }
        let changes = std::mem::take(&mut self.waiting);
        changes.iter().for_each(|change| change.apply(&mut self.told));
        self.tried = Some(Attempt::Together(changes));
        Some(self.told.clone())
    }

    /// The next set to be compiled, after one of several was judged.
    pub(super) fn next_attempt(&self) -> Option<AssignedSet> {
        let Some(Attempt::Alone { change, .. }) = &self.tried else { return None };
        let mut set = self.good.clone();
        change.apply(&mut set);
        Some(set)
    }

    /// What was tried is in force, or is not, for a reason.
    pub(super) fn judged(&mut self, outcome: Result<(), String>) -> Vec<Word> {
        match (self.tried.take(), outcome) {
            (None, _) | (Some(Attempt::Orphaned(_)), Err(_)) => Vec::new(),
            (Some(Attempt::Orphaned(set)), Ok(())) => {
                self.good = set;
                self.whole = true;
                Vec::new()
            }
            (Some(Attempt::Together(changes)), Ok(())) => {
                self.good.clone_from(&self.told);
                self.whole = true;
                let mut words: Vec<Word> =
                    changes.into_iter().map(|change| self.accepted(change)).collect();
                words.extend(self.ask_again());
                words
            }
            (Some(Attempt::Together(changes)), Err(reason)) if self.is_to_blame(&changes) => {
                let refused = changes.into_iter().map(|change| self.refuse(change, reason.clone()));
                refused.collect()
            }
            (Some(Attempt::Together(mut changes)), Err(_)) => {
                // What others name comes before them, and goes after them.
                changes.sort_by_key(Change::place);
                self.go_on(changes.into(), false).into_iter().collect()
            }
            (Some(Attempt::Alone { change, rest, taken }), outcome) => {
                let (word, taken) = match outcome {
                    Ok(()) => {
                        change.apply(&mut self.good);
                        (self.accepted(change), true)
                    }
                    Err(reason) => (self.refuse(change, reason), taken),
                };
                std::iter::once(word).chain(self.go_on(rest, taken)).collect()
            }
        }
    }

    /// Forgets what waits and what was refused: the next stream tells all of it. What is being compiled may come into force.
    pub(super) fn disconnect(&mut self) {
        self.tried = match self.tried.take() {
            None => None,
            Some(Attempt::Together(_)) => Some(Attempt::Orphaned(self.told.clone())),
            Some(Attempt::Alone { change, .. }) => {
                let mut set = self.good.clone();
                change.apply(&mut set);
                Some(Attempt::Orphaned(set))
            }
            Some(Attempt::Orphaned(set)) => Some(Attempt::Orphaned(set)),
        };
        self.waiting.clear();
        self.refused.clear();
        self.unreadable.clear();
        self.complete = false;
        self.told.clone_from(&self.good);
    }

    fn go_on(&mut self, mut rest: VecDeque<Change>, taken: bool) -> Option<Word> {
        match rest.pop_front() {
            Some(change) => {
                self.tried = Some(Attempt::Alone { change, rest, taken });
                None
            }
            None if taken => self.ask_again(),
            None => None,
        }
    }

    fn accepted(&mut self, change: Change) -> Word {
        for name in change.names() {
            self.refused.remove(name);
        }
        Word::Accept(change.update)
    }

    fn refuse(&mut self, change: Change, reason: String) -> Word {
        self.refused.extend(change.names().map(str::to_owned));
        Word::Refuse(change.update, reason)
    }

    /// Has all told once more that was refused, if there is any.
    pub(super) fn ask_again(&mut self) -> Option<Word> {
        let names = std::mem::take(&mut self.refused);
        (!names.is_empty()).then(|| Word::AskAgain(names.into_iter().collect()))
    }

    /// True when nothing would be better with a part of these changes: a first set is whole or nothing, and one change on top
    /// of what is in force was tried already.
    fn is_to_blame(&self, changes: &[Change]) -> bool {
        let [only] = changes else { return !self.whole };
        let mut alone = self.good.clone();
        only.apply(&mut alone);
        !self.whole || alone == self.told
    }
}

impl Change {
    fn apply(&self, set: &mut AssignedSet) {
        for name in &self.update.removed {
            set.remove(name);
        }
        for resource in &self.resources {
            set.insert(resource.resource_name(), resource.clone());
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let told = self.update.resources.iter().map(|resource| resource.name.as_str());
        told.chain(self.update.removed.iter().map(String::as_str))
    }

    fn place(&self) -> u8 {
        match self.resources.first().map(|resource| resource.kind.as_str()) {
            Some("AccessPolicy") => 1,
            Some(_) => 0,
            None => 2,
        }
    }
}

#[cfg(test)]
mod tests;
