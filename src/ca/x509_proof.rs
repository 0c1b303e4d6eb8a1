//! Client certificates of foreign authorities: a machine that already has a certificate from somebody else gets a
//! workload's from us, if the configuration maps a name in it to that workload, exactly.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, RootCertStore};
use serde::Deserialize;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::identity::{SpiffeId, TrustBundle, TrustDomain};
use crate::runtime::{FileError, read_limited};

use super::token::{InvalidWorkload, workload_id};

const MAX_ROOTS: u64 = 1024 * 1024;

/// A foreign authority, and for whom its certificates speak.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct X509Proof {
    /// A name for logs and refusals.
    pub name: String,
    /// Its roots (PEM).
    pub ca_file: PathBuf,
    /// Which certificate is which workload.
    pub workloads: Vec<X509Mapping>,
}

/// One certificate name and its workload.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct X509Mapping {
    /// What must stand in the certificate.
    pub certificate: X509Name,
    /// The workload, `ns/<namespace>/sa/<service account>`.
    pub workload: String,
}

/// A name in a certificate. Compared whole; nothing in it is a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum X509Name {
    /// A DNS SAN, without regard to case.
    Dns(String),
    /// A URI SAN, byte for byte.
    Uri(String),
    /// An email SAN, byte for byte.
    Email(String),
    /// The whole subject: each of these attributes once, and no other.
    Subject(BTreeMap<SubjectAttribute, String>),
}

/// Attributes of a subject that a mapping can name (RFC 4519).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum SubjectAttribute {
    /// commonName.
    #[serde(rename = "CN")]
    CommonName,
    /// organizationName.
    #[serde(rename = "O")]
    Organization,
    /// organizationalUnitName.
    #[serde(rename = "OU")]
    OrganizationalUnit,
    /// countryName.
    #[serde(rename = "C")]
    Country,
    /// stateOrProvinceName.
    #[serde(rename = "ST")]
    State,
    /// localityName.
    #[serde(rename = "L")]
    Locality,
    /// serialNumber: of the machine, not of the certificate.
    #[serde(rename = "serialNumber")]
    SerialNumber,
}

/// A foreign authority cannot be used as configured.
#[derive(Debug, thiserror::Error)]
#[error("attest.x509 {name:?}: {problem}")]
pub struct InvalidX509Proof {
    name: String,
    #[source]
    problem: X509Problem,
}

/// What is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum X509Problem {
    /// A name is needed, and may stand for one authority only.
    #[error("name must not be empty and not be used twice")]
    Name,
    /// The roots cannot be read.
    #[error("caFile: {0}")]
    File(#[from] FileError),
    /// The file holds something else.
    #[error("caFile holds no PEM certificates, or one that is no trust anchor")]
    Roots,
    /// Our own root is no foreign one: its certificates prove workloads without a mapping.
    #[error("caFile holds this authority's own root; its certificates need no mapping")]
    OwnRoot,
    /// No verifier can be made of the roots.
    #[error("caFile: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// Nothing is mapped.
    #[error("workloads: at least one is needed")]
    NoWorkloads,
    /// A name that no certificate carries, or a pattern.
    #[error("workloads[{0}].certificate: an empty name, or a * (names are compared whole)")]
    CertificateName(usize),
    /// Two workloads for one name.
    #[error("workloads[{0}].certificate is mapped before")]
    Twice(usize),
    /// The workload is none.
    #[error("workloads[{index}].workload: {source}")]
    Workload {
        /// Which mapping.
        index: usize,
        /// Why.
        source: InvalidWorkload,
    },
    /// Nobody becomes the control plane.
    #[error("workloads[{0}].workload is reserved for the control plane")]
    Reserved(usize),
}

