//! Where the keys of a provider come from, and under which rules.

use std::time::Duration;

use crate::authn::http::{HttpClient, HttpError};
use crate::policy::{Algorithm, Keys, TokenRules};

use super::freshness::Freshness;

/// Where keys come from, and what they are kept for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::authn) struct Source {
    pub(in crate::authn) place: Place,
    /// The provider's own issuer.
    pub(in crate::authn) issuer: String,
    pub(in crate::authn) algorithms: Vec<Algorithm>,
    pub(in crate::authn) interval: Duration,
    pub(in crate::authn) max_stale: Duration,
}

/// Where keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::authn) enum Place {
    /// A key set.
    KeySet(String),
    /// A metadata document (OpenID Connect Discovery 1.0) that names a key set.
    Discovery {
        /// The document.
        document: String,
        /// The key set, if the document is not to say.
        key_set: Option<String>,
    },
}

/// What a compiled provider holds about fetched keys.
#[derive(Clone)]
pub(in crate::authn) struct Fetched {
    pub(in crate::authn) source: Source,
    /// How its servers are reached; nothing for how everybody's are.
    pub(in crate::authn) client: Option<HttpClient>,
    pub(in crate::authn) freshness: Freshness,
}

impl Source {
    /// Where these rules have their keys from; nothing when they are not fetched.
    pub(in crate::authn) fn of(tokens: &TokenRules) -> Option<Self> {
        let issuer = tokens.issuers.first()?;
        let (place, life) = match tokens.keys.as_ref()? {
            Keys::JwksUri { uri, life } => (Place::KeySet(uri.clone()), life),
            Keys::Discovery { url, jwks_uri, life } => {
                let document = url.clone().unwrap_or_else(|| document(issuer));
                (Place::Discovery { document, key_set: jwks_uri.clone() }, life)
            }
            Keys::Inline(_)
            | Keys::Pem(_)
            | Keys::PemFile(_)
            | Keys::SecretFile(_)
            | Keys::BundleFile(_) => return None,
        };
        Some(Self {
            place,
            issuer: issuer.clone(),
            algorithms: tokens.algorithms.clone(),
            interval: life.refresh_interval,
            max_stale: life.max_stale,
        })
    }

    /// True when keys from the one place are also keys from the other: how often they are fetched does not matter.
    pub(in crate::authn) fn same_keys(&self, other: &Self) -> bool {
        self.same_place(other) && self.algorithms == other.algorithms
    }

    fn same_place(&self, other: &Self) -> bool {
        // A document speaks for its issuer; a key set speaks for whomever it is configured for.
        let same_issuer = match self.place {
            Place::KeySet(_) => true,
            Place::Discovery { .. } => self.issuer == other.issuer,
        };
        same_issuer && self.place == other.place
    }

    /// What is asked first, for people.
    pub(super) fn uri(&self) -> &str {
        match &self.place {
            Place::KeySet(uri) => uri,
            Place::Discovery { document, .. } => document,
        }
    }

    /// One text that tells this place from every other.
    pub(super) fn place_text(&self) -> String {
        match &self.place {
            Place::KeySet(uri) => format!("key-set {uri}"),
            Place::Discovery { document, key_set: None } => format!("discovery {document}"),
            Place::Discovery { document, key_set: Some(uri) } => {
                format!("discovery {document} key-set {uri}")
            }
        }
    }
}

impl Fetched {
    pub(in crate::authn) fn new(source: Source, client: Option<HttpClient>) -> Self {
        let freshness = Freshness::never(source.max_stale);
        Self { source, client, freshness }
    }

    /// Says whether its URLs may be asked at all.
    pub(in crate::authn) fn check(&self) -> Result<(), HttpError> {
        let check = |uri: &str| match &self.client {
            Some(client) => client.check(uri),
            None => crate::authn::http::check_strictly(uri),
        };
        match &self.source.place {
            Place::KeySet(uri) => check(uri),
            Place::Discovery { document, key_set } => {
                check(document)?;
                key_set.as_deref().map_or(Ok(()), check)
            }
        }
    }
}

/// The metadata document of an issuer. One slash at the end of the issuer is left out, as OpenID Connect Discovery 1.0,
/// section 4.1, says.
fn document(issuer: &str) -> String {
    let base = issuer.strip_suffix('/').unwrap_or(issuer);
    format!("{base}/.well-known/openid-configuration")
}
