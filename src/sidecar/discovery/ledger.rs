//! Bundles that were told, on their way to being trusted: pure bookkeeping.
//!
//! All that waits is tried together, so that a stuck Envoy never holds back the newest word. When what was tried together
//! is refused, it is tried one by one, so that no bundle is refused for another's fault.

use std::collections::{BTreeMap, VecDeque};

use crate::identity::{Bundles, TrustBundle, TrustDomain};
use crate::runtime::with_causes;
use crate::xds::Update;
use crate::xds::own::{DomainBundle, TRUST_BUNDLE_TYPE};

/// Bundles that were told.
#[derive(Debug)]
pub(super) struct Ledger {
    domain: TrustDomain,
    /// What was accepted.
    good: BTreeMap<String, DomainBundle>,
    waiting: VecDeque<Change>,
    tried: Vec<Change>,
    one_by_one: bool,
}

/// One answer of the control plane, read.
#[derive(Debug, Clone)]
struct Change {
    update: Update,
    bundles: Vec<DomainBundle>,
}

/// What becomes of the updates that were tried and not good together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// There were none.
    Nothing,
    /// This one is refused.
    Refused(Update),
    /// Each must be tried by itself.
    OneByOne,
}

impl Ledger {
    /// Nothing was told yet to a workload of `domain`.
    pub(super) fn new(domain: TrustDomain) -> Self {
        Self {
            domain,
            good: BTreeMap::new(),
            waiting: VecDeque::new(),
            tried: Vec::new(),
            one_by_one: false,
        }
    }

    /// Takes a bundle that was accepted in an earlier run.
    pub(super) fn restore(&mut self, bundle: DomainBundle) {
        self.good.insert(bundle.domain().to_string(), bundle);
    }

    /// Forgets what was accepted, and what waits.
    pub(super) fn forget(&mut self) {
        *self = Self::new(self.domain.clone());
    }

    /// Forgets what waits and what is tried, and names what was tried: it is trusted, but was not accepted, so the next
    /// stream must tell what became of it.
    pub(super) fn disconnect(&mut self) -> Vec<String> {
        self.waiting.clear();
        self.one_by_one = false;
        let tried = std::mem::take(&mut self.tried);
        let names = tried.into_iter().flat_map(|Change { update, .. }| {
            update.resources.into_iter().map(|resource| resource.name).chain(update.removed)
        });
        names.collect()
    }

    /// Takes an answer. The words say why it is refused at once.
    pub(super) fn push(&mut self, update: Update) -> Result<(), Box<(Update, String)>> {
        match self.read(&update) {
            Ok(bundles) => {
                self.waiting.push_back(Change { update, bundles });
                Ok(())
            }
            Err(words) => Err(Box::new((update, words))),
        }
    }

    fn read(&self, update: &Update) -> Result<Vec<DomainBundle>, String> {
        if update.type_url != TRUST_BUNDLE_TYPE {
            return Err(format!("{} is no bundle", update.type_url));
        }
        if update.removed.iter().any(|name| name == self.domain.as_str()) {
            return Err(format!("the bundle of {} itself cannot be taken away", self.domain));
        }
        let mut bundles = Vec::with_capacity(update.resources.len());
        for resource in &update.resources {
            let bundle = DomainBundle::decode(&resource.name, &resource.content)
                .map_err(|error| with_causes(&error))?;
            if *bundle.domain() == self.domain && bundle.roots().is_none() {
                return Err(format!("the bundle of {} holds no certificate", self.domain));
            }
            bundles.push(bundle);
        }
        Ok(bundles)
    }

    /// True when something waits that can be tried now: always, but that what is tried alone is settled first.
    pub(super) fn is_due(&self) -> bool {
        !self.waiting.is_empty() && (!self.one_by_one || self.tried.is_empty())
    }

    /// Moves what waits to what is tried: the bundles to trust for it. `roots` are those of the own domain before
    /// anything is told.
    pub(super) fn attempt(&mut self, roots: &TrustBundle) -> Bundles {
        if self.one_by_one {
            self.tried.extend(self.waiting.pop_front());
        } else {
            self.tried.extend(self.waiting.drain(..));
        }
        let mut told = self.good.clone();
        self.tried.iter().for_each(|change| change.apply(&mut told));
        compose(roots, told.values())
    }

    /// What is trusted by what was accepted alone.
    pub(super) fn good(&self, roots: &TrustBundle) -> Bundles {
        compose(roots, self.good.values())
    }

    /// What is tried is good.
    pub(super) fn accept(&mut self) -> Vec<Update> {
        let tried = std::mem::take(&mut self.tried);
        tried.iter().for_each(|change| change.apply(&mut self.good));
        if self.waiting.is_empty() {
            self.one_by_one = false;
        }
        tried.into_iter().map(|change| change.update).collect()
    }

    /// What is tried is refused. The caller must go back to [`Ledger::good`].
    pub(super) fn refuse(&mut self) -> Fate {
        let mut tried = std::mem::take(&mut self.tried);
        if tried.len() > 1 {
            self.one_by_one = true;
            tried.extend(self.waiting.drain(..));
            self.waiting = tried.into();
            return Fate::OneByOne;
        }
        if self.waiting.is_empty() {
            self.one_by_one = false;
        }
        match tried.pop() {
            Some(change) => Fate::Refused(change.update),
            None => Fate::Nothing,
        }
    }
}

impl Change {
    fn apply(&self, told: &mut BTreeMap<String, DomainBundle>) {
        for name in &self.update.removed {
            told.remove(name);
        }
        for bundle in &self.bundles {
            told.insert(bundle.domain().to_string(), bundle.clone());
        }
    }
}

/// One value of all that was told. Foreign roots stay with their own trust domain.
pub(super) fn compose<'a>(
    roots: &TrustBundle,
    told: impl Iterator<Item = &'a DomainBundle>,
) -> Bundles {
    told.fold(Bundles::new(roots.clone()), |bundles, bundle| {
        let bundles = match bundle.roots() {
            Some(roots) if roots.domain() == bundles.own().domain() => {
                bundles.with_own(roots.clone())
            }
            Some(roots) => bundles.with_foreign(roots.clone()),
            None => bundles,
        };
        match bundle.keys() {
            Some(keys) => bundles.with_jwt(keys.clone()),
            None => bundles,
        }
    })
}

#[cfg(test)]
mod tests;
