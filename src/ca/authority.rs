//! The root and the issuing key, and the one function that signs for a workload.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rcgen::CertificateParams;
use rustls::pki_types::CertificateDer;

use crate::identity::{
    InvalidBundle, InvalidKey, InvalidSpiffeId, InvalidSvid, Leaf, PrivateKey, SpiffeId,
    TrustBundle, TrustDomain, X509Svid,
};
use crate::runtime::{FileError, read_limited, read_secret};

use super::attest::{Attestation, Attested, own_identity};
use super::csr::{InvalidRequest, SigningRequest};
use super::profile::{self, Lifetime, ProfileError};
use super::signer::{Certificate, Signer, key, mint, mint_issuing, pem};
use super::store::{ISSUING, ISSUING_KEY, MAX_PEM, ROOT, ROOT_KEY, Store, StoreError};
use super::token::{PendingToken, TokenRefused, TokenStore};

/// A certificate authority of one trust domain.
pub struct Authority {
    bundle: TrustBundle,
    root: Certificate,
    signer: ArcSwap<Signer>,
    keeper: Keeper,
}

/// Files of an authority that the operator supplies. The root's key may stay offline.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SuppliedFiles {
    /// The root certificate.
    pub root: PathBuf,
    /// The issuing certificate, signed by the root.
    pub certificate: PathBuf,
    /// Its key, mode 0600.
    pub key: PathBuf,
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
}

