//! The authority of one trust domain: its generations of root, issuing key and JWT key, and the one function that signs
//! for a workload.

mod change;
mod current;
mod enrol;
mod error;
mod issued;
mod mint;
mod open;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::identity::{
    Bundles, JwtBundle, Leaf, PrivateKey, SpiffeId, TrustBundle, TrustDomain, X509Svid,
};

use super::attest::Attested;
use super::csr::SigningRequest;
use super::enrolment::Terms;
use super::jwt::JwtSigner;
use super::profile::{self, Lifetime};
use super::state::State;
use super::supplied::SuppliedFiles;
use super::vault::Vault;
use super::verifier::FollowingVerifier;

pub use enrol::{Enrolled, Opened, Waiting};
pub use error::{AuthorityError, SignError};
pub use issued::{Issued, Unreleased};
pub use mint::{MintError, MintedJwtSvid};

use current::Current;

/// With less left than this an authority signs nothing.
const LAST: Duration = Duration::from_secs(60);

/// A certificate authority of one trust domain. Its methods that change it or sign may block: its vault is written.
pub struct Authority {
    domain: TrustDomain,
    keeper: Keeper,
    current: ArcSwap<Current>,
    /// Held while the authority is changed: changes are made one after the other.
    changing: Mutex<()>,
    trust: watch::Sender<Arc<Trust>>,
}

/// Whom to trust now, and what sidecars are to do about their certificates. Every change of it is announced.
#[derive(Debug, Clone, PartialEq)]
pub struct Trust {
    /// The trusted roots and the JWT-SVID keys of this trust domain.
    pub bundles: Bundles,
    /// Grows with each change of the bundles, over restarts too.
    pub sequence: u64,
    /// Leaves that must be replaced, while there is such an order.
    pub reissue: Option<Reissue>,
    /// The authority's key identifier in the leaves that are signed now, in lower-case hexadecimal.
    pub active_key_id: String,
}

/// An order to replace leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reissue {
    /// A leaf obtained before this moment is due.
    pub issued_before: SystemTime,
    /// Over which time the sidecars spread their renewals.
    pub within: Duration,
}

/// What happened when the authority looked after itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upkeep {
    /// The issuing certificate is good for long.
    NothingDue,
    /// It came near its end and was replaced.
    Replaced,
    /// It comes near its end, and only the operator can replace it.
    OperatorMustReplace,
    /// It comes near its end, and the authority that signs for this one must be asked.
    OtherMustSign,
}

enum Keeper {
    Vault(Box<dyn Vault>),
    /// A vault, with issuing certificates that another authority signs.
    Enrolled(Box<dyn Vault>, Terms),
    Operator(SuppliedFiles),
}

impl Keeper {
    fn vault(&self) -> Option<&dyn Vault> {
        match self {
            Self::Vault(vault) | Self::Enrolled(vault, _) => Some(&**vault),
            Self::Operator(_) => None,
        }
    }
}

impl Authority {
    /// The trust domain.
    #[must_use]
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The roots that are trusted now, the active one first.
    #[must_use]
    pub fn bundle(&self) -> TrustBundle {
        self.trust.borrow().bundles.own().clone()
    }

    /// The keys of JWT-SVIDs that are trusted now, the active one first.
    #[must_use]
    pub fn jwt_bundle(&self) -> JwtBundle {
        let trust = self.trust.borrow();
        let keys = trust.bundles.jwt_of(&self.domain);
        keys.cloned().unwrap_or_else(|| JwtBundle::empty(self.domain.clone()))
    }

    /// Whom to trust, now and whenever it changes.
    #[must_use]
    pub fn trust(&self) -> watch::Receiver<Arc<Trust>> {
        self.trust.subscribe()
    }

    /// Verifies client certificates against the roots that are trusted at the time of each handshake.
    ///
    /// # Errors
    /// When the roots of now make no verifier.
    pub fn client_verifier(
        &self,
    ) -> Result<Arc<FollowingVerifier>, rustls::server::VerifierBuilderError> {
        FollowingVerifier::new(self.trust()).map(Arc::new)
    }

