//! One type of resource on one stream of a [`super::Feed`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use super::feed::{Refusal, Told};
use super::standing::{Has, Standing};
use super::stream::{check_name_count, check_name_lengths};
use super::{Batch, Kind, SharedTable, Violation};

/// The name that asks for everything. So does a first request without names.
const WILDCARD: &str = "*";
/// The most resources in one answer.
const MAX_BATCH: usize = 1000;
/// One answer takes no more resources once it has this many bytes.
const MAX_BATCH_BYTES: usize = 256 * 1024;

/// One type on one stream.
#[derive(Debug)]
pub(super) struct FeedType {
    kind: Kind,
    interest: Interest,
    /// What was sent.
    sent: Standing,
    /// Where what was accepted differs from what was sent.
    behind: BTreeMap<Arc<str>, Has>,
    refused: BTreeMap<Arc<str>, Refusal>,
    under_way: Option<Transition>,
    /// What is due again, and the table to take it from where the newest has none.
    owed: BTreeMap<Arc<str>, Arc<SharedTable>>,
    unanswered: VecDeque<Unanswered>,
    /// The subscriber was told something at least once, if only that there is nothing new.
    greeted: bool,
}

#[derive(Debug)]
enum Interest {
    Everything,
    Names(BTreeSet<Arc<str>>),
}

/// The way from one table to another, which may take several answers.
#[derive(Debug)]
struct Transition {
    to: Arc<SharedTable>,
    names: std::vec::IntoIter<Arc<str>>,
}

/// An answer of which nobody knows yet whether the subscriber accepts it. A first one counts even if nothing is in it: it is
/// answered once the subscriber is done with what it brought.
#[derive(Debug)]
struct Unanswered {
    nonce: u64,
    names: Vec<(Arc<str>, Has)>,
    is_greeting: bool,
}

/// What becomes of the versions that a subscriber brings from an earlier stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Brought {
    /// It has them.
    Counts,
    /// It has some version of them, and is sent everything again: whether it still waits for something is not known.
    IsDoubted,
}

/// Whether a subscriber is told what is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removals {
    /// It is.
    Told,
    /// Not yet.
    HeldBack,
}

/// The content of one answer.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) fields: Vec<Bytes>,
    /// The names of the resources that are in it.
    pub(super) names: Vec<Arc<str>>,
    pub(super) removed: Vec<Arc<str>>,
    /// The revision that the subscriber has after this answer, if it then has a whole one.
    pub(super) completes: Option<String>,
}

impl FeedType {
    /// The first request of a type: what is asked for, and what the subscriber brings from an earlier stream.
    pub(super) fn open(
        kind: Kind,
        mut request: DeltaDiscoveryRequest,
        brought: Brought,
    ) -> Result<Self, Violation> {
        if brought == Brought::IsDoubted {
            // A version that no content has.
            request.initial_resource_versions.values_mut().for_each(String::clear);
        }
        let asked = request.resource_names_subscribe;
        let everything = asked.is_empty() || asked.iter().any(|name| name == WILDCARD);
        let mut sent = Standing::default();
        check_name_lengths(request.initial_resource_versions.keys())?;
        let interest = if everything {
            let brought: BTreeMap<_, _> = request.initial_resource_versions.into_iter().collect();
            for (name, version) in brought {
                sent.set(name.into(), Has::Version(version.into()));
            }
            Interest::Everything
        } else {
            let mut brought = request.initial_resource_versions;
            let names: BTreeSet<Arc<str>> = asked.into_iter().map(Into::into).collect();
            for name in &names {
                if let Some(version) = brought.remove(&**name) {
                    sent.set(Arc::clone(name), Has::Version(version.into()));
                }
            }
            Interest::Names(names)
        };
        Ok(Self {
            kind,
            interest,
            sent,
            behind: BTreeMap::new(),
            refused: BTreeMap::new(),
            under_way: None,
            owed: BTreeMap::new(),
            unanswered: VecDeque::new(),
            greeted: false,
        })
    }

