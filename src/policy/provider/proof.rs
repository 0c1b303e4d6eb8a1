//! Other proofs of a credential: API keys, client certificates, and tokens that are bound to a key.

use super::file::FileRef;
use super::raw::{
    RawApiKeys, RawCertificateSubject, RawCertificates, RawConfirmation, RawDemand, RawNonce,
};
use super::value::check_origin;
use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::resource::{Checked, check_list};

/// API keys, hashed, in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyFile {
    /// The file.
    pub file: FileRef,
    /// What every key begins with, where other opaque credentials stand in the same place.
    pub prefix: Option<String>,
}

/// Clients that are known by an X.509 certificate and are no workloads of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificates {
    /// The authorities, and intermediates where clients do not send them.
    pub ca: FileRef,
    /// Revocation lists of these authorities.
    pub crl: Option<FileRef>,
    /// What the subject is taken from.
    pub subject: CertificateSubject,
}

/// What the subject of a certificate is taken from; there must be exactly one of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateSubject {
    /// The URI subject alternative name.
    Uri,
    /// The DNS subject alternative name.
    Dns,
    /// The mail subject alternative name.
    Email,
    /// The common name of the subject.
    CommonName,
}

/// How a token's binding to a key is treated. A token that names a binding is only ever accepted with its proof; these
/// rules say whether every token must name one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfirmationRules {
    /// DPoP (RFC 9449).
    pub dpop: Demand,
    /// The client certificate (RFC 8705, section 3).
    pub certificate: Demand,
    /// Whether a DPoP proof must hold a nonce of ours.
    pub nonce: Nonce,
    /// The origins under which clients know this service; without, the authority of the request with either scheme.
    pub origins: Vec<String>,
}

/// Whether a proof is demanded of every token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Only of tokens that are bound.
    Accepted,
    /// Of every token; with two demands either proof does.
    Required,
}

/// Whether a DPoP proof must hold a nonce of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nonce {
    /// It need not.
    Off,
    /// It must.
    Required,
}

impl ApiKeyFile {
    pub(super) fn check(raw: RawApiKeys, at: &FieldPath, source: &str) -> Checked<Self> {
        let RawApiKeys { file, prefix } = raw;
        if let Some(prefix) = &prefix
            && !(1..=32).contains(&prefix.len())
        {
            return Err(Problem::new(at.field("prefix"), "has not 1 to 32 characters"));
        }
        if let Some(prefix) = &prefix
            && !prefix.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        {
            return Err(Problem::new(
                at.field("prefix"),
                format!(
                    "`{prefix}` has characters other than letters, digits, dashes and underscores"
                ),
            ));
        }
        Ok(Self { file: FileRef::check(file, at.field("file"), source)?, prefix })
    }
}

impl Certificates {
    pub(super) fn check(raw: RawCertificates, at: &FieldPath, source: &str) -> Checked<Self> {
        let RawCertificates { ca_file, crl_file, subject } = raw;
        let file = |text, name: &str| FileRef::check(text, at.field(name), source);
        Ok(Self {
            ca: file(ca_file, "caFile")?,
            crl: crl_file.map(|text| file(text, "crlFile")).transpose()?,
            subject: match subject {
                RawCertificateSubject::Uri => CertificateSubject::Uri,
                RawCertificateSubject::Dns => CertificateSubject::Dns,
                RawCertificateSubject::Email => CertificateSubject::Email,
                RawCertificateSubject::CommonName => CertificateSubject::CommonName,
            },
        })
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &FileRef> {
        std::iter::once(&self.ca).chain(&self.crl)
    }
}

impl ConfirmationRules {
    /// Bound tokens need their proof; others pass as they are.
    #[must_use]
    pub fn accepted() -> Self {
        Self {
            dpop: Demand::Accepted,
            certificate: Demand::Accepted,
            nonce: Nonce::Off,
            origins: Vec::new(),
        }
    }

    pub(super) fn check(raw: Option<RawConfirmation>, at: &FieldPath) -> Checked<Self> {
        let Some(RawConfirmation { dpop, certificate, nonce, origins }) = raw else {
            return Ok(Self::accepted());
        };
        let demand = |raw| match raw {
            Some(RawDemand::Required) => Demand::Required,
            Some(RawDemand::Accepted) | None => Demand::Accepted,
        };
        let origins = match origins {
            Some(list) => {
                let at = at.field("origins");
                let list = check_list(list, &at)?;
                for (place, origin) in list.iter().enumerate() {
                    check_origin(origin, &at.item(place))?;
                }
                list
            }
            None => Vec::new(),
        };
        Ok(Self {
            dpop: demand(dpop),
            certificate: demand(certificate),
            nonce: match nonce {
                Some(RawNonce::Required) => Nonce::Required,
                Some(RawNonce::Off) | None => Nonce::Off,
            },
            origins,
        })
    }
}
