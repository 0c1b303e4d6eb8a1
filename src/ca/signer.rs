//! Certificates and keys of an authority: read strictly, or newly made.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, Issuer, KeyPair, PublicKeyData};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

use crate::identity::{PrivateKey, TrustDomain};

use super::authority::AuthorityError;
use super::profile::{self, Window};
use super::vault::hex;

/// A certificate of an authority.
#[derive(Clone)]
pub(super) struct Certificate {
    pub(super) der: CertificateDer<'static>,
    pub(super) window: Window,
    pub(super) subject: String,
}

/// An issuing certificate with its key.
pub(super) struct Signer {
    pub(super) certificate: Certificate,
    /// What stands in its leaves as the authority's key identifier, in lower-case hexadecimal.
    pub(super) key_id: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Signer {
    pub(super) fn new(
        (file, certificate): (&str, &str),
        (key_file, key): (&str, &PrivateKey),
        domain: &TrustDomain,
    ) -> Result<Self, AuthorityError> {
        let certificate = Certificate::authority(file, certificate, domain)?;
        certificate.must_fit(file, key_file, key)?;
        let failed = |source| AuthorityError::Key { file: key_file.to_owned(), source };
        let pair = key.to_key_pair().map_err(failed)?;
        let issuer =
            Issuer::from_ca_cert_der(&certificate.der, pair).map_err(AuthorityError::Sign)?;
        let key_id = key_identifier(&certificate, &issuer)?;
        Ok(Self { certificate, key_id, issuer })
    }

    pub(super) fn sign(
        &self,
        params: &CertificateParams,
        key: &impl PublicKeyData,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        let certificate = params.signed_by(key, &self.issuer).map_err(AuthorityError::Sign)?;
        Ok(certificate.der().clone())
    }
}

/// The authority's key identifier as it stands in what the issuer signs: read from a certificate that it signed, so
/// that it is never computed in two ways.
fn key_identifier(
    certificate: &Certificate,
    issuer: &Issuer<'static, KeyPair>,
) -> Result<String, AuthorityError> {
    let params = profile::probe(certificate.window)?;
    let probe = params.signed_by(issuer.key(), issuer).map_err(AuthorityError::Sign)?;
    let (_, parsed) = X509Certificate::from_der(probe.der())
        .map_err(|_| AuthorityError::Sign(rcgen::Error::CouldNotParseCertificate))?;
    let identifier =
        parsed.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(found) => found.key_identifier.as_ref(),
            _ => None,
        });
    let identifier =
        identifier.ok_or(AuthorityError::Sign(rcgen::Error::CouldNotParseCertificate))?;
    Ok(hex(identifier.0))
}

impl Certificate {
    /// Reads exactly one certificate of an authority of `domain`.
    pub(super) fn authority(
        file: &str,
        text: &str,
        domain: &TrustDomain,
    ) -> Result<Self, AuthorityError> {
        let mut all = Self::several(file, text, domain)?;
        match (all.pop(), all.is_empty()) {
            (Some(one), true) => Ok(one),
            _ => Err(damaged(file, "is not exactly one PEM certificate")),
        }
    }

    /// Reads one or more certificates of authorities of `domain`.
    pub(super) fn several(
        file: &str,
        text: &str,
        domain: &TrustDomain,
    ) -> Result<Vec<Self>, AuthorityError> {
        let all: Vec<Self> = CertificateDer::pem_slice_iter(text.as_bytes())
            .map(|der| Self::parse(file, der.map_err(|_| damaged(file, "is not PEM"))?, domain))
            .collect::<Result<_, _>>()?;
        if all.is_empty() { Err(damaged(file, "holds no PEM certificate")) } else { Ok(all) }
    }

