//! The trusted issuers with their keys, as one immutable value.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use crate::policy::{
    ApiKeyFile, Audience, CertificateSubject, Certificates, FileRef, IdentityProvider, Keys,
    TokenRules, When,
};

use super::api_key::{ApiKeys, InvalidApiKeys};
use super::certificate::{
    CertificateAuthority, ClientAuthorities, InvalidCertificateAuthority, SubjectFrom,
};
use super::dpop::{DpopRules, InvalidOrigin};
use super::files::{FileMissing, Files};
use super::http::{HttpClient, HttpError, HttpOptions};
use super::keys::{InvalidKeySet, KeySet};
use super::online::{Asked, InvalidOnline};
use super::place::{InvalidPlaces, PlaceTable};
use super::refresh::{Fetched, Freshness, KeyStore, KeyUpdate, Source};

/// Compiled identity providers. Replaced whole; each replacement that could change an outcome has another epoch, and
/// tokens verified under another epoch are verified again.
#[derive(Clone)]
pub struct Providers {
    all: Vec<Provider>,
    places: Arc<PlaceTable>,
    clients: Arc<ClientAuthorities>,
    epoch: Epoch,
}

/// One provider and its keys, once they are known.
#[derive(Clone)]
pub(super) struct Provider {
    pub(super) name: Arc<str>,
    pub(super) rules: Arc<IdentityProvider>,
    pub(super) keys: Option<Arc<KeySet>>,
    /// Where its keys are fetched from and when they last came; nothing for keys that are not fetched.
    pub(super) fetched: Option<Fetched>,
    pub(super) api_keys: Option<Arc<ApiKeys>>,
    /// The server that judges its credentials.
    pub(super) online: Option<Arc<Asked>>,
    pub(super) dpop: Arc<DpopRules>,
}

/// Where the credentials of all providers may stand, to take them from requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialNames {
    /// Headers, in lower case: those of the credentials and of their proofs.
    pub headers: Vec<String>,
    /// Cookies.
    pub cookies: Vec<String>,
    /// Parameters of the query.
    pub parameters: Vec<String>,
}

/// Equal only to its own clones. The allocation lives as long as any of them, so no later epoch can be mistaken for it.
#[derive(Clone)]
pub(super) struct Epoch(Arc<()>);

/// Why identity providers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidProvider {
    /// Two have one name.
    #[error("identity provider {0}: another one has this name")]
    DuplicateName(String),
    /// Two have one issuer, so a token would not say which rules it is under.
    #[error("identity provider {0}: another one has the issuer {1:?}")]
    DuplicateIssuer(String, String),
    /// A file that it names was not handed over.
    #[error("identity provider {0}: {1}")]
    File(String, FileMissing),
    /// The issuer is empty.
    #[error("identity provider {0}: the issuer is empty")]
    NoIssuer(String),
    /// Without an audience any token of the issuer would pass, whoever it was made for.
    #[error("identity provider {0}: an audience is needed, and none may be empty")]
    NoAudience(String),
    /// No algorithm is allowed.
    #[error("identity provider {0}: an algorithm is needed")]
    NoAlgorithm(String),
    /// Its keys cannot be fetched from there.
    #[error("identity provider {0}: keys: {1}")]
    Uri(String, HttpError),
    /// The inline keys cannot be used.
    #[error("identity provider {0}: keys: {1}")]
    Keys(String, InvalidKeySet),
    /// Its API keys cannot be used.
    #[error("identity provider {0}: apiKeys: {1}")]
    ApiKeys(String, Box<InvalidApiKeys>),
    /// Its file is no text.
    #[error("identity provider {0}: {1} is no text")]
    NotText(String, FileRef),
    /// Its server cannot be asked.
    #[error("identity provider {0}: {1}")]
    Online(String, InvalidOnline),
    /// Its authorities cannot be used.
    #[error("identity provider {0}: certificates: {1}")]
    Certificates(String, InvalidCertificateAuthority),
    /// Its origins cannot be used.
    #[error("identity provider {0}: confirmation: {1}")]
    Origin(String, InvalidOrigin),
    /// Credentials in a place could be taken for another provider's.
    #[error("identity providers {0}")]
    Places(#[from] InvalidPlaces),
}

