//! One provider's roots, intermediates and revocation lists.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

use crate::policy::CertificateSubject;

use super::chain::{Anchors, ChainFault, Proofs, key};
use super::reading::{Purpose, Reading, date, is_printable};
use super::{CertificateRefused, Client, MAX_CHAIN};

/// The most certificates, and the most lists, that one provider may have.
const MAX_FILE: usize = 64;

/// Proves X.509 clients of one identity provider.
pub struct CertificateAuthority {
    anchors: Anchors,
    intermediates: Vec<CertificateDer<'static>>,
    subject: CertificateSubject,
    proofs: Proofs<Arc<Client>>,
}

/// Why files make no authority.
#[derive(Debug, thiserror::Error)]
pub enum InvalidCertificateAuthority {
    /// It is not PEM, or holds something else than certificates.
    #[error("the CA file is not PEM that holds certificates only")]
    NotCertificates,
    /// It holds too many.
    #[error("there are more than {MAX_FILE} certificates or revocation lists")]
    TooMany,
    /// One of its certificates cannot be read or is not one of an authority.
    #[error("certificate {0} of the CA file is not one of an authority")]
    NotAnAuthority(usize),
    /// No certificate is its own issuer.
    #[error("the CA file holds no root, only intermediates: add the root they lead to")]
    NoRoot,
    /// The issuer of an intermediate is not in the file.
    #[error("the issuer of certificate {0} is not in the CA file")]
    Orphan(usize),
    /// Nothing can be checked against its roots or lists.
    #[error("the files cannot be used")]
    Anchor(#[source] super::InvalidAnchor),
    /// The CRL file is neither PEM that holds lists only nor one list in DER.
    #[error("the CRL file holds no revocation list, or something else too")]
    NotLists,
    /// A list is by nobody in the CA file.
    #[error("revocation list {0} is not by an authority of the CA file")]
    ForeignList(usize),
}

impl CertificateAuthority {
    /// Reads the roots, any intermediates beside them, and the revocation lists.
    ///
    /// # Errors
    /// When either file holds anything that could not be used, or no root.
    pub fn compile(
        ca_pem: &[u8],
        crl: Option<&[u8]>,
        subject: CertificateSubject,
    ) -> Result<Self, InvalidCertificateAuthority> {
        let certificates = read_pem(ca_pem)?;
        let (roots, intermediates, names) = sort(certificates)?;
        let (lists, ends) = match crl {
            Some(bytes) => read_lists(bytes, &names)?,
            None => (Vec::new(), Vec::new()),
        };
        let mut anchors =
            Anchors::new(&roots, &lists).map_err(InvalidCertificateAuthority::Anchor)?;
        let intermediate_ends =
            intermediates.iter().filter_map(|der| super::reading::not_after(der));
        for end in intermediate_ends.chain(ends) {
            anchors.ends_at(end);
        }
        Ok(Self { anchors, intermediates, subject, proofs: Proofs::new() })
    }