/// Why a foreign certificate proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum X509Refused {
    /// It chains to this authority, but is not valid now, not a leaf, or made for something else.
    #[error("client certificate of {authority} not trusted")]
    NotTrusted {
        /// The authority's name in the configuration.
        authority: String,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// It does not say that it is made for clients.
    #[error("client certificate of {0} is not made for clients (extended key usage clientAuth)")]
    NoClientAuth(String),
    /// What stands in it cannot be read.
    #[error("client certificate of {0} is not readable")]
    Unreadable(String),
    /// The configuration maps none of its names.
    #[error("client certificate of {0} is mapped to no workload")]
    Unmapped(String),
    /// The configuration maps its names to different workloads.
    #[error("client certificate of {0} is mapped to more than one workload")]
    Ambiguous(String),
}

/// A foreign authority that is ready to verify.
#[derive(Clone)]
pub struct ForeignAuthority {
    name: String,
    verifier: Arc<dyn ClientCertVerifier>,
    mappings: Vec<(X509Name, SpiffeId)>,
}

impl X509Proof {
    /// Makes a relative path relative to `base`, the directory of the configuration file.
    pub fn resolve(&mut self, base: &Path) {
        self.ca_file = base.join(&self.ca_file);
    }

    /// Reads the roots and checks all authorities together, for the workloads of the trust domain of `own`.
    ///
    /// # Errors
    /// When one of them cannot work, or could be taken for another.
    pub fn open(
        all: &[Self],
        own: &TrustBundle,
    ) -> Result<Vec<ForeignAuthority>, InvalidX509Proof> {
        let mut opened: Vec<ForeignAuthority> = Vec::with_capacity(all.len());
        for proof in all {
            let invalid = |problem| InvalidX509Proof { name: proof.name.clone(), problem };
            if proof.name.is_empty() || opened.iter().any(|other| other.name == proof.name) {
                return Err(invalid(X509Problem::Name));
            }
            opened.push(proof.read(own).map_err(invalid)?);
        }
        Ok(opened)
    }

    fn read(&self, own: &TrustBundle) -> Result<ForeignAuthority, X509Problem> {
        let text = read_limited(&self.ca_file, MAX_ROOTS)?;
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let root = root.map_err(|_| X509Problem::Roots)?;
            if own.roots().contains(&root) {
                return Err(X509Problem::OwnRoot);
            }
            roots.add(root).map_err(|_| X509Problem::Roots)?;
        }
        if roots.is_empty() {
            return Err(X509Problem::Roots);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        let mappings = self.mappings(own.domain())?;
        Ok(ForeignAuthority { name: self.name.clone(), verifier, mappings })
    }

    fn mappings(&self, domain: &TrustDomain) -> Result<Vec<(X509Name, SpiffeId)>, X509Problem> {
        if self.workloads.is_empty() {
            return Err(X509Problem::NoWorkloads);
        }
        let mut mappings: Vec<(X509Name, SpiffeId)> = Vec::with_capacity(self.workloads.len());
        for (index, mapping) in self.workloads.iter().enumerate() {
            let name = mapping.certificate.checked().ok_or(X509Problem::CertificateName(index))?;
            if mappings.iter().any(|(other, _)| *other == name) {
                return Err(X509Problem::Twice(index));
            }
            let workload = workload_id(domain, &mapping.workload)
                .map_err(|source| X509Problem::Workload { index, source })?;
            if super::is_reserved(&workload) {
                return Err(X509Problem::Reserved(index));
            }
            mappings.push((name, workload));
        }
        Ok(mappings)
    }
}

impl X509Name {
    /// In the form that certificates are compared in; nothing if no certificate can carry it.
    fn checked(&self) -> Option<Self> {
        let plain = |text: &str| !text.is_empty() && !text.contains('*');
        match self {
            Self::Dns(name) => plain(name).then(|| Self::Dns(name.to_ascii_lowercase())),
            Self::Uri(text) | Self::Email(text) => plain(text).then(|| self.clone()),
            Self::Subject(attributes) => {
                let whole = !attributes.is_empty() && attributes.values().all(|v| !v.is_empty());
                whole.then(|| self.clone())
            }
        }
    }
}

