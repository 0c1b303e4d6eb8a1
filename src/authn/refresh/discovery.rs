//! The metadata document of a provider (OpenID Connect Discovery 1.0, RFC 8414).
//!
//! Its `issuer` must be the configured one, byte for byte: a document of someone else must not hand out keys. That
//! also refuses a template such as `https://login.microsoftonline.com/{tenantid}/v2.0`, which the `common` and
//! `organizations` documents of Entra have: such tokens come from any tenant, so one tenant has to be configured.

use serde_json::{Map, Value};

use crate::authn::http::HttpClient;
use crate::authn::json;

use super::fetch::FetchError;

/// Further endpoints that a provider named in its metadata document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// `introspection_endpoint` (RFC 7662).
    pub introspection: Option<String>,
    /// `userinfo_endpoint`.
    pub userinfo: Option<String>,
    /// `token_endpoint`.
    pub token: Option<String>,
}

/// What is used of a metadata document.
pub(super) struct Document {
    pub(super) key_set: Option<String>,
    pub(super) endpoints: Endpoints,
}

impl Document {
    /// Reads the document that `uri` gave for `issuer`. A URL in it counts only if `client` may ask it and it is no
    /// step down from https.
    pub(super) fn read(
        body: &[u8],
        (uri, issuer): (&str, &str),
        client: &HttpClient,
    ) -> Result<Self, FetchError> {
        let members =
            json::object(body).map_err(|error| FetchError::Document(error.to_string()))?;
        match members.get("issuer") {
            Some(Value::String(found)) if found == issuer => {}
            Some(Value::String(found)) => {
                let found = found.chars().take(200).collect();
                return Err(FetchError::Issuer { expected: issuer.to_owned(), found });
            }
            Some(_) | None => {
                return Err(FetchError::Document("has no text \"issuer\"".to_owned()));
            }
        }
        let key_set = text(&members, "jwks_uri")?;
        if let Some(key_set) = &key_set {
            may_ask(key_set, uri, client)?;
        }
        let endpoint = |name| {
            let found = text(&members, name)?;
            Ok(found.filter(|found| match may_ask(found, uri, client) {
                Ok(()) => true,
                Err(error) => {
                    tracing::warn!(document = uri, name, error = %error, "endpoint not used");
                    false
                }
            }))
        };
        let endpoints = Endpoints {
            introspection: endpoint("introspection_endpoint")?,
            userinfo: endpoint("userinfo_endpoint")?,
            token: endpoint("token_endpoint")?,
        };
        Ok(Self { key_set, endpoints })
    }
}

fn text(members: &Map<String, Value>, name: &str) -> Result<Option<String>, FetchError> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(FetchError::Document(format!("has a {name:?} that is no text"))),
    }
}

fn may_ask(uri: &str, document: &str, client: &HttpClient) -> Result<(), FetchError> {
    client.check(uri).map_err(FetchError::Http)?;
    let secure = |uri: &str| {
        uri.split_once(':').is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("https"))
    };
    if secure(document) && !secure(uri) {
        return Err(FetchError::Document("leads from https to http".to_owned()));
    }
    Ok(())
}
