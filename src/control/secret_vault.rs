//! An authority that is kept in a Secret of the Kubernetes API.
//!
//! Each step is one atomic update of the Secret that names the version it replaces, so of several replicas one takes it.
//! The trusted roots also stand in a ConfigMap of the same name, for people to copy. It is written after the Secret:
//! where it is found and the Secret is not, an authority was lost, and no new one is made over it.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use crate::ca::{Files, Found, Kept, StoreError, Vault, Version};
use crate::kube::{
    Cluster, Held, Object, ObjectError, ObjectName, ObjectVersion, Patience, Values,
};

use super::replicas::Replicas;

const STATE: &str = "state.json";
/// The trusted roots, in both objects.
const ROOTS: &str = "root.pem";
/// No certificate and no key is longer.
const MAX_PEM: usize = 64 * 1024;

/// A vault in a Secret. Its methods block on the runtime that it was made in, and so belong on threads that may block.
pub(super) struct SecretVault {
    runtime: Handle,
    secret: Object<Secret>,
    roots: Object<ConfigMap>,
    replicas: Replicas,
}

impl SecretVault {
    /// The vault in `name`. Nothing is asked yet.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub(super) fn new(cluster: &Cluster, name: &ObjectName, replicas: Replicas) -> Self {
        Self {
            runtime: Handle::current(),
            secret: Object::new(cluster, name, Patience::default()),
            roots: Object::new(cluster, name, Patience::default()),
            replicas,
        }
    }

    fn kept(&self, values: Values) -> Result<Kept, StoreError> {
        let mut state = None;
        let mut files = Files::new();
        for (name, text) in values {
            if text.len() > MAX_PEM && name != STATE {
                let source = TooLong { name, size: text.len() };
                return Err(StoreError::Remote { place: self.place(), source: source.into() });
            }
            match name.as_str() {
                STATE => state = Some(text.as_str().to_owned()),
                ROOTS => {}
                _ => drop(files.insert(name, text)),
            }
        }
        let missing = || StoreError::Partial { place: self.place(), missing: STATE.to_owned() };
        Ok(Kept { state: state.ok_or_else(missing)?, files })
    }

    async fn find(&self) -> Result<(Found, Version), StoreError> {
        // First what is written last: an authority that is made meanwhile is then not taken for a lost one.
        let shown = self.roots.read().await.map_err(|error| self.failed(error))?;
        let Some(Held { values, version }) =
            self.secret.read().await.map_err(|error| self.failed(error))?
        else {
            if shown.is_some() {
                let known_by = format!("{} shows its roots", self.roots.place());
                return Err(StoreError::Vanished { place: self.place(), known_by });
            }
            return Ok((Found::Nothing, Version::Absent));
        };
        if let Some(roots) = values.get(ROOTS) {
            self.show(roots, shown).await;
        }
        let version = Version::Of(version.as_str().to_owned());
        Ok((Found::Kept(self.kept(values)?), version))
    }

    async fn write(&self, values: &Values, over: &Version) -> Result<Version, StoreError> {
        let written = match over {
            Version::Absent => self.secret.create(values).await,
            Version::Of(version) => self.secret.replace(values, &ObjectVersion::of(version)).await,
        };
        let version = written.map_err(|error| self.failed(error))?;
        Ok(Version::Of(version.as_str().to_owned()))
    }

    /// A leader writes nothing that it could not finish before another one leads.
    async fn write_in_time(&self, values: &Values, over: &Version) -> Result<Version, StoreError> {
        let Some(left) = self.replicas.leads_for() else { return self.write(values, over).await };
        let written = tokio::time::timeout(left, self.write(values, over)).await;
        written.unwrap_or_else(|_| {
            let source = TooLate(left).into();
            Err(StoreError::Remote { place: self.place(), source })
        })
    }

    /// Shows the roots for people to copy. Nothing depends on it, so a failure is only said.
    async fn show(&self, roots: &Zeroizing<String>, shown: Option<Held>) {
        let values: Values = [(ROOTS.to_owned(), roots.clone())].into();
        let done = match shown {
            Some(Held { values: same, version: _ }) if same == values => Ok(()),
            Some(Held { values: _, version }) => {
                self.roots.replace(&values, &version).await.map(drop)
            }
            None => self.roots.create(&values).await.map(drop),
        };
        match done {
            // Another replica shows the same, or something newer.
            Ok(()) | Err(ObjectError::Exists(_) | ObjectError::Conflict(_)) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the roots cannot be shown");
            }
        }
    }

    fn failed(&self, error: ObjectError) -> StoreError {
        let place = self.place();
        match error {
            ObjectError::Exists(_) | ObjectError::Conflict(_) => StoreError::Conflict(place),
            ObjectError::Gone(_) => {
                let known_by = "this process signs with what was in it".to_owned();
                StoreError::Vanished { place, known_by }
            }
            error => StoreError::Remote { place, source: error.into() },
        }
    }
}

impl Vault for SecretVault {
    fn load(&self) -> Result<(Found, Version), StoreError> {
        self.runtime.block_on(self.find())
    }

    fn save(&self, kept: &Kept, roots: &str, over: &Version) -> Result<Version, StoreError> {
        let roots = Zeroizing::new(roots.to_owned());
        let mut values = kept.files.clone();
        values.insert(STATE.to_owned(), Zeroizing::new(kept.state.clone()));
        if !roots.is_empty() {
            values.insert(ROOTS.to_owned(), roots.clone());
        }
        self.runtime.block_on(async {
            let version = self.write_in_time(&values, over).await?;
            if roots.is_empty() {
                return Ok(version);
            }
            // From here on the new state is in force, whatever happens.
            match self.roots.read().await {
                Ok(shown) => self.show(&roots, shown).await,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the roots cannot be shown");
                }
            }
            Ok(version)
        })
    }

    fn place(&self) -> String {
        self.secret.place().to_owned()
    }
}

/// Another replica may lead before the write ends.
#[derive(Debug, thiserror::Error)]
#[error("the API server does not answer within {0:?}, after which another replica may lead")]
struct TooLate(Duration);

/// A value is longer than any that this process writes.
#[derive(Debug)]
struct TooLong {
    name: String,
    size: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has {} bytes, more than any file of an authority", self.name, self.size)
    }
}

impl std::error::Error for TooLong {}
