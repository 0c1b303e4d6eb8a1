//! What stands in a certificate, before anything of it is believed.

use std::time::{Duration, SystemTime};

use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// What one certificate says.
#[derive(Debug)]
pub(in crate::authn) struct Reading {
    pub(in crate::authn) serial: String,
    pub(in crate::authn) not_before: SystemTime,
    pub(in crate::authn) not_after: SystemTime,
    pub(in crate::authn) uris: Vec<String>,
    pub(in crate::authn) dns_names: Vec<String>,
    pub(in crate::authn) emails: Vec<String>,
    /// Every common name of the subject; nothing in the place of one that is not printable.
    pub(in crate::authn) common_names: Vec<Option<String>>,
    pub(super) purpose: Purpose,
}

/// What the key of a certificate may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To authenticate a TLS client.
    Client,
    /// Anything else, that of an authority included.
    Other,
}

impl Reading {
    /// Reads one DER certificate; nothing if it, its dates or any of its names cannot be read.
    pub(in crate::authn) fn of(der: &[u8]) -> Option<Self> {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let mut read = Self {
            serial: certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
            not_before: date(certificate.validity().not_before)?,
            not_after: date(certificate.validity().not_after)?,
            uris: Vec::new(),
            dns_names: Vec::new(),
            emails: Vec::new(),
            common_names: Vec::new(),
            purpose: purpose(&certificate)?,
        };
        for name in certificate.subject().iter_common_name() {
            let name = name.as_str().ok().filter(|name| is_printable(name));
            read.common_names.push(name.map(str::to_owned));
        }
        let names = certificate.subject_alternative_name().ok()?;
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::URI(uri) => read.uris.push((*uri).to_owned()),
                GeneralName::DNSName(name) => read.dns_names.push((*name).to_owned()),
                GeneralName::RFC822Name(mail) => read.emails.push((*mail).to_owned()),
                GeneralName::Invalid(..) => return None,
                // No identity is taken from these.
                GeneralName::OtherName(..)
                | GeneralName::X400Address(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EDIPartyName(_)
                | GeneralName::IPAddress(_)
                | GeneralName::RegisteredID(_) => {}
            }
        }
        Some(read)
    }

    /// True when any of its names is, or pretends to be, a SPIFFE ID: Envoy shows a DNS name of that text as principal.
    pub(in crate::authn) fn names_a_workload(&self) -> bool {
        self.uris
            .iter()
            .chain(&self.dns_names)
            .any(|name| name.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe:")))
    }
}

/// The last second of a certificate.
pub(super) fn not_after(der: &[u8]) -> Option<SystemTime> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    if rest.is_empty() { date(certificate.validity().not_after) } else { None }
}

pub(super) fn date(value: x509_parser::time::ASN1Time) -> Option<SystemTime> {
    let seconds = u64::try_from(value.timestamp()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// RFC 5280 lets a certificate without extended key usage do everything; here clientAuth must be said.
fn purpose(certificate: &X509Certificate<'_>) -> Option<Purpose> {
    let authority = certificate.basic_constraints().ok()?.is_some_and(|found| found.value.ca);
    let usage = certificate.key_usage().ok()?;
    let may_sign =
        usage.is_none_or(|usage| usage.value.digital_signature() && !usage.value.key_cert_sign());
    let extended = certificate.extended_key_usage().ok()?;
    let client = extended.is_some_and(|usage| usage.value.client_auth);
    Some(if client && may_sign && !authority { Purpose::Client } else { Purpose::Other })
}

/// Letters and digits of any script, visible ASCII, and single spaces inside: no control characters, nothing that is
/// invisible or turns the direction of what follows.
pub(super) fn is_printable(text: &str) -> bool {
    !text.is_empty()
        && text.trim() == text
        && !text.contains("  ")
        && text.chars().all(|c| c.is_alphanumeric() || c.is_ascii_graphic() || c == ' ')
}