    fn parse(
        file: &str,
        der: CertificateDer<'static>,
        domain: &TrustDomain,
    ) -> Result<Self, AuthorityError> {
        let unreadable = || damaged(file, "is no readable certificate");
        let (rest, parsed) = X509Certificate::from_der(&der).map_err(|_| unreadable())?;
        if !rest.is_empty() {
            return Err(unreadable());
        }
        let signs = parsed.key_usage().ok().flatten().is_some_and(|u| u.value.key_cert_sign());
        if !parsed.is_ca() || !signs {
            return Err(damaged(file, "is not the certificate of an authority"));
        }
        check_domain(file, &parsed, domain)?;
        let date = |time: x509_parser::time::ASN1Time| {
            let seconds =
                u64::try_from(time.timestamp()).map_err(|_| damaged(file, "has a bad date"))?;
            let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
            time.ok_or_else(|| damaged(file, "has a bad date"))
        };
        let validity = parsed.validity();
        let window =
            Window { not_before: date(validity.not_before)?, not_after: date(validity.not_after)? };
        let subject = parsed.subject().to_string();
        Ok(Self { der, window, subject })
    }

    pub(super) fn to_pem(&self) -> String {
        pem(&self.der)
    }

    pub(super) fn must_fit(
        &self,
        file: &str,
        key_file: &str,
        key: &PrivateKey,
    ) -> Result<(), AuthorityError> {
        let own = key
            .public_key()
            .map_err(|source| AuthorityError::Key { file: key_file.to_owned(), source })?;
        let (_, parsed) = X509Certificate::from_der(&self.der)
            .map_err(|_| damaged(file, "is no readable certificate"))?;
        if parsed.public_key().raw == own {
            return Ok(());
        }
        Err(damaged(key_file, "does not belong to its certificate"))
    }
}

fn damaged(file: &str, problem: &'static str) -> AuthorityError {
    AuthorityError::Damaged { file: file.to_owned(), problem }
}

/// A certificate that names a trust domain must name ours. One that names none, as an operator's may, is taken.
fn check_domain(
    file: &str,
    certificate: &X509Certificate<'_>,
    domain: &TrustDomain,
) -> Result<(), AuthorityError> {
    let unreadable = |_| damaged(file, "has unreadable names");
    let Some(names) = certificate.subject_alternative_name().map_err(unreadable)? else {
        return Ok(());
    };
    let expected = format!("spiffe://{domain}");
    for name in &names.value.general_names {
        if let GeneralName::URI(uri) = name
            && *uri != expected
        {
            let found = uri.trim_start_matches("spiffe://").to_owned();
            let file = file.to_owned();
            return Err(AuthorityError::OtherDomain { file, found, expected: domain.clone() });
        }
    }
    Ok(())
}

/// A new root with its key.
pub(super) fn mint_root(
    key_file: &str,
    domain: &TrustDomain,
    now: SystemTime,
) -> Result<(String, PrivateKey), AuthorityError> {
    let failed = |source| AuthorityError::Key { file: key_file.to_owned(), source };
    let key = PrivateKey::generate().map_err(failed)?;
    let params = profile::root(domain, now)?;
    let pair = key.to_key_pair().map_err(failed)?;
    let certificate = params.self_signed(&pair).map_err(AuthorityError::Sign)?;
    Ok((pem(certificate.der()), key))
}

/// A new issuing certificate with its key, signed by the root.
pub(super) fn mint_issuing(
    (root, root_key): (&Certificate, &PrivateKey),
    domain: &TrustDomain,
    now: SystemTime,
) -> Result<(String, PrivateKey), AuthorityError> {
    let failed = |source| AuthorityError::Key { file: "a new issuing key".to_owned(), source };
    let root_pair = root_key.to_key_pair().map_err(failed)?;
    let key = PrivateKey::generate().map_err(failed)?;
    let issuer = Issuer::from_ca_cert_der(&root.der, root_pair).map_err(AuthorityError::Sign)?;
    let params = profile::issuing(domain, root.window, now)?;
    let pair = key.to_key_pair().map_err(failed)?;
    let certificate = params.signed_by(&pair, &issuer).map_err(AuthorityError::Sign)?;
    Ok((pem(certificate.der()), key))
}

pub(super) fn key(file: &str, text: &str) -> Result<PrivateKey, AuthorityError> {
    PrivateKey::from_pem(text)
        .map_err(|source| AuthorityError::Key { file: file.to_owned(), source })
}

pub(super) fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
