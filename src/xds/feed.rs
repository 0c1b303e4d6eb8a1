//! One aggregated incremental stream, as a state machine over shared tables.
//!
//! What a subscriber has is kept as a table and the differences from it, so that a thousand subscribers of ten thousand
//! resources cost a thousand pointers. There is no queue: an answer is drawn when the subscriber can take one, and it
//! is about what there is then.

use std::collections::BTreeMap;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use super::answer::Answer;
use super::feed_type::{Brought, FeedType, Given, Removals};
use super::stream::{bounded_reason, check_name_count, check_name_lengths};
use super::{Catalogue, Kind, SharedTable, Violation};

/// One stream on which several types are served. The subscriber may ask for names or for everything of a type.
#[derive(Debug)]
pub struct Feed {
    kinds: Vec<Kind>,
    types: BTreeMap<&'static str, FeedType>,
    nonce: u64,
}

/// Why a subscriber refused a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The version that it refused; `None` when it refused that the resource is gone.
    pub version: Option<Arc<str>>,
    /// Its own words, cut to a bounded length.
    pub reason: Arc<str>,
}

/// What a refusal means for those who wait for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusals {
    /// It is one: what was sent stays as it was, and others need not wait for it.
    Settle,
    /// It is none: what the subscriber kept may use what would go.
    Unsettle,
}

/// One request, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The type that it is about.
    pub type_url: &'static str,
    /// What it says about an earlier answer, if anything.
    pub answered: Option<Answered>,
}

/// The name of a resource in an answer, and its version; `None` when the answer says that it is gone.
pub type Told = (Arc<str>, Option<Arc<str>>);

/// A subscriber accepted or refused an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// What stood in the answer and was not replaced meanwhile.
    pub names: Vec<Told>,
    /// Why it refuses, in its own words, cut to a bounded length.
    pub refused: Option<Arc<str>>,
}

impl Feed {
    /// A stream that nobody has asked anything on; it will serve these types.
    #[must_use]
    pub fn new(kinds: Vec<Kind>) -> Self {
        Self { kinds, types: BTreeMap::new(), nonce: 0 }
    }

    /// Takes one request. A type that is not served here is passed over: the subscriber may be of a later version, and
    /// keeps what it has.
    ///
    /// # Errors
    /// When the subscriber breaks the protocol; the stream must then end.
    pub fn receive(&mut self, request: DeltaDiscoveryRequest) -> Result<Option<Heard>, Violation> {
        let served = self.kinds.iter().find(|kind| kind.type_url == request.type_url);
        let Some(kind) = served.copied() else {
            tracing::debug!(
                type_url = request.type_url,
                "a discovery client asks for an unknown type"
            );
            return Ok(None);
        };
        let type_url = kind.type_url;
        check_name_count(request.resource_names_subscribe.len(), kind.max_names)?;
        check_name_lengths(request.resource_names_subscribe.iter())?;
        let Some(state) = self.types.get_mut(type_url) else {
            // What another type renews may be waited for, whatever the subscriber has of it.
            let renewed = self.kinds.iter().any(|kind| kind.order.renews == Some(type_url));
            let brought = if renewed { Brought::IsDoubted } else { Brought::Counts };
            self.types.insert(type_url, FeedType::open(kind, request, brought)?);
            return Ok(Some(Heard { type_url, answered: None }));
        };
        let refused = request.error_detail.map(|status| bounded_reason(&status.message));
        let names = request
            .response_nonce
            .parse()
            .ok()
            .and_then(|nonce| state.answered(nonce, refused.as_ref()));
        // A refusal counts even when nobody knows any more of what.
        let names = names.or_else(|| refused.is_some().then(Vec::new));
        let answered = names.map(|names| Answered { names, refused });
        state.subscribe(request.resource_names_subscribe, &request.resource_names_unsubscribe)?;
        Ok(Some(Heard { type_url, answered }))
    }

