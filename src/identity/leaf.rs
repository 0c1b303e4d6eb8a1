//! What stands in a leaf certificate of a workload (X509-SVID specification, sections 2 to 4).

use std::time::{Duration, SystemTime};

use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

use super::{InvalidSpiffeId, SpiffeId};

/// The parts of a workload's leaf certificate that decisions rest on.
///
/// A `Leaf` says what the certificate *says*. Whether it chains to a trusted root is for the TLS
/// handshake or [`super::X509Svid::new`] to prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    id: SpiffeId,
    serial: String,
    not_before: SystemTime,
    not_after: SystemTime,
    public_key: Vec<u8>,
    authority_key_id: Option<String>,
}

/// Why a certificate is no leaf of a workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLeaf {
    /// The bytes are no X.509 certificate, or something follows it.
    #[error("not a DER certificate")]
    Unreadable,
    /// There must be exactly one URI SAN.
    #[error("{0} URI SANs, where exactly one is expected")]
    UriSans(usize),
    /// The URI SAN is no SPIFFE ID.
    #[error("the URI SAN {0}")]
    SpiffeId(#[source] InvalidSpiffeId),
    /// The certificate is one of an authority.
    #[error("it is a CA certificate")]
    Authority,
    /// Key usage is missing or not critical, lacks digitalSignature, or holds keyCertSign or cRLSign.
    #[error(
        "its key usage is not that of a leaf: critical, with digitalSignature, without keyCertSign and cRLSign"
    )]
    KeyUsage,
    /// A date is before 1970 or does not fit.
    #[error("a date is out of range")]
    Date,
}

impl Leaf {
    /// Reads one DER certificate.
    ///
    /// # Errors
    /// When it is unreadable or breaks a rule of the X509-SVID specification for leaves.
    pub fn parse(der: &[u8]) -> Result<Self, InvalidLeaf> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| InvalidLeaf::Unreadable)?;
        if !rest.is_empty() {
            return Err(InvalidLeaf::Unreadable);
        }
        if certificate.is_ca() {
            return Err(InvalidLeaf::Authority);
        }
        let usage = certificate.key_usage().map_err(|_| InvalidLeaf::Unreadable)?;
        let usage = usage.ok_or(InvalidLeaf::KeyUsage)?;
        if !usage.critical {
            return Err(InvalidLeaf::KeyUsage);
        }
        let usage = usage.value;
        if !usage.digital_signature() || usage.key_cert_sign() || usage.crl_sign() {
            return Err(InvalidLeaf::KeyUsage);
        }
        Ok(Self {
            id: only_uri(&certificate)?,
            serial: hex(certificate.raw_serial()),
            not_before: date(certificate.validity().not_before)?,
            not_after: date(certificate.validity().not_after)?,
            public_key: certificate.public_key().raw.to_vec(),
            authority_key_id: authority_key_id(&certificate),
        })
    }

    /// The one SPIFFE ID.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The serial number in lower-case hexadecimal.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// First second of validity.
    #[must_use]
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// Last second of validity.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// The key identifier of the authority that issued it (RFC 5280 section 4.2.1.1), in lower-case hexadecimal, if the
    /// certificate names one.
    #[must_use]
    pub fn authority_key_id(&self) -> Option<&str> {
        self.authority_key_id.as_deref()
    }
}

fn authority_key_id(certificate: &X509Certificate<'_>) -> Option<String> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(authority) => {
            authority.key_identifier.as_ref().map(|identifier| hex(identifier.0))
        }
        _ => None,
    })
}

fn only_uri(certificate: &X509Certificate<'_>) -> Result<SpiffeId, InvalidLeaf> {
    let names = certificate.subject_alternative_name().map_err(|_| InvalidLeaf::Unreadable)?;
    let names = names.ok_or(InvalidLeaf::UriSans(0))?;
    let uris: Vec<&str> = names
        .value
        .general_names
        .iter()
        .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None })
        .collect();
    match uris.as_slice() {
        [uri] => SpiffeId::parse(uri).map_err(InvalidLeaf::SpiffeId),
        _ => Err(InvalidLeaf::UriSans(uris.len())),
    }
}

fn date(value: x509_parser::time::ASN1Time) -> Result<SystemTime, InvalidLeaf> {
    let seconds = u64::try_from(value.timestamp()).map_err(|_| InvalidLeaf::Date)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or(InvalidLeaf::Date)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