    /// The key that signs JWT-SVIDs now. Ask for it at each use: it changes with the root.
    #[must_use]
    pub fn jwt_signer(&self) -> Arc<JwtSigner> {
        Arc::clone(&self.current.load().active.jwt)
    }

    /// The authority's key identifier in the leaves that are signed now, in lower-case hexadecimal.
    #[must_use]
    pub fn active_key_id(&self) -> String {
        self.current.load().active.signer.key_id.clone()
    }

    /// As [`Authority::active_key_id`], in what [`Authority::own_certificate`] makes now.
    #[must_use]
    pub fn own_key_id(&self) -> String {
        self.current.load().oldest_trusted().signer.key_id.clone()
    }

    /// The generations, and how far a change of the root is.
    #[must_use]
    pub fn state(&self) -> State {
        self.current.load().state.clone()
    }

    /// False when an issuing certificate that is needed has ended, or is about to.
    #[must_use]
    pub fn can_sign(&self, now: SystemTime) -> bool {
        let current = self.current.load();
        [&current.active, current.oldest_trusted()]
            .iter()
            .all(|held| now.checked_add(LAST).is_some_and(|soon| soon < held.window().not_after))
    }

    /// Signs for a proven workload. Of the request only the public key is used.
    ///
    /// # Errors
    /// When the request asks for another identity, or the authority cannot sign.
    pub fn sign(
        &self,
        attested: Attested,
        request: &SigningRequest,
        lifetime: Lifetime,
        now: SystemTime,
    ) -> Result<Unreleased, SignError> {
        request.check_names(attested.id(), attested.dns_names())?;
        let dns_names = attested.dns_names().to_vec();
        let (id, attestation, token) = attested.into_parts();
        self.remember_lifetime(lifetime, now)?;
        let current = self.current.load();
        let generation = &current.active;
        let params = generation.leaf(&id, lifetime, now)?;
        let params = profile::server(params, &dns_names).map_err(AuthorityError::from)?;
        let der = generation.signer.sign(&params, request.public_key())?;
        let leaf = Leaf::parse(&der).map_err(|e| AuthorityError::Unverifiable(e.into()))?;
        let mut chain = vec![der, generation.signer.certificate.der.clone()];
        chain.extend(generation.between.iter().map(|between| between.der.clone()));
        chain.push(generation.root.der.clone());
        Ok(Unreleased::new(Issued::new(leaf, attestation, chain), token))
    }

    /// A new certificate and key for the control plane itself, which also carries `names` (DNS names and IP addresses).
    /// During a change of the root the oldest trusted generation signs it: who knows but the old root still gets in.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate, or the authority cannot sign.
    pub fn own_certificate(
        &self,
        names: &[String],
        lifetime: Lifetime,
        now: SystemTime,
    ) -> Result<X509Svid, AuthorityError> {
        self.remember_lifetime(lifetime, now)?;
        self.current.load().own_certificate((&self.domain, names), lifetime, now)
    }
}

impl Current {
    fn own_certificate(
        &self,
        (domain, names): (&TrustDomain, &[String]),
        lifetime: Lifetime,
        now: SystemTime,
    ) -> Result<X509Svid, AuthorityError> {
        let id = SpiffeId::control_plane(domain).map_err(AuthorityError::OwnIdentity)?;
        let failed =
            |source| AuthorityError::Key { file: "the control plane's own key".to_owned(), source };
        let key = PrivateKey::generate().map_err(failed)?;
        let generation = self.oldest_trusted();
        let params = profile::server(generation.leaf(&id, lifetime, now)?, names)?;
        let der = generation.signer.sign(&params, &key.to_key_pair().map_err(failed)?)?;
        let mut chain = vec![der, generation.signer.certificate.der.clone()];
        chain.extend(generation.between.iter().map(|between| between.der.clone()));
        X509Svid::new(chain, key, &self.bundle(domain)?, now).map_err(AuthorityError::Unverifiable)
    }
}
