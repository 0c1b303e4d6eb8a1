//! One aggregated incremental stream, as a state machine over shared tables.
//!
//! What a subscriber has is kept as a table and the differences from it, so that a thousand subscribers of ten thousand
//! resources cost a thousand pointers. There is no queue: an answer is drawn when the subscriber can take one, and it
//! is about what there is then.

use std::collections::BTreeMap;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use super::answer::Answer;
use super::feed_type::{FeedType, Given};
use super::stream::{bounded_reason, check_names};
use super::{Catalogue, Kind, Violation};

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

/// What a request said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing about earlier answers.
    None,
    /// It accepted or refused an answer.
    Answered,
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
    pub fn receive(&mut self, request: DeltaDiscoveryRequest) -> Result<Progress, Violation> {
        let served = self.kinds.iter().find(|kind| kind.type_url == request.type_url);
        let Some(kind) = served.copied() else {
            tracing::debug!(
                type_url = request.type_url,
                "a discovery client asks for an unknown type"
            );
            return Ok(Progress::None);
        };
        let names = request.resource_names_subscribe.iter();
        check_names(request.resource_names_subscribe.len(), names)?;
        let Some(state) = self.types.get_mut(kind.type_url) else {
            self.types.insert(kind.type_url, FeedType::open(kind, request)?);
            return Ok(Progress::None);
        };
        let progress = match request.response_nonce.parse() {
            Ok(nonce) => {
                let refused = request.error_detail.map(|status| bounded_reason(&status.message));
                state.answered(nonce, refused.as_ref())
            }
            Err(_) => Progress::None,
        };
        state.subscribe(request.resource_names_subscribe, &request.resource_names_unsubscribe)?;
        Ok(progress)
    }

    /// The next answer that the subscriber is owed, if any. Call it until it says `None`, then again after each request
    /// and each new catalogue.
    pub fn next(&mut self, catalogue: &Catalogue) -> Option<Answer> {
        for (kind, table) in catalogue.tables() {
            let Some(state) = self.types.get_mut(kind.type_url) else { continue };
            let nonce = self.nonce.saturating_add(1);
            if let Some(Given { fields, removed, completes }) = state.next(table, nonce) {
                self.nonce = nonce;
                return Some(Answer::encode(
                    (kind.type_url, nonce),
                    completes.as_deref().unwrap_or_default(),
                    (fields, removed),
                ));
            }
        }
        None
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