    /// Proves the client of a certificate, by way of what came with it or of the configured intermediates.
    ///
    /// # Errors
    /// When it is no client's, not in force, does not chain to a root, is or may be revoked, or has not one subject.
    pub fn prove(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<Arc<Client>, CertificateRefused> {
        if chain.len() > MAX_CHAIN {
            return Err(CertificateRefused::Unreadable);
        }
        let thumbprint = crate::authn::digest(leaf);
        let key = key(&thumbprint, chain);
        if let Some(client) = self.proofs.find(&key, now) {
            return Ok(client);
        }
        let reading = Reading::of(leaf).ok_or(CertificateRefused::Unreadable)?;
        if reading.purpose != Purpose::Client {
            return Err(CertificateRefused::Purpose);
        }
        if now < reading.not_before {
            return Err(CertificateRefused::NotYetValid);
        }
        if now > reading.not_after {
            return Err(CertificateRefused::Expired);
        }
        let way: Vec<CertificateDer<'_>> =
            chain.iter().chain(&self.intermediates).cloned().collect();
        self.anchors.check(leaf, &way, now).map_err(CertificateRefused::Chain)?;
        let subject = subject(self.subject, &reading)?;
        let client = Arc::new(Client { subject, thumbprint, reading });
        let until = self.anchors.holds_until(leaf, chain, now);
        self.proofs.put(&key, Arc::clone(&client), (now, until));
        Ok(client)
    }
}

impl CertificateAuthority {
    /// Whether this authority made a certificate, whatever it names and whether or not it still counts.
    pub(super) fn made(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> bool {
        let way: Vec<CertificateDer<'_>> =
            chain.iter().chain(&self.intermediates).cloned().collect();
        !matches!(
            self.anchors.check(leaf, &way, now),
            Err(ChainFault::Untrusted | ChainFault::RootNotInForce)
        )
    }
}

/// The one name of the mapped kind.
fn subject(from: CertificateSubject, reading: &Reading) -> Result<String, CertificateRefused> {
    let one = |names: &[String]| match names {
        [] => Err(CertificateRefused::SubjectMissing),
        [name] => Ok(name.clone()),
        _ => Err(CertificateRefused::SubjectAmbiguous),
    };
    let subject = match from {
        CertificateSubject::Uri => one(&reading.uris)?,
        // One name in two spellings would be two subjects to a rule.
        CertificateSubject::Dns => one(&reading.dns_names)?.to_ascii_lowercase(),
        CertificateSubject::Email => one(&reading.emails)?,
        CertificateSubject::CommonName => match reading.common_names.as_slice() {
            [] => return Err(CertificateRefused::SubjectMissing),
            [name] => name.clone().ok_or(CertificateRefused::SubjectInvalid)?,
            _ => return Err(CertificateRefused::SubjectAmbiguous),
        },
    };
    // A wildcard names many, and whoever holds it is none of them in particular.
    if !is_printable(&subject) || (from == CertificateSubject::Dns && subject.contains('*')) {
        return Err(CertificateRefused::SubjectInvalid);
    }
    Ok(subject)
}

/// All certificates of a PEM file that holds nothing else; a private key beside them is a mistake to be told.
fn read_pem(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, InvalidCertificateAuthority> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| InvalidCertificateAuthority::NotCertificates)?;
    if certificates.is_empty() || blocks(pem) != certificates.len() {
        return Err(InvalidCertificateAuthority::NotCertificates);
    }
    if certificates.len() > MAX_FILE {
        return Err(InvalidCertificateAuthority::TooMany);
    }
    Ok(certificates)
}

fn blocks(pem: &[u8]) -> usize {
    memchr::memmem::find_iter(pem, b"-----BEGIN ").count()
}

type Sorted = (Vec<CertificateDer<'static>>, Vec<CertificateDer<'static>>, Vec<Vec<u8>>);

/// Roots (their own issuers), intermediates, and the names of all of them.
fn sort(certificates: Vec<CertificateDer<'static>>) -> Result<Sorted, InvalidCertificateAuthority> {
    let mut names: Vec<Vec<u8>> = Vec::with_capacity(certificates.len());
    let mut issuers: Vec<Vec<u8>> = Vec::with_capacity(certificates.len());
    for (index, der) in certificates.iter().enumerate() {
        let wrong = || InvalidCertificateAuthority::NotAnAuthority(index + 1);
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| wrong())?;
        let may_sign = certificate.key_usage().map_err(|_| wrong())?;
        let may_sign = may_sign.is_none_or(|usage| usage.value.key_cert_sign());
        if !rest.is_empty() || !certificate.is_ca() || !may_sign {
            return Err(wrong());
        }
        names.push(certificate.subject().as_raw().to_vec());
        issuers.push(certificate.issuer().as_raw().to_vec());
    }
    let mut roots = Vec::new();
    let mut intermediates = Vec::new();
    for (index, (der, issuer)) in certificates.into_iter().zip(&issuers).enumerate() {
        if names.get(index) == Some(issuer) {
            roots.push(der);
        } else if names.contains(issuer) {
            intermediates.push(der);
        } else if names.iter().zip(&issuers).any(|(name, issuer)| name == issuer) {
            return Err(InvalidCertificateAuthority::Orphan(index + 1));
        }
    }
    if roots.is_empty() {
        return Err(InvalidCertificateAuthority::NoRoot);
    }
    Ok((roots, intermediates, names))
}

type Lists = (Vec<CertificateRevocationListDer<'static>>, Vec<SystemTime>);

/// The lists of a file, and when each is no longer current.
fn read_lists(bytes: &[u8], names: &[Vec<u8>]) -> Result<Lists, InvalidCertificateAuthority> {
    let not_lists = || InvalidCertificateAuthority::NotLists;
    let lists = match blocks(bytes) {
        0 => vec![CertificateRevocationListDer::from(bytes.to_vec())],
        blocks => {
            let lists = CertificateRevocationListDer::pem_slice_iter(bytes)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|_| not_lists())?;
            if lists.len() != blocks {
                return Err(not_lists());
            }
            lists
        }
    };
    if lists.len() > MAX_FILE {
        return Err(InvalidCertificateAuthority::TooMany);
    }
    let mut ends = Vec::with_capacity(lists.len());
    for (index, list) in lists.iter().enumerate() {
        let (rest, read) = CertificateRevocationList::from_der(list).map_err(|_| not_lists())?;
        if !rest.is_empty() {
            return Err(not_lists());
        }
        if !names.iter().any(|name| name == read.issuer().as_raw()) {
            return Err(InvalidCertificateAuthority::ForeignList(index + 1));
        }
        ends.push(read.next_update().and_then(date).ok_or_else(not_lists)?);
    }
    Ok((lists, ends))
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("subject", &self.subject)
            .field("intermediates", &self.intermediates.len())
            .finish_non_exhaustive()
    }
}
