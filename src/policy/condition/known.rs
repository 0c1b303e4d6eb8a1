//! The facts as native conditions ask for them: what is absent is a reason, not a default.

use serde_json::Value;

use crate::policy::decide::UndecidableReason;
use crate::policy::facts::{Facts, HeaderValue, RequestFacts, UserFacts};
use crate::policy::template::PathTemplate;

pub(super) type Outcome<T> = Result<T, UndecidableReason>;

/// Facts, and the template by which the request reached the rule.
pub(super) struct Known<'f, 'a> {
    pub(super) facts: &'f Facts<'a>,
    pub(super) template: Option<&'f PathTemplate>,
}

/// A text of the peer.
#[derive(Debug, Clone, Copy)]
pub(super) enum PeerText {
    Id,
    TrustDomain,
    Namespace,
    ServiceAccount,
}

impl<'a> Known<'_, 'a> {
    pub(super) fn user(&self) -> Outcome<&'a UserFacts> {
        self.facts.user.ok_or(UndecidableReason::NoUser)
    }

    pub(super) fn request(&self) -> Outcome<&RequestFacts<'a>> {
        self.facts.request.as_ref().ok_or(UndecidableReason::NoRequest)
    }

    pub(super) fn claim(&self, name: &str) -> Outcome<&'a Value> {
        let claims = self.user()?.claims();
        claims.get(name).ok_or_else(|| UndecidableReason::Missing(name.to_owned()))
    }

    /// Headers sent twice, or that are no text, were refused before.
    pub(super) fn header(&self, name: &str) -> Outcome<&'a str> {
        match self.request()?.headers.value(name) {
            HeaderValue::One(bytes) => std::str::from_utf8(bytes)
                .map_err(|_| UndecidableReason::HeaderNotText(name.to_owned())),
            HeaderValue::Many => Err(UndecidableReason::HeaderRepeated(name.to_owned())),
            HeaderValue::Absent => Err(UndecidableReason::Missing(name.to_owned())),
        }
    }

    pub(super) fn variable(&self, name: &str) -> Outcome<&str> {
        let place = self.template.and_then(|template| template.place_of(name));
        place
            .zip(self.facts.request.as_ref())
            .and_then(|(place, request)| request.segments.get(place))
            .map(AsRef::as_ref)
            .ok_or(UndecidableReason::NoRequest)
    }

    pub(super) fn peer(&self, text: PeerText) -> Outcome<&'a str> {
        let peer = self.facts.peer.ok_or(UndecidableReason::NoPeer)?;
        let missing = |name: &str| UndecidableReason::Missing(name.to_owned());
        let account = peer.service_account();
        match text {
            PeerText::Id => Ok(peer.as_str()),
            PeerText::TrustDomain => peer
                .as_str()
                .strip_suffix(peer.path())
                .and_then(|text| text.strip_prefix("spiffe://"))
                .ok_or_else(|| missing("trustDomain")),
            PeerText::Namespace => {
                account.map(|(namespace, _)| namespace).ok_or_else(|| missing("namespace"))
            }
            PeerText::ServiceAccount => {
                account.map(|(_, account)| account).ok_or_else(|| missing("serviceAccount"))
            }
        }
    }
}
