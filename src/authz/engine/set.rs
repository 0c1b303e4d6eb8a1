//! All engines of a workload, compiled.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::remote::Remote;
use crate::authn::Files;
use crate::policy::{Casbin, Credentials, EngineKind, FileRef, Origin, PolicyEngine, Rego};

/// All engines of a workload, by name. Cloning shares them.
#[derive(Clone, Default)]
pub struct EngineSet(Arc<HashMap<String, Engine>>);

/// One engine, ready to be asked.
pub(super) enum Engine {
    Rego(Rego, Credentials),
    Casbin(Casbin),
    Remote(Arc<Remote>),
}

/// An engine that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: PolicyEngine {name}: {why}")]
pub struct InvalidEngine {
    origin: Origin,
    name: String,
    why: String,
}

impl InvalidEngine {
    pub(super) fn new(resource: &PolicyEngine, why: impl Into<String>) -> Self {
        let (origin, name) = (resource.origin().clone(), resource.metadata.to_string());
        Self { origin, name, why: why.into() }
    }
}

impl EngineSet {
    /// Compiles engines with what stands in the files that they name.
    ///
    /// # Errors
    /// When any of them cannot be used as it is.
    pub fn compile(resources: &[PolicyEngine], files: &Files) -> Result<Self, InvalidEngine> {
        let mut all = HashMap::with_capacity(resources.len());
        for resource in resources {
            all.insert(resource.metadata.name.clone(), Engine::compile(resource, files)?);
        }
        Ok(Self(Arc::new(all)))
    }

    /// The names that rules may use, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.0.keys().cloned().collect();
        names.sort();
        names
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn named(&self, name: &str) -> Option<&Engine> {
        self.0.get(name)
    }
}

impl Engine {
    fn compile(resource: &PolicyEngine, files: &Files) -> Result<Self, InvalidEngine> {
        let why = |why: String| InvalidEngine::new(resource, why);
        let content = |file: &FileRef| files.content(file).map_err(|error| why(error.to_string()));
        match &resource.kind {
            EngineKind::Rego(spec) => {
                let read = |list: &[FileRef]| -> Result<Vec<(String, Vec<u8>)>, InvalidEngine> {
                    list.iter()
                        .map(|file| Ok((file.to_string(), content(file)?.to_vec())))
                        .collect()
                };
                let (modules, data) = (read(&spec.policies)?, read(&spec.data)?);
                let rule = (spec.rule.as_str(), spec.time_limit);
                let rego = Rego::compile((&borrow(&modules), &borrow(&data)), rule)
                    .map_err(|error| why(error.to_string()))?;
                Ok(Self::Rego(rego, spec.credentials))
            }
            EngineKind::Casbin(spec) => {
                let names = (spec.model.to_string(), spec.policy.to_string());
                let model = (names.0.as_str(), content(&spec.model)?);
                let policy = (names.1.as_str(), content(&spec.policy)?);
                Casbin::compile(model, policy, &spec.request)
                    .map(Self::Casbin)
                    .map_err(|error| why(error.to_string()))
            }
            EngineKind::Opa(_)
            | EngineKind::SubjectAccessReview(_)
            | EngineKind::OpenFga(_)
            | EngineKind::ExtAuthz(_) => match Remote::compile(resource, files)? {
                Some(remote) => Ok(Self::Remote(remote)),
                None => Err(why("has no server".to_owned())),
            },
        }
    }
}

fn borrow(files: &[(String, Vec<u8>)]) -> Vec<(String, &[u8])> {
    files.iter().map(|(name, content)| (name.clone(), content.as_slice())).collect()
}

impl fmt::Debug for EngineSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}
