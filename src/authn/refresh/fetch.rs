//! One fetch of a key set over HTTP, through a metadata document where there is one.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, header};

use crate::authn::http::{HttpClient, HttpError, Limits};
use crate::authn::keys::{InvalidKeySet, KeySet};

use super::discovery::{Document, Endpoints};
use super::source::{Place, Source};

/// Of each question; a fetch asks two at most.
const LIMITS: Limits = Limits { timeout: Duration::from_secs(5), max_body: 1024 * 1024 };

/// Why keys could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// There is no answer.
    #[error("{0}")]
    Http(HttpError),
    /// Another status than 200.
    #[error("the answer has status {0}")]
    Status(u16),
    /// What came is no usable metadata document.
    #[error("the metadata document {0}")]
    Document(String),
    /// The metadata document is another issuer's.
    #[error("the metadata document is of the issuer {found:?}, not {expected:?}")]
    Issuer {
        /// The configured one.
        expected: String,
        /// What the document says.
        found: String,
    },
    /// What came is no usable key set.
    #[error("{0}")]
    KeySet(InvalidKeySet),
    /// A key set stopped its reader.
    #[error("internal: {0}")]
    Internal(String),
}

impl FetchError {
    /// A stable name, for metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Http(error) => error.code(),
            Self::Status(_) => "status",
            Self::Document(_) => "invalid_document",
            Self::Issuer { .. } => "issuer_mismatch",
            Self::KeySet(_) => "invalid_key_set",
            Self::Internal(_) => "internal",
        }
    }
}

/// What a fetch brought.
pub(super) struct Brought {
    pub(super) keys: Arc<KeySet>,
    /// What the keys were read from.
    pub(super) text: Vec<u8>,
    /// What the metadata document names beside them, if one was asked for.
    pub(super) endpoints: Option<Endpoints>,
}

/// Fetches keys from where they are.
pub(super) async fn fetch(client: &HttpClient, source: &Source) -> Result<Brought, FetchError> {
    let (key_set, endpoints) = match &source.place {
        Place::KeySet(uri) => (uri.clone(), None),
        Place::Discovery { document, key_set } => {
            let body = get(client, document, "application/json").await?;
            let found = Document::read(&body, (document, &source.issuer), client)?;
            let key_set = key_set.clone().or(found.key_set);
            let nothing = || FetchError::Document("names no \"jwks_uri\"".to_owned());
            (key_set.ok_or_else(nothing)?, Some(found.endpoints))
        }
    };
    let text = get(client, &key_set, "application/jwk-set+json, application/json").await?;
    let allowed = source.algorithms.clone();
    // Hundreds of keys take milliseconds to check, and the thread that answers Checks has none to spare.
    let parsed = tokio::task::spawn_blocking(move || (KeySet::parse(&text, &allowed), text));
    let (keys, text) = parsed.await.map_err(|error| FetchError::Internal(error.to_string()))?;
    Ok(Brought { keys: keys.map(Arc::new).map_err(FetchError::KeySet)?, text, endpoints })
}

async fn get(client: &HttpClient, uri: &str, accept: &'static str) -> Result<Vec<u8>, FetchError> {
    let accept = HeaderValue::from_static(accept);
    let answer = client.get(uri, &[(header::ACCEPT, accept)], LIMITS).await;
    let answer = answer.map_err(FetchError::Http)?;
    if answer.status != 200 {
        return Err(FetchError::Status(answer.status));
    }
    Ok(answer.body)
}
