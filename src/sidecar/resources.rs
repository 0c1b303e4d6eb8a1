//! Resources from files: read, parsed and compiled as a whole, or refused as a whole.

mod invalid;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::assigned::{Assigned, AssignedPage};
use super::referenced::References;
use super::sources::Sources;
use super::texts::{Parsed, Texts};
use crate::authn::{KeyStore, Providers};
use crate::authz::{Descriptors, EngineSet, Snapshot};
use crate::policy::{
    self, IdentityProvider, MeshPolicy, MeshPolicySpec, PolicySet, Resource, Surroundings,
};

pub use invalid::InvalidResources;

/// Everything the resource files say, compiled.
#[derive(Debug, Clone)]
pub struct Resources {
    digest: String,
    policies: Arc<PolicySet>,
    providers: Providers,
    engines: EngineSet,
    mesh: Arc<MeshPolicySpec>,
    descriptors: Option<Arc<Descriptors>>,
    counts: Counts,
    /// How often keys changed since the files were read.
    key_changes: u64,
    basis: Basis,
}

/// What resources were made from.
#[derive(Debug, Clone)]
pub(super) struct Basis {
    /// Of the resource files.
    texts: String,
    /// The files that they name, and a digest of what those hold.
    references: References,
    referenced: [u8; 32],
}

/// How many resources there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// AccessPolicies in the files.
    pub policies: usize,
    /// Rules that apply to this workload.
    pub rules: usize,
    /// IdentityProviders.
    pub providers: usize,
    /// PolicyEngines.
    pub engines: usize,
}

impl Resources {
    /// Reads all files under `paths` and compiles them for one workload.
    ///
    /// # Errors
    /// When any part of any file is wrong. Nothing is applied then.
    pub fn load(paths: &[PathBuf], workload: &policy::Workload) -> Result<Self, InvalidResources> {
        let texts = Texts::read(paths)?;
        Self::compile(&texts, texts.parse(workload)?, workload)
    }

    /// The resources of a running sidecar, as its `/config` shows where they are from.
    ///
    /// # Errors
    /// As [`Resources::load`].
    pub fn as_shown(
        sources: &Sources,
        assigned: Option<&AssignedPage>,
        workload: &policy::Workload,
    ) -> Result<Self, InvalidResources> {
        Self::load_all(sources, &Assigned::of_page(assigned), workload)
    }

    /// Reads all files and compiles them with what the control plane assigned. While nobody knows what that is, all is
    /// refused, whatever the files say; they must be readable all the same.
    ///
    /// # Errors
    /// As [`Resources::load`].
    pub(super) fn load_all(
        sources: &Sources,
        assigned: &Assigned,
        workload: &policy::Workload,
    ) -> Result<Self, InvalidResources> {
        let files = Texts::read(&sources.files)?;
        let texts = match assigned {
            Assigned::NotYet => {
                files.parse(workload)?;
                Texts::of(Vec::new())
            }
            Assigned::NotAsked | Assigned::All(_) => {
                files.with_assigned(assigned.texts(sources.control.as_ref()))
            }
        };
        Self::compile(&texts, texts.parse(workload)?, workload)
    }

    /// Compiles the texts of files, each with its name, for one workload. Rules may also name `other_providers`: whose
    /// credentials they would be is not known here, so nothing of them is taken from a request.
    ///
    /// # Errors
    /// As [`Resources::load`].
    pub fn of_texts(
        files: Vec<(String, String)>,
        workload: &policy::Workload,
        other_providers: &[String],
    ) -> Result<Self, InvalidResources> {
        let texts = Texts::of(files);
        Self::compile_beside(&texts, texts.parse(workload)?, workload, other_providers)
    }

    /// As [`Resources::load_all`]; nothing when all is what `basis` was made from.
    ///
    /// # Errors
    /// As [`Resources::load`].
    pub(super) fn load_if_changed(
        sources: &Sources,
        assigned: &Assigned,
        (workload, basis): (&policy::Workload, &Basis),
    ) -> Result<Option<Self>, InvalidResources> {
        if matches!(assigned, Assigned::NotYet) {
            return Ok(None);
        }
        let texts =
            Texts::read(&sources.files)?.with_assigned(assigned.texts(sources.control.as_ref()));
        if texts.digest == basis.texts && basis.references.read()?.1 == basis.referenced {
            return Ok(None);
        }
        Self::compile(&texts, texts.parse(workload)?, workload).map(Some)
    }

    pub(super) fn compile(
        texts: &Texts,
        parsed: Parsed,
        workload: &policy::Workload,
    ) -> Result<Self, InvalidResources> {
        Self::compile_beside(texts, parsed, workload, &[])
    }

    fn compile_beside(
        texts: &Texts,
        Parsed { policies, providers, engines, mesh }: Parsed,
        workload: &policy::Workload,
        other_providers: &[String],
    ) -> Result<Self, InvalidResources> {
        let references = References::of(&providers, &engines);
        let (files, referenced) = references.read()?;
        let compiled = Providers::new(&providers, &files)?;
        let engines = EngineSet::compile(&engines, &files)?;
        let mesh = Arc::new(mesh.map_or_else(MeshPolicySpec::absent, |policy| policy.spec));
        let names = [&compiled.names(), other_providers].concat();
        let engine_names = engines.names();
        let around =
            Surroundings { workload, mesh: &mesh, providers: &names, engines: &engine_names };
        let set = PolicySet::compile(&policies, &around).map_err(InvalidResources::Rules)?;
        refuse_shared_header(&set, &compiled)?;
        let counts = Counts {
            policies: policies.len(),
            rules: set.rule_count(),
            providers: providers.len(),
            engines: engines.count(),
        };
        let digest = short_name(&texts.content, &referenced);
        let basis = Basis { texts: texts.digest.clone(), references, referenced };
        Ok(Self {
            digest,
            policies: Arc::new(set),
            providers: compiled,
            engines,
            mesh,
            descriptors: None,
            counts,
            key_changes: 0,
            basis,
        })
    }