    /// Adds and removes names. A name that is asked for again is answered again.
    pub(super) fn subscribe(
        &mut self,
        asked: Vec<String>,
        dropped: &[String],
    ) -> Result<(), Violation> {
        if let Interest::Names(names) = &mut self.interest {
            for name in dropped {
                names.remove(name.as_str());
                self.sent.forget(name);
                self.owed.remove(name.as_str());
                self.behind.remove(name.as_str());
            }
        }
        for name in asked {
            if name == WILDCARD {
                self.interest = Interest::Everything;
                continue;
            }
            let name: Arc<str> = name.into();
            if let Interest::Names(names) = &mut self.interest {
                names.insert(Arc::clone(&name));
                check_name_count(names.len(), self.kind.max_names)?;
            }
            self.sent.set(name, Has::Unknown);
        }
        Ok(())
    }

    pub(super) fn names(&self) -> Vec<String> {
        match &self.interest {
            Interest::Everything => Vec::new(),
            Interest::Names(names) => names.iter().map(ToString::to_string).collect(),
        }
    }

    /// A resource that the subscriber asked for by name is due again, be it that of `table` when a newer one has none: the
    /// subscriber waits for it.
    pub(super) fn owe(&mut self, name: &Arc<str>, table: &Arc<SharedTable>) {
        if let Interest::Names(names) = &self.interest
            && names.contains(name)
        {
            self.sent.set(Arc::clone(name), Has::Unknown);
            self.owed.insert(Arc::clone(name), Arc::clone(table));
        }
    }

    /// True when the subscriber was sent all of `table` but for what is held back, and has answered.
    pub(super) fn is_settled(&self, table: &Arc<SharedTable>) -> bool {
        let due = |name: &Arc<str>| self.is_due(table, name, Removals::HeldBack);
        let owes = match &self.interest {
            Interest::Everything => self.sent.candidates(table).iter().any(due),
            Interest::Names(names) => names.iter().any(due),
        };
        let sent = self.greeted && self.under_way.is_none() && self.owed.is_empty();
        sent && self.unanswered.is_empty() && !owes
    }

    /// True when the subscriber has not what it should.
    fn is_due(&self, table: &Arc<SharedTable>, name: &str, removals: Removals) -> bool {
        match (self.sent.has(name), Has::in_table(table, name)) {
            (Has::Version(_), Has::Nothing) => removals == Removals::Told,
            (has, target) => has != target,
        }
    }

    /// What is owed, as the way to where the subscriber then has it.
    fn owed(&mut self, table: &Arc<SharedTable>) -> Option<Transition> {
        let (name, before) = self.owed.pop_first()?;
        let to = if table.version(&name).is_some() { Arc::clone(table) } else { before };
        Some(Transition { to, names: vec![name].into_iter() })
    }

    /// The next answer on the way to `table`, or `None` when the subscriber has been sent all of it.
    pub(super) fn next(
        &mut self,
        table: &Arc<SharedTable>,
        nonce: u64,
        removals: Removals,
    ) -> Option<Given> {
        // What another type follows must be of one moment with it: the rest of an older way is not gone.
        if self.kind.order.renews.is_some() {
            self.under_way = self.under_way.take().filter(|way| Arc::ptr_eq(&way.to, table));
        }
        loop {
            let mut transition = match self.under_way.take().or_else(|| self.owed(table)) {
                Some(transition) => transition,
                None => self.begin(table, removals)?,
            };
            let mut given = self.draw(&mut transition, nonce);
            if transition.names.len() > 0 {
                self.under_way = Some(transition);
            } else {
                given.completes = Some(transition.to.revision().to_owned());
                if matches!(self.interest, Interest::Everything) {
                    self.sent.settle(transition.to);
                }
            }
            // The first answer is due even if it is empty: it says that the subscriber has all there is.
            let due = !self.greeted || !given.fields.is_empty() || !given.removed.is_empty();
            self.greeted = true;
            if due {
                return Some(given);
            }
        }
    }