impl Providers {
    /// Compiles providers; keys that are written in them or in `files` are read here, the others are still missing.
    ///
    /// # Errors
    /// When one of them cannot be used, or two cannot be told apart.
    pub fn new(specs: &[IdentityProvider], files: &Files) -> Result<Self, InvalidProvider> {
        let mut all: Vec<Provider> = Vec::with_capacity(specs.len());
        let mut issuers = HashSet::with_capacity(specs.len());
        let mut authorities = Vec::new();
        for spec in specs {
            let provider = Provider::new(spec, files)?;
            let name = spec.metadata.name.clone();
            if all.iter().any(|other| other.name == provider.name) {
                return Err(InvalidProvider::DuplicateName(name));
            }
            for issuer in spec.spec.tokens.iter().flat_map(|tokens| &tokens.issuers) {
                if !issuers.insert(issuer.clone()) {
                    return Err(InvalidProvider::DuplicateIssuer(name, issuer.clone()));
                }
            }
            if let Some(rules) = &spec.spec.certificates {
                let authority = authority(&name, rules, files)?;
                authorities.push((Arc::clone(&provider.name), Arc::new(authority)));
            }
            all.push(provider);
        }
        let places = Arc::new(PlaceTable::compile(specs)?);
        let clients = Arc::new(ClientAuthorities::new(authorities));
        Ok(Self { all, places, clients, epoch: Epoch::new() })
    }

    /// The same providers with other keys for one of them. Keys for a name that is not there are dropped.
    #[must_use]
    pub fn with_keys(&self, provider: &str, keys: Arc<KeySet>) -> Self {
        let mut changed = self.clone();
        if let Some(entry) = changed.all.iter_mut().find(|entry| *entry.name == *provider) {
            entry.keys = Some(keys);
            changed.epoch = Epoch::new();
        }
        changed
    }

    /// The same providers with freshly fetched keys; nothing when they would change nothing, or were fetched for
    /// rules that no longer hold.
    #[must_use]
    pub fn with_update(&self, update: &KeyUpdate) -> Option<Self> {
        let entry = self.all.iter().find(|entry| *entry.name == *update.provider())?;
        let fetched = entry.fetched.as_ref()?;
        if !fetched.source.same_keys(update.source()) {
            return None;
        }
        // Not before they are taken: until then those from before are as old as they are.
        fetched.freshness.renew(update.fetched_at());
        let same = entry.keys.as_ref().is_some_and(|keys| keys.same_text(update.keys()));
        (!same).then(|| self.with_keys(update.provider(), Arc::clone(update.keys())))
    }

    /// Takes over the fetched keys of providers that fetch from the same place under the same algorithms.
    #[must_use]
    pub fn inherit_keys(mut self, old: &Self) -> Self {
        for entry in &mut self.all {
            let before = old.all.iter().find(|before| before.name == entry.name);
            if let (Some(fetched), Some(before)) = (&mut entry.fetched, before)
                && let Some(known) = &before.fetched
                && known.source.same_keys(&fetched.source)
            {
                fetched.freshness = known.freshness.under_bound_of(&fetched.freshness);
                entry.keys.clone_from(&before.keys);
            }
        }
        self.epoch = Epoch::new();
        self
    }

    /// Takes the keys that were kept before a restart, for providers whose keys are still missing. Reads files.
    #[must_use]
    pub fn restore(mut self, store: &KeyStore, now: SystemTime) -> Self {
        for entry in self.all.iter_mut().filter(|entry| entry.keys.is_none()) {
            let Some(fetched) = &entry.fetched else { continue };
            if let Some((keys, at)) = store.load(&entry.name, &fetched.source, now) {
                fetched.freshness.renew(at);
                entry.keys = Some(keys);
            }
        }
        self.epoch = Epoch::new();
        self
    }

