//! What is in force: a state together with the material that it names. It is replaced as a whole.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;

use crate::ca::enrolment::Enrolment;
use crate::ca::generation::Generation;
use crate::ca::profile::Lifetime;
use crate::ca::state::{Phase, State, at};
use crate::ca::vault::{Files, Version};
use crate::identity::{Bundles, JwtBundle, TrustBundle, TrustDomain};

use super::{AuthorityError, Reissue, Trust};

/// A state with its material.
pub(super) struct Current {
    pub(super) state: State,
    /// Which content of the vault this is.
    pub(super) version: Version,
    /// The files of the state, as they are kept.
    pub(super) files: Files,
    /// The generation that signs.
    pub(super) active: Arc<Generation>,
    /// Every generation that is not retired, oldest first.
    pub(super) generations: Vec<Arc<Generation>>,
    /// Further trusted roots, which the operator supplies.
    pub(super) others: Vec<CertificateDer<'static>>,
}

impl Current {
    /// Reads the material of `state` out of `files` and tries it: whatever does not fit is found here, not by the first
    /// workload.
    pub(super) fn read(
        state: State,
        mut files: Files,
        (place, domain): (&str, &TrustDomain),
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let mut generations = Vec::new();
        let mut active = None;
        for record in state.generations.iter().filter(|r| r.phase != Phase::Retired) {
            let generation = Arc::new(Generation::read(record, &files, (place, domain))?);
            if record.phase == Phase::Active {
                active = Some(Arc::clone(&generation));
            }
            generations.push(generation);
        }
        let ordered = state.enrolment.as_ref().map(Enrolment::key_file);
        if let Some(enrolment) = &state.enrolment {
            enrolment.key(&files)?;
        }
        files.retain(|name, _| {
            ordered.as_ref() == Some(name)
                || state.generations.iter().any(|r| r.files.contains_key(name))
        });
        let active = active.ok_or(AuthorityError::Damaged {
            file: "state".to_owned(),
            problem: "has no active generation",
        })?;
        if now > active.root.window.not_after {
            let file = format!("{}.root.pem", active.number);
            return Err(AuthorityError::Damaged { file, problem: "the root is expired" });
        }
        let version = Version::Absent;
        Ok(Self { state, version, files, active, generations, others: Vec::new() })
    }

    /// The same, as it stands in the vault.
    pub(super) fn at(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// Signs for itself with each generation that signs, and verifies it as a stranger would.
    pub(super) fn try_out(
        &self,
        domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<(), AuthorityError> {
        for generation in [&self.active, self.oldest_trusted()] {
            Self::probe(generation, domain, now)?;
        }
        Ok(())
    }

    /// The oldest generation that is trusted: what it signs, everybody verifies.
    pub(super) fn oldest_trusted(&self) -> &Arc<Generation> {
        let number = self.state.oldest_trusted().map(|record| record.number);
        let found = self.generations.iter().find(|held| Some(held.number) == number);
        found.unwrap_or(&self.active)
    }

    pub(super) fn generation(&self, number: u32) -> Option<&Arc<Generation>> {
        self.generations.iter().find(|held| held.number == number)
    }

    /// The trusted roots, the active one first.
    pub(super) fn bundle(&self, domain: &TrustDomain) -> Result<TrustBundle, AuthorityError> {
        let mut roots = vec![self.active.root.der.clone()];
        roots.extend(self.trusted().map(|held| held.root.der.clone()));
        roots.extend(self.others.iter().cloned());
        Ok(TrustBundle::new(domain.clone(), roots)?)
    }

    /// What is announced of this.
    pub(super) fn trust(&self, domain: &TrustDomain) -> Result<Trust, AuthorityError> {
        let mut keys = vec![self.active.jwt.public().clone()];
        for held in self.trusted().filter(|held| held.number != self.active.number) {
            keys.push(held.jwt.public().clone());
        }
        let bundles =
            Bundles::new(self.bundle(domain)?).with_jwt(JwtBundle::new(domain.clone(), keys)?);
        Ok(Trust {
            bundles,
            sequence: self.state.sequence,
            reissue: self.state.reissue.map(|order| Reissue {
                issued_before: at(order.issued_before),
                within: Duration::from_secs(order.within.into()),
            }),
            active_key_id: self.active.signer.key_id.clone(),
        })
    }

    fn trusted(&self) -> impl Iterator<Item = &Arc<Generation>> {
        self.generations.iter().filter(|held| {
            self.state.generation(held.number).is_some_and(|record| record.phase.is_trusted())
        })
    }

    /// Signs for itself, and verifies it as a stranger would.
    pub(super) fn probe(
        generation: &Generation,
        domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<(), AuthorityError> {
        use crate::identity::{PrivateKey, SpiffeId, X509Svid};
        let id = SpiffeId::control_plane(domain).map_err(AuthorityError::OwnIdentity)?;
        let failed =
            |source| AuthorityError::Key { file: "a key to try it out".to_owned(), source };
        let key = PrivateKey::generate().map_err(failed)?;
        let params = generation.leaf(&id, Lifetime::DEFAULT, now)?;
        let der = generation.signer.sign(&params, &key.to_key_pair().map_err(failed)?)?;
        let mut chain = vec![der, generation.signer.certificate.der.clone()];
        chain.extend(generation.between.iter().map(|between| between.der.clone()));
        // Against its own root alone: that it verifies with the help of another one proves nothing.
        let root = TrustBundle::new(domain.clone(), vec![generation.root.der.clone()])?;
        X509Svid::new(chain, key, &root, now).map(drop).map_err(AuthorityError::Unverifiable)
    }
}