impl ForeignAuthority {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn verifier(&self) -> &Arc<dyn ClientCertVerifier> {
        &self.verifier
    }

    /// The workload of a certificate. `Ok(None)`: this authority did not sign it.
    pub(super) fn certified(
        &self,
        (leaf, intermediates): (&CertificateDer<'_>, &[CertificateDer<'_>]),
        now: SystemTime,
    ) -> Result<Option<SpiffeId>, X509Refused> {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        match self.verifier.verify_client_cert(
            leaf,
            intermediates,
            UnixTime::since_unix_epoch(since),
        ) {
            Ok(_) => {}
            Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                return Ok(None);
            }
            Err(source) => {
                return Err(X509Refused::NotTrusted { authority: self.name.clone(), source });
            }
        }
        let unreadable = || X509Refused::Unreadable(self.name.clone());
        let (rest, parsed) = X509Certificate::from_der(leaf).map_err(|_| unreadable())?;
        if !rest.is_empty() {
            return Err(unreadable());
        }
        // The verifier takes a certificate without this extension for one that may do everything.
        let usage = parsed.extended_key_usage().map_err(|_| unreadable())?;
        if !usage.is_some_and(|usage| usage.value.client_auth) {
            return Err(X509Refused::NoClientAuth(self.name.clone()));
        }
        let names = names(&parsed).ok_or_else(unreadable)?;
        let mut mapped = self
            .mappings
            .iter()
            .filter(|(name, _)| names.contains(name))
            .map(|(_, workload)| workload);
        let first = mapped.next().ok_or_else(|| X509Refused::Unmapped(self.name.clone()))?;
        if mapped.any(|other| other != first) {
            return Err(X509Refused::Ambiguous(self.name.clone()));
        }
        Ok(Some(first.clone()))
    }
}

impl fmt::Debug for ForeignAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignAuthority").field("name", &self.name).finish_non_exhaustive()
    }
}

/// All names of a certificate that a mapping could be for. `None`: they cannot be read.
fn names(certificate: &X509Certificate<'_>) -> Option<Vec<X509Name>> {
    let mut names = Vec::new();
    if let Some(sans) = certificate.subject_alternative_name().ok()? {
        for san in &sans.value.general_names {
            match san {
                GeneralName::DNSName(name) => names.push(X509Name::Dns(name.to_ascii_lowercase())),
                GeneralName::URI(uri) => names.push(X509Name::Uri((*uri).to_owned())),
                GeneralName::RFC822Name(name) => names.push(X509Name::Email((*name).to_owned())),
                // Kinds that no mapping can name.
                _ => {}
            }
        }
    }
    names.extend(subject(certificate).map(X509Name::Subject));
    Some(names)
}

/// The subject, if it consists of known attributes only, each of them once.
fn subject(certificate: &X509Certificate<'_>) -> Option<BTreeMap<SubjectAttribute, String>> {
    let mut attributes = BTreeMap::new();
    for attribute in certificate.subject().iter_attributes() {
        let kind = SubjectAttribute::read(&attribute.attr_type().to_id_string())?;
        let value = attribute.as_str().ok()?.to_owned();
        if attributes.insert(kind, value).is_some() {
            return None;
        }
    }
    Some(attributes)
}

impl SubjectAttribute {
    /// By its object identifier (RFC 4519).
    fn read(oid: &str) -> Option<Self> {
        Some(match oid {
            "2.5.4.3" => Self::CommonName,
            "2.5.4.10" => Self::Organization,
            "2.5.4.11" => Self::OrganizationalUnit,
            "2.5.4.6" => Self::Country,
            "2.5.4.8" => Self::State,
            "2.5.4.7" => Self::Locality,
            "2.5.4.5" => Self::SerialNumber,
            _ => return None,
        })
    }
}
