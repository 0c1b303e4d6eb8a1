//! The server of one provider, compiled: where it is, how it is asked, who asks.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::client_auth::{AuthError, Authenticator};
use super::{Judgement, OnlineFault, introspection, token_review, userinfo};
use crate::authn::files::{FileMissing, Files};
use crate::authn::http::{HttpClient, HttpError, HttpOptions, Limits};
use crate::authn::token::MAX_TOKEN_LENGTH;
use crate::policy::{ClientAuth, IdentityProvider, Online as Rules, Question};
use crate::runtime::{self, Slots};

/// Questions to one endpoint that are out at a time.
const MAX_OUT: usize = 256;
/// No answer is longer.
const MAX_ANSWER: usize = 256 * 1024;

/// The server of one provider. Two of them are the same when they would ask the same in the same way.
pub struct Asked {
    provider: Arc<str>,
    endpoint: runtime::Endpoint,
    rules: Rules,
    leeway: Duration,
    auth: Authenticator,
    /// Our own token, for a TokenReview.
    bearer: Option<zeroize::Zeroizing<String>>,
    client: HttpClient,
}

/// An endpoint that the provider's metadata document names.
#[derive(Debug, Clone)]
pub(in crate::authn) enum Endpoint {
    /// The resource names it itself.
    Written,
    /// The document does, or does not.
    Discovered(Option<String>),
}

/// Why a server cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum InvalidOnline {
    /// A file that it names was not handed over.
    #[error(transparent)]
    File(#[from] FileMissing),
    /// Its URL may not be asked, or its HTTP client cannot be built.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Our own credentials cannot be used.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Our own token is no text.
    #[error("tokenFile: holds no token")]
    Token,
}

impl Asked {
    /// Compiles what a provider says about its server; nothing when it has none.
    pub(in crate::authn) fn compile(
        resource: &IdentityProvider,
        files: &Files,
    ) -> Result<Option<Arc<Self>>, InvalidOnline> {
        let Some(rules) = &resource.spec.online else { return Ok(None) };
        let mut options =
            HttpOptions::of(&resource.spec.http, files)?.unwrap_or_else(HttpOptions::system);
        let (mut auth, mut bearer) = (Authenticator::None, None);
        match &rules.question {
            Question::Introspection { auth: written, .. } => {
                auth = Authenticator::compile(written, files)?;
                options.identity = auth.identity(written, files)?;
            }
            Question::Userinfo { .. } => {}
            Question::TokenReview { token_file, .. } => {
                let text = std::str::from_utf8(files.content(token_file)?);
                let text = text.map(str::trim).map_err(|_| InvalidOnline::Token)?;
                if text.is_empty() || text.len() > MAX_TOKEN_LENGTH {
                    return Err(InvalidOnline::Token);
                }
                bearer = Some(zeroize::Zeroizing::new(text.to_owned()));
            }
        }
        let client = HttpClient::new(&options)?;
        if let Some(url) = written_url(rules) {
            client.check(url)?;
        }
        let asked = Self {
            provider: resource.metadata.name.as_str().into(),
            endpoint: runtime::Endpoint {
                fingerprint: fingerprint(resource, files)?,
                slots: Slots::new(MAX_OUT),
            },
            rules: rules.clone(),
            leeway: resource.spec.rules.leeway,
            auth,
            bearer,
            client,
        };
        Ok(Some(Arc::new(asked)))
    }

    /// Where it is asked.
    pub(super) fn url(&self, endpoint: Endpoint) -> Result<String, OnlineFault> {
        let discovered = match endpoint {
            Endpoint::Discovered(url) => url,
            Endpoint::Written => None,
        };
        let url = written_url(&self.rules).map(str::to_owned).or(discovered);
        url.ok_or(OnlineFault::NoEndpoint)
    }

    pub(super) async fn ask(
        &self,
        token: &str,
        url: &str,
        now: SystemTime,
    ) -> Result<Judgement, OnlineFault> {
        let reach = Reach {
            client: &self.client,
            url,
            limits: Limits { timeout: self.rules.timeout, max_body: MAX_ANSWER },
        };
        match &self.rules.question {
            Question::Introspection { token_type_hint, .. } => {
                let hint = token_type_hint.as_deref();
                let times = (now, self.leeway);
                introspection::ask(&reach, &self.auth, (token, hint), times).await
            }
            Question::Userinfo { root, refusals, url: _ } => {
                userinfo::ask(&reach, token, (root, refusals)).await
            }
            Question::TokenReview { audiences, .. } => {
                let bearer = self.bearer.as_ref().ok_or(OnlineFault::NotAsked)?;
                token_review::ask(&reach, (token, bearer), audiences).await
            }
        }
    }

    /// What an answer about a credential is remembered under.
    pub(super) fn key(&self, digest: &[u8; 32]) -> [u8; 32] {
        let mut both = [0; 64];
        for (into, from) in both.iter_mut().zip(self.endpoint.fingerprint.iter().chain(digest)) {
            *into = *from;
        }
        crate::authn::digest(&both)
    }

    /// True when both ask the same in the same way.
    pub(in crate::authn) fn is_same(&self, other: &Self) -> bool {
        self.endpoint.fingerprint == other.endpoint.fingerprint
    }

    /// The provider.
    pub(in crate::authn) fn provider(&self) -> &str {
        &self.provider
    }

    /// Which endpoint of the provider's metadata document it needs, if any.
    pub(in crate::authn) fn question(&self) -> Option<&Question> {
        self.rules.needs_discovery().then_some(&self.rules.question)
    }

    pub(super) fn endpoint(&self) -> &runtime::Endpoint {
        &self.endpoint
    }

    pub(super) fn ttl(&self) -> Duration {
        self.rules.ttl
    }

    pub(super) fn negative_ttl(&self) -> Duration {
        self.rules.negative_ttl
    }
}

/// How a server is reached.
pub(super) struct Reach<'a> {
    pub(super) client: &'a HttpClient,
    pub(super) url: &'a str,
    pub(super) limits: Limits,
}

fn written_url(rules: &Rules) -> Option<&str> {
    match &rules.question {
        Question::Introspection { url, .. } | Question::Userinfo { url, .. } => url.as_deref(),
        Question::TokenReview { url, .. } => Some(url),
    }
}

/// What answers depend on: the provider's name, what it says of its server, and what stands in the files it names.
fn fingerprint(resource: &IdentityProvider, files: &Files) -> Result<[u8; 32], FileMissing> {
    let spec = &resource.spec;
    let written = format!("{:?}\n{:?}\n{:?}", resource.metadata, spec.online, spec.http);
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    hash.update(written.as_bytes());
    if spec.online.as_ref().is_some_and(Rules::needs_discovery) {
        // Another document is another server, though nothing else changes.
        hash.update(format!("{:?}", spec.tokens).as_bytes());
    }
    let auth = match spec.online.as_ref().map(|online| &online.question) {
        Some(Question::Introspection { auth, .. }) => auth,
        Some(Question::Userinfo { .. } | Question::TokenReview { .. }) | None => &ClientAuth::None,
    };
    // Our own token for a TokenReview changes by the hour and changes no answer.
    for file in auth.files().into_iter().chain(&spec.http.ca) {
        hash.update(&crate::authn::digest(files.content(file)?));
    }
    let mut fingerprint = [0; 32];
    for (into, from) in fingerprint.iter_mut().zip(hash.finish().as_ref()) {
        *into = *from;
    }
    Ok(fingerprint)
}