    /// What fits into one answer.
    fn draw(&mut self, transition: &mut Transition, nonce: u64) -> Given {
        let mut given = Given::default();
        let mut names = Vec::new();
        let mut bytes = 0;
        let full = if self.kind.batch == Batch::One { 1 } else { MAX_BATCH };
        while names.len() < full && bytes < MAX_BATCH_BYTES {
            let Some(name) = transition.names.next() else { break };
            let target = Has::in_table(&transition.to, &name);
            let has = self.sent.has(&name);
            if has == target {
                continue;
            }
            match transition.to.field(&name) {
                Some(field) => {
                    bytes += field.len();
                    given.fields.push(field);
                    given.names.push(Arc::clone(&name));
                }
                None => given.removed.push(Arc::clone(&name)),
            }
            self.behind.entry(Arc::clone(&name)).or_insert(has);
            self.sent.set(Arc::clone(&name), target.clone());
            names.push((name, target));
        }
        let is_greeting = names.is_empty() && !self.greeted;
        self.wait_for(Unanswered { nonce, names, is_greeting });
        given
    }

    fn begin(&mut self, table: &Arc<SharedTable>, removals: Removals) -> Option<Transition> {
        let (candidates, there) = match &self.interest {
            Interest::Everything => (self.sent.candidates(table), self.sent.follows(table)),
            Interest::Names(names) => (names.iter().cloned().collect(), true),
        };
        let (due, others): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|name| self.is_due(table, name, removals));
        if due.is_empty() && self.greeted && there {
            return None;
        }
        if removals == Removals::HeldBack && matches!(self.interest, Interest::Everything) {
            // What is held back is remembered as a difference from the table that will be followed.
            for name in others {
                let has = self.sent.has(&name);
                self.sent.set(name, has);
            }
        }
        Some(Transition { to: Arc::clone(table), names: due.into_iter() })
    }

    /// An answer is no longer waited for in what a later one replaces.
    fn wait_for(&mut self, answer: Unanswered) {
        if answer.names.is_empty() && !answer.is_greeting {
            return;
        }
        let replaced = |name: &str| answer.names.binary_search_by(|(n, _)| (**n).cmp(name)).is_ok();
        for earlier in &mut self.unanswered {
            earlier.names.retain(|(name, _)| !replaced(name));
        }
        self.unanswered.retain(|earlier| earlier.is_greeting || !earlier.names.is_empty());
        self.unanswered.push_back(answer);
    }

    /// The subscriber accepts (or refuses, for a reason) the answer of that nonce.
    /// What stood in it, if it is waited for.
    pub(super) fn answered(&mut self, nonce: u64, refused: Option<&Arc<str>>) -> Option<Vec<Told>> {
        let at = self.unanswered.iter().position(|answer| answer.nonce == nonce);
        let Unanswered { nonce: _, names, is_greeting: _ } =
            at.and_then(|at| self.unanswered.remove(at))?;
        let told = names.iter().map(|(name, has)| (Arc::clone(name), has.version().cloned()));
        let told = told.collect();
        for (name, has) in names {
            match refused {
                Some(reason) => {
                    let version = has.version().cloned();
                    self.refused.insert(name, Refusal { version, reason: Arc::clone(reason) });
                }
                None => {
                    self.refused.remove(&name);
                    if self.sent.has(&name) == has {
                        self.behind.remove(&name);
                    } else {
                        self.behind.insert(name, has);
                    }
                }
            }
        }
        Some(told)
    }

    fn accepted(&self, name: &str) -> Has {
        self.behind.get(name).cloned().unwrap_or_else(|| self.sent.has(name))
    }

    pub(super) fn acknowledged(&self, name: &str) -> Option<Arc<str>> {
        match self.accepted(name) {
            Has::Version(version) => Some(version),
            Has::Unknown | Has::Nothing => None,
        }
    }

    pub(super) fn has_acknowledged(&self, name: &str, version: Option<&str>) -> bool {
        match (self.accepted(name), version) {
            (Has::Version(held), Some(version)) => *held == *version,
            (Has::Nothing, None) => true,
            (Has::Unknown | Has::Nothing | Has::Version(_), Some(_) | None) => false,
        }
    }

    pub(super) fn unanswered(&self) -> usize {
        self.unanswered.iter().map(|answer| answer.names.len()).sum()
    }

    pub(super) fn refusals(&self) -> impl Iterator<Item = (&Arc<str>, &Refusal)> {
        self.refused.iter()
    }
}