/// An authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its directory is at fault.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file is at fault.
    #[error(transparent)]
    File(#[from] FileError),
    /// One file does not hold what it should.
    #[error("{file}: {problem}")]
    Damaged {
        /// Which file.
        file: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A key cannot be used.
    #[error("{file}")]
    Key {
        /// Which file.
        file: &'static str,
        /// Why.
        #[source]
        source: InvalidKey,
    },
    /// The authority was made for another trust domain.
    #[error("{file} is of trust domain {found:?}, not {expected}")]
    OtherDomain {
        /// Which file.
        file: &'static str,
        /// What it names.
        found: String,
        /// What the configuration names.
        expected: TrustDomain,
    },
    /// The root is no trust anchor.
    #[error(transparent)]
    Bundle(#[from] InvalidBundle),
    /// A certificate cannot be drawn up.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A certificate cannot be signed.
    #[error("cannot sign")]
    Sign(#[source] rcgen::Error),
    /// What was signed does not verify: the authority's certificates contradict each other.
    #[error("what this authority signs does not verify")]
    Unverifiable(#[source] InvalidSvid),
    /// The control plane's own name cannot stand in a SPIFFE ID.
    #[error("the control plane's own identity {0}")]
    OwnIdentity(#[source] InvalidSpiffeId),
}

/// Why nothing is signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The request contradicts what was proven.
    #[error(transparent)]
    Request(#[from] InvalidRequest),
    /// The authority fails.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// A signed certificate that nobody has seen yet: its join token must be used up first.
pub struct Unreleased {
    issued: Issued,
    token: Option<PendingToken>,
}

/// A certificate that may be handed out.
#[derive(Debug)]
pub struct Issued {
    leaf: Leaf,
    attestation: Attestation,
    chain: [CertificateDer<'static>; 3],
}

enum Keeper {
    Own { store: Store, root_key: PrivateKey },
    Operator,
}

impl Authority {
    /// Opens the authority in `directory`, or makes one if the directory is absent or empty.
    ///
    /// # Errors
    /// When the directory is in use, exposed, partial or damaged. A new root is never made over an old one.
    pub fn open(
        directory: &Path,
        domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let store = Store::open(directory)?;
        let files = match store.read()? {
            Some(files) => files,
            None => {
                mint(&store, domain, now)?;
                store.read()?.ok_or(AuthorityError::Damaged { file: ROOT, problem: "is gone" })?
            }
        };
        let root_key = key(ROOT_KEY, &files.root_key)?;
        let root = Certificate::authority(ROOT, &files.root, domain)?;
        root.must_fit(ROOT, ROOT_KEY, &root_key)?;
        let signer = Signer::new(&files.issuing, &key(ISSUING_KEY, &files.issuing_key)?, domain)?;
        let authority = Self::assemble(root, signer, Keeper::Own { store, root_key }, domain, now)?;
        authority.upkeep(now)?;
        authority.self_test(now)?;
        Ok(authority)
    }

    /// Opens an authority that the operator supplies.
    ///
    /// # Errors
    /// When a file is missing, exposed or does not fit the others.
    pub fn supplied(
        files: &SuppliedFiles,
        domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let SuppliedFiles { root, certificate, key: key_file } = files;
        let root = Certificate::authority(ROOT, &read_limited(root, MAX_PEM)?, domain)?;
        let issuing_key = key(ISSUING_KEY, &read_secret(key_file, MAX_PEM)?)?;
        let signer = Signer::new(&read_limited(certificate, MAX_PEM)?, &issuing_key, domain)?;
        let authority = Self::assemble(root, signer, Keeper::Operator, domain, now)?;
        authority.self_test(now)?;
        Ok(authority)
    }

    /// The trust domain and its root.
    #[must_use]
    pub fn bundle(&self) -> &TrustBundle {
        &self.bundle
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
        request.check_names(attested.id())?;
        let (id, attestation, token) = attested.into_parts();
        let signer = self.signer.load();
        let params = self.leaf_params(&signer, &id, lifetime, now)?;
        let der = signer.sign(&params, request.public_key())?;
        let leaf = Leaf::parse(&der).map_err(|e| AuthorityError::Unverifiable(e.into()))?;
        let chain = [der, signer.certificate.der.clone(), self.root.der.clone()];
        Ok(Unreleased { issued: Issued { leaf, attestation, chain }, token })
    }

    /// A new certificate and key for the control plane itself, which also carries `names` (DNS names and
    /// IP addresses).
    ///
    /// # Errors
    /// When a name cannot stand in a certificate, or the authority cannot sign.
    pub fn own_certificate(
        &self,
        names: &[String],
        lifetime: Lifetime,
        now: SystemTime,
    ) -> Result<X509Svid, AuthorityError> {
        let id = own_identity(self.bundle.domain()).map_err(AuthorityError::OwnIdentity)?;
        let failed = |source| AuthorityError::Key { file: "the control plane's own key", source };
        let key = PrivateKey::generate().map_err(failed)?;
        let signer = self.signer.load();
        let params = profile::server(self.leaf_params(&signer, &id, lifetime, now)?, names)?;
        let der = signer.sign(&params, &key.to_key_pair().map_err(failed)?)?;
        let chain = vec![der, signer.certificate.der.clone()];
        X509Svid::new(chain, key, &self.bundle, now).map_err(AuthorityError::Unverifiable)
    }

    /// Replaces the issuing certificate once two thirds of its life are over. Certificates that the old
    /// one signed stay good: they carry it with them.
    ///
    /// # Errors
    /// When the new one cannot be signed or stored; the old one then stays.
    pub fn upkeep(&self, now: SystemTime) -> Result<Upkeep, AuthorityError> {
        let window = self.signer.load().certificate.window;
        let life = window.not_after.duration_since(window.not_before).unwrap_or(Duration::ZERO);
        let left = window.not_after.duration_since(now).unwrap_or(Duration::ZERO);
        // An issuing certificate that ends with its root cannot be improved.
        if left > life / 3 || (window.not_after == self.root.window.not_after && !left.is_zero()) {
            return Ok(Upkeep::NothingDue);
        }
        let Keeper::Own { store, root_key } = &self.keeper else {
            return Ok(Upkeep::OperatorMustReplace);
        };
        let domain = self.bundle.domain();
        let (certificate, key) = mint_issuing((&self.root, root_key), domain, now)?;
        store.commit(&[(ISSUING, &certificate), (ISSUING_KEY, &key.to_pem())])?;
        self.signer.store(Arc::new(Signer::new(&certificate, &key, domain)?));
        Ok(Upkeep::Replaced)
    }

    fn assemble(
        root: Certificate,
        signer: Signer,
        keeper: Keeper,
        domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        if now > root.window.not_after {
            return Err(AuthorityError::Damaged { file: ROOT, problem: "the root is expired" });
        }
        let bundle = TrustBundle::new(domain.clone(), vec![root.der.clone()])?;
        Ok(Self { bundle, root, signer: ArcSwap::from_pointee(signer), keeper })
    }

    /// Signs a certificate for itself and verifies it as a stranger would. Whatever does not fit between
    /// root, issuing certificate and keys is found here, not by the first workload.
    fn self_test(&self, now: SystemTime) -> Result<(), AuthorityError> {
        self.own_certificate(&[], Lifetime::DEFAULT, now).map(drop)
    }

    fn leaf_params(
        &self,
        signer: &Signer,
        id: &SpiffeId,
        lifetime: Lifetime,
        now: SystemTime,
    ) -> Result<CertificateParams, AuthorityError> {
        let chain = signer.certificate.window.intersect(self.root.window);
        Ok(profile::leaf(id, lifetime, chain, now)?)
    }
}

impl Unreleased {
    /// Uses up the join token, if there was one, and only then gives the certificate.
    ///
    /// # Errors
    /// When another use of the token came first.
    pub fn release(self, tokens: &TokenStore) -> Result<Issued, TokenRefused> {
        if let Some(token) = &self.token {
            tokens.consume(token)?;
        }
        Ok(self.issued)
    }
}

impl Issued {
    /// What stands in the leaf.
    #[must_use]
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// By what the workload proved itself.
    #[must_use]
    pub fn attestation(&self) -> Attestation {
        self.attestation
    }

    /// Leaf, issuing certificate and root, each as PEM.
    #[must_use]
    pub fn chain_pem(&self) -> Vec<String> {
        self.chain.iter().map(|der| pem(der)).collect()
    }
}
