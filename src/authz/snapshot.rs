//! Everything one decision rests on, immutable and replaced whole.

use std::sync::Arc;

use super::body::Descriptors;
use super::challenge::Challenges;
use super::engine::EngineSet;
use super::presentation::Presentation;
use crate::authn::{CredentialNames, Providers};
use crate::policy::{MeshPolicySpec, PolicySet};

/// Rules and keys under one revision.
#[derive(Debug)]
pub struct Snapshot {
    revision: String,
    policies: Arc<PolicySet>,
    providers: Providers,
    presentation: Presentation,
    challenges: Challenges,
    mesh: Arc<MeshPolicySpec>,
    descriptors: Option<Arc<Descriptors>>,
    engines: EngineSet,
    /// Where credentials may stand.
    credentials: CredentialNames,
}

impl Snapshot {
    /// Joins what was compiled, in a mesh without a MeshPolicy. `revision` names it in answers, records and metrics.
    #[must_use]
    pub fn new(revision: String, policies: Arc<PolicySet>, providers: Providers) -> Self {
        let credentials = providers.credential_names();
        let presentation = Presentation::new(policies.presentation(), credentials.clone());
        let challenges = Challenges::new(&providers.schemes());
        let mesh = Arc::new(MeshPolicySpec::absent());
        let engines = EngineSet::default();
        Self {
            revision,
            policies,
            providers,
            presentation,
            challenges,
            mesh,
            descriptors: None,
            engines,
            credentials,
        }
    }

    /// The same with these engines, which its rules may ask.
    #[must_use]
    pub fn with_engines(self, engines: EngineSet) -> Self {
        Self { engines, ..self }
    }

    /// The same in this mesh.
    #[must_use]
    pub fn in_mesh(self, mesh: Arc<MeshPolicySpec>) -> Self {
        Self { mesh, ..self }
    }

    /// The name of this snapshot.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The rules.
    #[must_use]
    pub fn policies(&self) -> &PolicySet {
        &self.policies
    }

    /// Whose tokens count.
    #[must_use]
    pub fn providers(&self) -> &Providers {
        &self.providers
    }

    /// The same, able to read messages of these gRPC services.
    #[must_use]
    pub fn with_descriptors(self, descriptors: Option<Arc<Descriptors>>) -> Self {
        Self { descriptors, ..self }
    }

    pub(super) fn descriptors(&self) -> Option<&Descriptors> {
        self.descriptors.as_deref()
    }

    /// What holds for the whole mesh.
    #[must_use]
    pub fn mesh(&self) -> &MeshPolicySpec {
        &self.mesh
    }

    /// Other engines, and the names under which the request holds what they need not be told.
    pub(super) fn engines(&self) -> (&EngineSet, &CredentialNames) {
        (&self.engines, &self.credentials)
    }

    pub(super) fn challenges(&self) -> &Challenges {
        &self.challenges
    }

    pub(super) fn presentation(&self) -> &Presentation {
        &self.presentation
    }
}