    /// The next answer that the subscriber is owed, if any. Call it until it says `None`, then again after each request
    /// and each new catalogue.
    pub fn next(&mut self, catalogue: &Catalogue) -> Option<Answer> {
        let tables = catalogue.tables();
        for (kind, table) in tables {
            let removals = match kind.order.removed_after {
                [] => Removals::Told,
                [..] => Removals::HeldBack,
            };
            if self.may_begin(kind, catalogue)
                && let Some(answer) = self.draw((kind, table), removals, catalogue)
            {
                return Some(answer);
            }
        }
        // Everything that is new is told. Now what may no longer be used can go.
        for (kind, table) in tables.iter().filter(|(kind, _)| !kind.order.removed_after.is_empty())
        {
            let gone = |of: &str| self.is_settled(of, catalogue, Refusals::Unsettle);
            if self.may_begin(kind, catalogue)
                && kind.order.removed_after.iter().all(|of| gone(of))
                && let Some(answer) = self.draw((kind, table), Removals::Told, catalogue)
            {
                return Some(answer);
            }
        }
        None
    }

    fn draw(
        &mut self,
        (kind, table): (&Kind, &Arc<SharedTable>),
        removals: Removals,
        catalogue: &Catalogue,
    ) -> Option<Answer> {
        let state = self.types.get_mut(kind.type_url)?;
        let nonce = self.nonce.saturating_add(1);
        let Given { fields, names, removed, completes } = state.next(table, nonce, removals)?;
        self.nonce = nonce;
        let renewed =
            kind.order.renews.and_then(|of| catalogue.table(of).zip(self.types.get_mut(of)));
        if let Some((table, renewed)) = renewed {
            names.iter().for_each(|name| renewed.owe(name, table));
        }
        let revision = completes.as_deref().unwrap_or_default();
        Some(Answer::encode((kind.type_url, nonce), revision, (fields, removed)))
    }

    /// True when everything that must have come before was answered.
    fn may_begin(&self, kind: &Kind, catalogue: &Catalogue) -> bool {
        kind.order.after.iter().all(|of| self.is_settled(of, catalogue, Refusals::Settle))
    }

    /// True when the subscriber was sent all of a type and has answered. A type of which there is nothing need not be asked
    /// for.
    fn is_settled(&self, type_url: &str, catalogue: &Catalogue, refusals: Refusals) -> bool {
        let known = catalogue.tables().iter().find(|(kind, _)| kind.type_url == type_url);
        let Some((kind, table)) = known else { return true };
        match self.types.get(type_url) {
            None => table.names().len() == 0,
            Some(state) => {
                let refused = match refusals {
                    Refusals::Settle => false,
                    Refusals::Unsettle => state.refusals().next().is_some(),
                };
                state.is_settled(table) && !refused && self.may_begin(kind, catalogue)
            }
        }
    }

    /// The names of a type that the subscriber asks for; none where it asks for everything.
    #[must_use]
    pub fn names(&self, type_url: &str) -> Vec<String> {
        self.types.get(type_url).map(FeedType::names).unwrap_or_default()
    }

    /// The version of a resource that the subscriber accepted last. `None`: it accepted none, or that there is none.
    #[must_use]
    pub fn acknowledged(&self, type_url: &str, name: &str) -> Option<Arc<str>> {
        self.types.get(type_url)?.acknowledged(name)
    }

    /// True when the subscriber accepted the last of `version` and that there is none, whichever is asked for: a resource
    /// of that version, or (`None`) that the resource is gone.
    #[must_use]
    pub fn has_acknowledged(&self, type_url: &str, name: &str, version: Option<&str>) -> bool {
        self.types.get(type_url).is_some_and(|state| state.has_acknowledged(name, version))
    }

    /// How many resources were sent of which the subscriber has not yet said whether it accepts them.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.types.values().map(FeedType::unanswered).sum()
    }

    /// What the subscriber refuses now: type, name and refusal.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, &Arc<str>, &Refusal)> {
        self.types.iter().flat_map(|(type_url, state)| {
            state.refusals().map(move |(name, refusal)| (*type_url, name, refusal))
        })
    }
}

#[cfg(test)]
mod tests;
