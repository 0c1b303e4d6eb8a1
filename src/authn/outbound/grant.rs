//! One request for a token (RFC 6749, section 4.4).

use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue, header};
use serde_json::Value;
use zeroize::Zeroizing;

use super::config::{InvalidTarget, TargetConfig};
use crate::authn::Files;
use crate::authn::http::{HttpClient, HttpError, HttpOptions, Limits};
use crate::authn::json::{self, InvalidJson};
use crate::authn::online::Authenticator;

const LIMITS: Limits = Limits { timeout: Duration::from_secs(10), max_body: 64 * 1024 };
const MAX_TOKEN: usize = 16 * 1024;

/// How a token is asked for.
pub(super) struct Grant {
    client: HttpClient,
    url: String,
    auth: Authenticator,
    form: Vec<(String, String)>,
}

/// A token, as it came.
pub(super) struct Granted {
    /// The value of the header: `Bearer` and the token.
    pub(super) value: Zeroizing<String>,
    pub(super) expires_in: Option<Duration>,
}

/// Why no token came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The endpoint was not reached.
    #[error("{0}")]
    Http(#[from] HttpError),
    /// We could not say who asks.
    #[error("{0}")]
    Auth(String),
    /// It refused, with this `error` of RFC 6749, section 5.2.
    #[error("the token endpoint answered {status}{}", .error.as_ref().map(|e| format!(" ({e})")).unwrap_or_default())]
    Refused {
        /// The status.
        status: u16,
        /// What it said.
        error: Option<String>,
    },
    /// The answer is no JSON object.
    #[error("the answer of the token endpoint {0}")]
    Json(InvalidJson),
    /// The answer holds no bearer token.
    #[error("the answer of the token endpoint has no usable {0:?}")]
    Member(&'static str),
}

impl GrantError {
    /// A stable name, for metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Http(error) => error.code(),
            Self::Auth(_) => "auth",
            Self::Refused { .. } => "refused",
            Self::Json(_) | Self::Member(_) => "unusable",
        }
    }
}

impl Grant {
    pub(super) fn compile(target: &TargetConfig, place: usize) -> Result<Self, InvalidTarget> {
        let written = target.client_auth(place)?;
        let http = target.http();
        let mut files = Files::none();
        for file in written.files().into_iter().chain(&http.ca) {
            let content = std::fs::read(file.path()).map_err(|error| {
                InvalidTarget::new(place, "auth", format!("cannot read {file}: {error}"))
            })?;
            files.insert(file.path().to_path_buf(), Zeroizing::new(content));
        }
        let auth = Authenticator::compile(&written, &files)
            .map_err(|error| InvalidTarget::auth(place, &error))?;
        let missing =
            |error: crate::authn::FileMissing| InvalidTarget::new(place, "auth", error.to_string());
        let mut options =
            HttpOptions::of(&http, &files).map_err(missing)?.unwrap_or_else(HttpOptions::system);
        options.identity = auth.identity(&written, &files).map_err(missing)?;
        let client = HttpClient::new(&options).map_err(|e| InvalidTarget::http(place, &e))?;
        client.check(&target.token_url).map_err(|e| InvalidTarget::http(place, &e))?;
        let mut form = vec![("grant_type".to_owned(), "client_credentials".to_owned())];
        form.extend(target.scopes.as_ref().map(|list| ("scope".to_owned(), list.join(" "))));
        form.extend(target.audience.clone().map(|text| ("audience".to_owned(), text)));
        form.extend(target.resource.clone().map(|text| ("resource".to_owned(), text)));
        for (name, value) in &target.parameters {
            if form.iter().any(|(taken, _)| taken == name) || name.starts_with("client_") {
                let problem = format!("{name:?} is set already");
                return Err(InvalidTarget::new(place, "parameters", problem));
            }
            form.push((name.clone(), value.clone()));
        }
        Ok(Self { client, url: target.token_url.clone(), auth, form })
    }

    pub(super) async fn ask(&self, now: SystemTime) -> Result<Granted, GrantError> {
        let proof =
            self.auth.proof(&self.url, now).map_err(|error| GrantError::Auth(error.to_string()))?;
        let mut form: Vec<(&str, &str)> =
            self.form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        form.extend(proof.form.iter().map(|(name, value)| (*name, value.as_str())));
        let mut headers: Vec<(HeaderName, HeaderValue)> =
            vec![(header::ACCEPT, HeaderValue::from_static("application/json"))];
        headers.extend(proof.authorization.map(|value| (header::AUTHORIZATION, value)));
        let answer = self.client.post_form(&self.url, &form, &headers, LIMITS).await?;
        let members = json::object(&answer.body);
        if answer.status != 200 {
            let error = members.ok().and_then(|members| {
                let text = members.get("error")?.as_str()?;
                // What a server says is shown only where it is one of the short words of the RFC.
                let plain =
                    text.len() <= 40 && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
                plain.then(|| text.to_owned())
            });
            return Err(GrantError::Refused { status: answer.status, error });
        }
        let members = members.map_err(GrantError::Json)?;
        let text = |name| members.get(name).and_then(Value::as_str);
        if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("Bearer")) {
            return Err(GrantError::Member("token_type"));
        }
        let usable = |token: &&str| {
            (1..=MAX_TOKEN).contains(&token.len())
                && token.bytes().all(|b| (0x21..=0x7e).contains(&b))
        };
        let token =
            text("access_token").filter(usable).ok_or(GrantError::Member("access_token"))?;
        let expires_in = match members.get("expires_in") {
            None | Some(Value::Null) => None,
            // Some servers write it as text.
            Some(value) => {
                let seconds = value.as_u64().or_else(|| value.as_str()?.parse().ok());
                // One that has ended already must not take the place of one that has not.
                let seconds = seconds.filter(|seconds| *seconds > 0);
                Some(Duration::from_secs(seconds.ok_or(GrantError::Member("expires_in"))?))
            }
        };
        Ok(Granted { value: Zeroizing::new(format!("Bearer {token}")), expires_in })
    }
}