    /// The names, in the order they were given.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.all.iter().map(|provider| provider.name.to_string()).collect()
    }

    /// The names of those whose keys are fetched and never came: their tokens are refused.
    #[must_use]
    pub fn missing_keys(&self) -> Vec<String> {
        self.those(|provider| provider.fetched.is_some() && provider.keys.is_none())
    }

    /// The names of those whose keys are older than they may be: their tokens are refused.
    #[must_use]
    pub fn stale_keys(&self, now: SystemTime) -> Vec<String> {
        self.those(|provider| provider.stale(now))
    }

    fn those(&self, which: impl Fn(&Provider) -> bool) -> Vec<String> {
        let those = self.all.iter().filter(|provider| which(provider));
        those.map(|provider| provider.name.to_string()).collect()
    }

    /// Where credentials may stand.
    #[must_use]
    pub fn credential_names(&self) -> CredentialNames {
        let (mut headers, cookies, parameters) = self.places.names();
        // Worth nothing to the application, and a credential's proof all the same.
        headers.push("dpop".to_owned());
        CredentialNames { headers, cookies, parameters }
    }

    pub(super) fn places(&self) -> &PlaceTable {
        &self.places
    }

    pub(super) fn clients(&self) -> &ClientAuthorities {
        &self.clients
    }

    /// The provider of this name, and its place among all.
    pub(super) fn named(&self, name: &str) -> Option<(usize, &Provider)> {
        self.all.iter().enumerate().find(|(_, provider)| *provider.name == *name)
    }

    pub(super) fn all(&self) -> &[Provider] {
        &self.all
    }

    pub(super) fn epoch(&self) -> &Epoch {
        &self.epoch
    }
}

impl Provider {
    fn new(resource: &IdentityProvider, files: &Files) -> Result<Self, InvalidProvider> {
        let name = &resource.metadata.name;
        if let Audience::AnyOf { audiences, claims } = &resource.spec.rules.audience
            && (audiences.is_empty() || claims.is_empty() || audiences.iter().any(String::is_empty))
        {
            return Err(InvalidProvider::NoAudience(name.clone()));
        }
        let (keys, fetched) = match &resource.spec.tokens {
            Some(tokens) => (
                read_keys(name, tokens, files)?,
                Source::of(tokens).map(|source| reach(resource, source, files)).transpose()?,
            ),
            None => (None, None),
        };
        let online = Asked::compile(resource, files)
            .map_err(|why| InvalidProvider::Online(name.clone(), why))?;
        Ok(Self {
            name: name.as_str().into(),
            rules: Arc::new(resource.clone()),
            keys,
            fetched,
            api_keys: api_keys(resource, files)?,
            online,
            dpop: Arc::new(dpop(resource)?),
        })
    }

    /// True when its server is asked in this case.
    pub(super) fn asks(&self, when: When) -> bool {
        self.rules.spec.online.as_ref().is_some_and(|online| online.when == when)
    }

    /// When its keys last came; nothing for keys that are not fetched.
    pub(super) fn freshness(&self) -> Option<Freshness> {
        self.fetched.as_ref().map(|fetched| fetched.freshness.clone())
    }

    /// True when its keys are older than they may be: then nothing that they signed counts.
    pub(super) fn stale(&self, now: SystemTime) -> bool {
        self.fetched.as_ref().is_some_and(|fetched| fetched.freshness.stale(now))
    }
}

/// Where its keys come from, if that may be asked.
fn reach(
    resource: &IdentityProvider,
    source: Source,
    files: &Files,
) -> Result<Fetched, InvalidProvider> {
    let name = || resource.metadata.name.clone();
    let wrong = |why| InvalidProvider::Uri(name(), why);
    let options = HttpOptions::of(&resource.spec.http, files)
        .map_err(|why| InvalidProvider::File(name(), why))?;
    let client = options.map(|options| HttpClient::new(&options)).transpose().map_err(wrong)?;
    let fetched = Fetched::new(source, client);
    fetched.check().map_err(wrong)?;
    Ok(fetched)
}