    /// What this was made from.
    #[must_use]
    pub(super) fn basis(&self) -> &Basis {
        &self.basis
    }

    /// The files that resources name.
    pub(super) fn referenced(&self) -> impl Iterator<Item = &Path> {
        self.basis.references.paths()
    }

    /// Takes the keys that were kept before a restart.
    #[must_use]
    pub(super) fn restore(mut self, store: &KeyStore, now: SystemTime) -> Self {
        self.providers = self.providers.restore(store, now);
        self
    }

    /// Reads messages by these descriptors.
    #[must_use]
    pub(super) fn with_descriptors(self, descriptors: Option<Arc<Descriptors>>) -> Self {
        Self { descriptors, ..self }
    }

    /// Takes over the keys of providers that did not change, and what does not stand in resource files.
    #[must_use]
    pub fn inherit_keys(mut self, old: &Self) -> Self {
        self.descriptors.clone_from(&old.descriptors);
        self.providers = self.providers.inherit_keys(&old.providers);
        self
    }

    /// The same rules with new keys of one provider; nothing when they would change nothing.
    #[must_use]
    pub fn with_update(&self, update: &crate::authn::KeyUpdate) -> Option<Self> {
        let providers = self.providers.with_update(update)?;
        Some(Self { providers, key_changes: self.key_changes + 1, ..self.clone() })
    }

    /// The revision: what the files hold, and how often keys changed since.
    #[must_use]
    pub fn revision(&self) -> String {
        format!("{}.{}", self.digest, self.key_changes)
    }

    /// A snapshot for the gate.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let (policies, mesh) = (Arc::clone(&self.policies), Arc::clone(&self.mesh));
        Snapshot::new(self.revision(), policies, self.providers.clone())
            .in_mesh(mesh)
            .with_descriptors(self.descriptors.clone())
            .with_engines(self.engines.clone())
    }

    /// What holds for the whole mesh.
    #[must_use]
    pub(super) fn mesh(&self) -> &MeshPolicySpec {
        &self.mesh
    }

    /// Whose tokens count.
    #[must_use]
    pub fn providers(&self) -> &Providers {
        &self.providers
    }

    /// How many there are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A name of what the files hold.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// The resource files under `paths`, each with its name, as a sidecar would read them.
///
/// # Errors
/// When a file cannot be read.
pub fn resource_texts(paths: &[PathBuf]) -> Result<Vec<(String, String)>, InvalidResources> {
    Texts::read(paths).map(|texts| texts.files)
}

/// The identity providers of all resource files, whatever their namespace: for looking at one credential.
///
/// # Errors
/// When a file cannot be read or a resource does not parse.
pub fn identity_providers(paths: &[PathBuf]) -> Result<Vec<IdentityProvider>, InvalidResources> {
    let mut providers = Vec::new();
    for (source, text) in &Texts::read(paths)?.files {
        for resource in policy::parse(source, text)? {
            match resource {
                Resource::IdentityProvider(provider) => providers.push(provider),
                Resource::AccessPolicy(_) | Resource::MeshPolicy(_) | Resource::PolicyEngine(_) => {
                }
            }
        }
    }
    Ok(providers)
}

/// The MeshPolicy of all resource files; nothing where there is none.
///
/// # Errors
/// When a file cannot be read, a resource does not parse, or there are two.
pub fn mesh_policy(paths: &[PathBuf]) -> Result<Option<MeshPolicy>, InvalidResources> {
    let mut found: Option<MeshPolicy> = None;
    for (source, text) in &Texts::read(paths)?.files {
        for resource in policy::parse(source, text)? {
            let Resource::MeshPolicy(policy) = resource else { continue };
            if let Some(first) = &found {
                let (first, second) = (first.origin().to_string(), policy.origin().to_string());
                return Err(InvalidResources::SecondMeshPolicy { first, second });
            }
            found = Some(policy);
        }
    }
    Ok(found)
}

/// What is removed as a credential could not be set as an identity: Envoy removes last.
fn refuse_shared_header(set: &PolicySet, providers: &Providers) -> Result<(), InvalidResources> {
    let presentation = set.presentation();
    let taken = providers.credential_names().headers;
    let shared = [&presentation.user_header, &presentation.peer_header]
        .into_iter()
        .find(|name| taken.iter().any(|credential| credential == *name));
    shared.map_or(Ok(()), |name| Err(InvalidResources::Header(name.clone())))
}

/// A short name of all that was read. Where it was read does not matter: who looks at the same resources under another
/// path, such as `hopgate explain`, knows by it that they are the same.
fn short_name(texts: &str, referenced: &[u8]) -> String {
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    hash.update(texts.as_bytes());
    hash.update(referenced);
    hash.finish().as_ref().iter().take(6).map(|b| format!("{b:02x}")).collect()
}
