//! Where credentials stand in a request, and which of several counts.
//!
//! A [`PlaceTable`] is compiled from the places of all providers. [`PlaceTable::find`] takes from a request at most one
//! credential of the user and one of the client. What stands in a place and cannot be read as exactly one credential is
//! a refusal, never "no credential"; so are two credentials in one place, and credentials in two places unless a
//! provider says which comes first.

pub(super) mod cookie;
mod csrf;
mod header;
pub(super) mod query;
mod table;

use std::borrow::Cow;

pub use table::InvalidPlaces;
pub(super) use table::{PlaceTable, Slot};

use super::evidence::HttpEvidence;
use crate::policy::PrincipalKind;

/// One credential of a request, not looked into yet.
#[derive(Clone)]
pub(super) struct Credential<'a> {
    /// The text.
    pub(super) text: Cow<'a, str>,
    /// Its place in the table.
    pub(super) slot: usize,
    /// How it was presented.
    pub(super) scheme: Scheme,
}

/// How a credential was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// In a place that has no scheme.
    None,
    /// As whoever holds it may.
    Bearer,
    /// As one that is bound to a key (RFC 9449, section 7.1).
    Dpop,
}

/// The credentials of one request.
#[derive(Default)]
pub(super) struct Found<'a> {
    /// The user's.
    pub(super) user: Option<Credential<'a>>,
    /// The client's.
    pub(super) client: Option<Credential<'a>>,
}

/// Why what stands in a place is not exactly one credential that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialProblem {
    /// More than one header, value or token, or one in each of several places. Envoy joins two headers with a comma.
    #[error("there is more than one credential")]
    Ambiguous,
    /// An authentication scheme that no provider has.
    #[error("the authentication scheme is none that is accepted here")]
    UnsupportedScheme,
    /// Nothing follows the scheme, or there is nothing at all.
    #[error("there is no token")]
    Empty,
    /// Characters or white space that no credential has (RFC 6750, section 2.1).
    #[error("the credential has characters that no credential has")]
    Characters,
    /// A cookie on a request that may change something, without the sign that it comes from our own pages.
    #[error("a request with a cookie does not show that it comes from our own pages (CSRF)")]
    CrossSite,
}

impl CredentialProblem {
    /// A stable name, for logs and metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Ambiguous => "credentials_ambiguous",
            Self::UnsupportedScheme => "unsupported_scheme",
            Self::Empty => "credentials_empty",
            Self::Characters => "credentials_unreadable",
            Self::CrossSite => "cross_site_request",
        }
    }
}

/// What was found for one principal so far.
enum Seen<'a> {
    Nothing,
    One(Credential<'a>),
    Several(Vec<Credential<'a>>),
}

impl<'a> Seen<'a> {
    fn add(&mut self, credential: Credential<'a>) {
        *self = match std::mem::replace(self, Self::Nothing) {
            Self::Nothing => Self::One(credential),
            Self::One(first) => Self::Several(vec![first, credential]),
            Self::Several(mut all) => {
                all.push(credential);
                Self::Several(all)
            }
        };
    }
}

impl PlaceTable {
    /// The credentials of a request.
    pub(super) fn find<'a>(&self, http: &HttpEvidence<'a>) -> Result<Found<'a>, CredentialProblem> {
        let (mut user, mut client) = (Seen::Nothing, Seen::Nothing);
        let mut add = |kind, credential| match kind {
            PrincipalKind::User => user.add(credential),
            PrincipalKind::Client => client.add(credential),
        };
        for place in self.headers() {
            if let Some((slot, text, scheme)) = header::read(place, http)? {
                let credential = Credential { text: Cow::Borrowed(text), slot, scheme };
                add(self.kind(slot), credential);
            }
        }
        for (slot, name) in self.cookies() {
            if let Some(text) = cookie::read(name, http)? {
                let text = Cow::Borrowed(text);
                add(self.kind(slot), Credential { text, slot, scheme: Scheme::None });
            }
        }
        for (slot, name) in self.queries() {
            if let Some(text) = query::read(name, http)? {
                add(self.kind(slot), Credential { text, slot, scheme: Scheme::None });
            }
        }
        Ok(Found {
            user: self.choose(PrincipalKind::User, user, http)?,
            client: self.choose(PrincipalKind::Client, client, http)?,
        })
    }

    fn choose<'a>(
        &self,
        kind: PrincipalKind,
        seen: Seen<'a>,
        http: &HttpEvidence<'a>,
    ) -> Result<Option<Credential<'a>>, CredentialProblem> {
        let chosen = match seen {
            Seen::Nothing => return Ok(None),
            Seen::One(credential) => credential,
            Seen::Several(all) => {
                let slots: Vec<usize> = all.iter().map(|credential| credential.slot).collect();
                let first = self.first(kind, &slots).ok_or(CredentialProblem::Ambiguous)?;
                let chosen = all.into_iter().find(|credential| credential.slot == first);
                chosen.ok_or(CredentialProblem::Ambiguous)?
            }
        };
        if let Some(csrf) = self.csrf(chosen.slot) {
            csrf::check(csrf, http)?;
        }
        Ok(Some(chosen))
    }
}

#[cfg(test)]
mod tests;