fn api_keys(
    resource: &IdentityProvider,
    files: &Files,
) -> Result<Option<Arc<ApiKeys>>, InvalidProvider> {
    let Some(ApiKeyFile { file, prefix: _ }) = &resource.spec.api_keys else { return Ok(None) };
    let name = || resource.metadata.name.clone();
    let bytes = files.content(file).map_err(|why| InvalidProvider::File(name(), why))?;
    let text =
        std::str::from_utf8(bytes).map_err(|_| InvalidProvider::NotText(name(), file.clone()))?;
    let keys = ApiKeys::parse(&file.to_string(), text)
        .map_err(|why| InvalidProvider::ApiKeys(name(), Box::new(why)))?;
    Ok(Some(Arc::new(keys)))
}

fn authority(
    name: &str,
    rules: &Certificates,
    files: &Files,
) -> Result<CertificateAuthority, InvalidProvider> {
    let Certificates { ca, crl, subject } = rules;
    let content = |file: &FileRef| {
        files.content(file).map_err(|why| InvalidProvider::File(name.to_owned(), why))
    };
    let subject = match subject {
        CertificateSubject::Uri => SubjectFrom::Uri,
        CertificateSubject::Dns => SubjectFrom::Dns,
        CertificateSubject::Email => SubjectFrom::Email,
        CertificateSubject::CommonName => SubjectFrom::CommonName,
    };
    let crl = crl.as_ref().map(content).transpose()?;
    CertificateAuthority::compile(content(ca)?, crl, subject)
        .map_err(|why| InvalidProvider::Certificates(name.to_owned(), why))
}

fn dpop(resource: &IdentityProvider) -> Result<DpopRules, InvalidProvider> {
    let spec = &resource.spec;
    DpopRules::compile(&spec.confirmation, spec.rules.leeway)
        .map_err(|why| InvalidProvider::Origin(resource.metadata.name.clone(), why))
}

fn read_keys(
    name: &str,
    tokens: &TokenRules,
    files: &Files,
) -> Result<Option<Arc<KeySet>>, InvalidProvider> {
    if tokens.issuers.is_empty() || tokens.issuers.iter().any(String::is_empty) {
        return Err(InvalidProvider::NoIssuer(name.to_owned()));
    }
    if tokens.algorithms.is_empty() {
        return Err(InvalidProvider::NoAlgorithm(name.to_owned()));
    }
    let allowed = &tokens.algorithms;
    let content = |file: &FileRef| {
        files.content(file).map_err(|why| InvalidProvider::File(name.to_owned(), why))
    };
    let keys = match &tokens.keys {
        None | Some(Keys::JwksUri { .. } | Keys::Discovery { .. }) => return Ok(None),
        Some(Keys::Inline(set)) => KeySet::parse(set.to_string().as_bytes(), allowed),
        Some(Keys::Pem(text)) => KeySet::pem(text, allowed),
        Some(Keys::PemFile(file)) => {
            let text = std::str::from_utf8(content(file)?)
                .map_err(|_| InvalidProvider::NotText(name.to_owned(), file.clone()))?;
            KeySet::pem(text, allowed)
        }
        Some(Keys::SecretFile(file)) => KeySet::secret_file(content(file)?, allowed),
        Some(Keys::BundleFile(file)) => KeySet::bundle(content(file)?, allowed),
    };
    keys.map(|keys| Some(Arc::new(keys))).map_err(|why| InvalidProvider::Keys(name.to_owned(), why))
}

impl Epoch {
    fn new() -> Self {
        Self(Arc::new(()))
    }
}

impl PartialEq for Epoch {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl std::fmt::Debug for Providers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.all.iter().map(|provider| &provider.name)).finish()
    }
}
