//! The trusted issuers with their keys, as one immutable value.

use std::collections::HashMap;
use std::sync::Arc;

use crate::policy::{Algorithm, IdentityProvider, Keys};

use super::keys::{InvalidKeySet, KeySet};
use super::refresh::{FetchError, KeyUpdate, check_uri};

/// Compiled identity providers. Replaced whole; each replacement that could change an outcome has another epoch, and
/// tokens verified under another epoch are verified again.
#[derive(Clone)]
pub struct Providers {
    all: Vec<Provider>,
    by_issuer: Arc<HashMap<String, usize>>,
    epoch: Epoch,
}

/// One provider and its keys, once they are known.
#[derive(Clone)]
pub(super) struct Provider {
    pub(super) name: Arc<str>,
    pub(super) rules: Arc<IdentityProvider>,
    pub(super) keys: Option<Arc<KeySet>>,
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
    #[error("identity provider {0}: jwksUri: {1}")]
    Uri(String, FetchError),
    /// The inline keys cannot be used.
    #[error("identity provider {0}: inline keys: {1}")]
    Keys(String, InvalidKeySet),
}

impl Providers {
    /// Compiles providers; inline keys are read here, the others are still missing.
    ///
    /// # Errors
    /// When one of them cannot be used, or two cannot be told apart.
    pub fn new(specs: &[IdentityProvider]) -> Result<Self, InvalidProvider> {
        let mut all: Vec<Provider> = Vec::with_capacity(specs.len());
        let mut by_issuer = HashMap::with_capacity(specs.len());
        for spec in specs {
            let provider = Provider::new(spec)?;
            let name = spec.metadata.name.clone();
            if all.iter().any(|other| other.name == provider.name) {
                return Err(InvalidProvider::DuplicateName(name));
            }
            let issuer = spec.spec.issuer.clone();
            if by_issuer.insert(issuer.clone(), all.len()).is_some() {
                return Err(InvalidProvider::DuplicateIssuer(name, issuer));
            }
            all.push(provider);
        }
        Ok(Self { all, by_issuer: Arc::new(by_issuer), epoch: Epoch::new() })
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
        let current = entry.source()?;
        if current != (update.uri(), update.algorithms()) {
            return None;
        }
        let same = entry.keys.as_ref().is_some_and(|keys| keys.same_text(update.keys()));
        (!same).then(|| self.with_keys(update.provider(), Arc::clone(update.keys())))
    }

    /// Takes over the fetched keys of providers that fetch from the same place under the same algorithms.
    #[must_use]
    pub fn inherit_keys(mut self, old: &Self) -> Self {
        for entry in &mut self.all {
            let Some(source) = entry.source() else { continue };
            let before = old.all.iter().find(|before| before.name == entry.name);
            if let Some(before) = before
                && before.source() == Some(source)
            {
                entry.keys.clone_from(&before.keys);
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

    /// The names of those whose keys were never fetched: their tokens are refused.
    #[must_use]
    pub fn missing_keys(&self) -> Vec<String> {
        let missing = self.all.iter().filter(|provider| provider.keys.is_none());
        missing.map(|provider| provider.name.to_string()).collect()
    }

    pub(super) fn by_issuer(&self, issuer: &str) -> Option<&Provider> {
        self.all.get(*self.by_issuer.get(issuer)?)
    }

    pub(super) fn all(&self) -> &[Provider] {
        &self.all
    }

    pub(super) fn epoch(&self) -> &Epoch {
        &self.epoch
    }
}

impl Provider {
    fn new(resource: &IdentityProvider) -> Result<Self, InvalidProvider> {
        let name = &resource.metadata.name;
        let spec = &resource.spec;
        if spec.issuer.is_empty() {
            return Err(InvalidProvider::NoIssuer(name.clone()));
        }
        if spec.audiences.is_empty() || spec.audiences.iter().any(String::is_empty) {
            return Err(InvalidProvider::NoAudience(name.clone()));
        }
        if spec.algorithms.is_empty() {
            return Err(InvalidProvider::NoAlgorithm(name.clone()));
        }
        let keys = match &spec.keys {
            Keys::JwksUri { uri, .. } => {
                check_uri(uri).map_err(|why| InvalidProvider::Uri(name.clone(), why))?;
                None
            }
            Keys::Inline(set) => {
                let keys = KeySet::parse(set.to_string().as_bytes(), &spec.algorithms)
                    .map_err(|why| InvalidProvider::Keys(name.clone(), why))?;
                Some(Arc::new(keys))
            }
        };
        Ok(Self { name: name.as_str().into(), rules: Arc::new(resource.clone()), keys })
    }

    /// Where its keys are fetched from and what they are kept for; nothing for inline keys.
    pub(super) fn source(&self) -> Option<(&str, &[Algorithm])> {
        match &self.rules.spec.keys {
            Keys::JwksUri { uri, .. } => Some((uri, &self.rules.spec.algorithms)),
            Keys::Inline(_) => None,
        }
    }
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
