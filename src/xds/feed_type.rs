//! One type of resource on one stream of a [`super::Feed`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use super::feed::{Progress, Refusal};
use super::standing::{Has, Standing};
use super::stream::{check_name_count, check_names};
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

/// An answer of which nobody knows yet whether the subscriber accepts it.
#[derive(Debug)]
struct Unanswered {
    nonce: u64,
    names: Vec<(Arc<str>, Has)>,
}

/// The content of one answer.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) fields: Vec<Bytes>,
    pub(super) removed: Vec<Arc<str>>,
    /// The revision that the subscriber has after this answer, if it then has a whole one.
    pub(super) completes: Option<String>,
}

impl FeedType {
    /// The first request of a type: what is asked for, and what the subscriber brings from an earlier stream.
    pub(super) fn open(kind: Kind, request: DeltaDiscoveryRequest) -> Result<Self, Violation> {
        let asked = request.resource_names_subscribe;
        let everything = asked.is_empty() || asked.iter().any(|name| name == WILDCARD);
        let mut sent = Standing::default();
        check_names(0, request.initial_resource_versions.keys())?;
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
                check_name_count(names.len())?;
            }
            self.sent.set(name, Has::Unknown);
        }
        Ok(())
    }

    /// The next answer on the way to `table`, or `None` when the subscriber has been sent all of it.
    pub(super) fn next(&mut self, table: &Arc<SharedTable>, nonce: u64) -> Option<Given> {
        loop {
            let mut transition = match self.under_way.take() {
                Some(transition) => transition,
                None => self.begin(table)?,
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
                }
                None => given.removed.push(Arc::clone(&name)),
            }
            self.behind.entry(Arc::clone(&name)).or_insert(has);
            self.sent.set(Arc::clone(&name), target.clone());
            names.push((name, target));
        }
        self.wait_for(Unanswered { nonce, names });
        given
    }

    fn begin(&self, table: &Arc<SharedTable>) -> Option<Transition> {
        let names = match &self.interest {
            Interest::Everything if self.greeted && self.sent.is(table) => return None,
            Interest::Everything => self.sent.candidates(table),
            Interest::Names(names) => {
                let due = |name: &&Arc<str>| self.sent.has(name) != Has::in_table(table, name);
                names.iter().filter(due).cloned().collect()
            }
        };
        if names.is_empty() && self.greeted && matches!(self.interest, Interest::Names(_)) {
            return None;
        }
        Some(Transition { to: Arc::clone(table), names: names.into_iter() })
    }

    /// An answer is no longer waited for in what a later one replaces.
    fn wait_for(&mut self, answer: Unanswered) {
        if answer.names.is_empty() {
            return;
        }
        let replaced = |name: &str| answer.names.binary_search_by(|(n, _)| (**n).cmp(name)).is_ok();
        for earlier in &mut self.unanswered {
            earlier.names.retain(|(name, _)| !replaced(name));
        }
        self.unanswered.retain(|earlier| !earlier.names.is_empty());
        self.unanswered.push_back(answer);
    }

    /// The subscriber accepts (or refuses, for a reason) the answer of that nonce.
    pub(super) fn answered(&mut self, nonce: u64, refused: Option<&Arc<str>>) -> Progress {
        let at = self.unanswered.iter().position(|answer| answer.nonce == nonce);
        let Some(Unanswered { nonce: _, names }) = at.and_then(|at| self.unanswered.remove(at))
        else {
            return Progress::None;
        };
        for (name, has) in names {
            match refused {
                Some(reason) => {
                    let version = has.version().map(Arc::from);
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
        Progress::Answered
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
