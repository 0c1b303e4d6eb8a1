//! Certificates and keys of an authority: read strictly, or newly made.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, Issuer, KeyPair, PublicKeyData};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::identity::{PrivateKey, TrustDomain};

use super::authority::AuthorityError;
use super::profile::{self, Window};
use super::store::{ISSUING, ISSUING_KEY, ROOT, ROOT_KEY, Store};

pub(super) struct Certificate {
    pub(super) der: CertificateDer<'static>,
    pub(super) window: Window,
}

pub(super) struct Signer {
    pub(super) certificate: Certificate,
    pub(super) issuer: Issuer<'static, KeyPair>,
}

impl Signer {
    pub(super) fn new(
        certificate: &str,
        key: &PrivateKey,
        domain: &TrustDomain,
    ) -> Result<Self, AuthorityError> {
        let certificate = Certificate::authority(ISSUING, certificate, domain)?;
        certificate.must_fit(ISSUING, ISSUING_KEY, key)?;
        let pair = key
            .to_key_pair()
            .map_err(|source| AuthorityError::Key { file: ISSUING_KEY, source })?;
        let issuer =
            Issuer::from_ca_cert_der(&certificate.der, pair).map_err(AuthorityError::Sign)?;
        Ok(Self { certificate, issuer })
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

impl Certificate {
    /// Reads exactly one certificate of an authority of `domain`.
    pub(super) fn authority(
        file: &'static str,
        text: &str,
        domain: &TrustDomain,
    ) -> Result<Self, AuthorityError> {
        let damaged = |problem| AuthorityError::Damaged { file, problem };
        let mut blocks = CertificateDer::pem_slice_iter(text.as_bytes());
        let (Some(Ok(der)), None) = (blocks.next(), blocks.next()) else {
            return Err(damaged("is not exactly one PEM certificate"));
        };
        let (rest, parsed) =
            X509Certificate::from_der(&der).map_err(|_| damaged("is no readable certificate"))?;
        if !rest.is_empty() {
            return Err(damaged("is no readable certificate"));
        }
        let signs = parsed.key_usage().ok().flatten().is_some_and(|u| u.value.key_cert_sign());
        if !parsed.is_ca() || !signs {
            return Err(damaged("is not the certificate of an authority"));
        }
        check_domain(file, &parsed, domain)?;
        let date = |time: x509_parser::time::ASN1Time| {
            let seconds = u64::try_from(time.timestamp()).map_err(|_| damaged("has a bad date"))?;
            let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
            time.ok_or(damaged("has a bad date"))
        };
        let validity = parsed.validity();
        let window =
            Window { not_before: date(validity.not_before)?, not_after: date(validity.not_after)? };
        Ok(Self { der, window })
    }

    pub(super) fn must_fit(
        &self,
        file: &'static str,
        key_file: &'static str,
        key: &PrivateKey,
    ) -> Result<(), AuthorityError> {
        let own =
            key.public_key().map_err(|source| AuthorityError::Key { file: key_file, source })?;
        let (_, parsed) = X509Certificate::from_der(&self.der)
            .map_err(|_| AuthorityError::Damaged { file, problem: "is no readable certificate" })?;
        if parsed.public_key().raw == own {
            return Ok(());
        }
        Err(AuthorityError::Damaged {
            file: key_file,
            problem: "does not belong to its certificate",
        })
    }
}

/// A certificate that names a trust domain must name ours. One that names none, as an operator's may, is taken.
fn check_domain(
    file: &'static str,
    certificate: &X509Certificate<'_>,
    domain: &TrustDomain,
) -> Result<(), AuthorityError> {
    let unreadable = |_| AuthorityError::Damaged { file, problem: "has unreadable names" };
    let Some(names) = certificate.subject_alternative_name().map_err(unreadable)? else {
        return Ok(());
    };
    let expected = format!("spiffe://{domain}");
    for name in &names.value.general_names {
        if let GeneralName::URI(uri) = name
            && *uri != expected
        {
            let found = uri.trim_start_matches("spiffe://").to_owned();
            return Err(AuthorityError::OtherDomain { file, found, expected: domain.clone() });
        }
    }
    Ok(())
}

pub(super) fn mint(
    store: &Store,
    domain: &TrustDomain,
    now: SystemTime,
) -> Result<(), AuthorityError> {
    let failed = |source| AuthorityError::Key { file: ROOT_KEY, source };
    let root_key = PrivateKey::generate().map_err(failed)?;
    let params = profile::root(domain, now)?;
    let pair = root_key.to_key_pair().map_err(failed)?;
    let root_pem = pem(params.self_signed(&pair).map_err(AuthorityError::Sign)?.der());
    let root = Certificate::authority(ROOT, &root_pem, domain)?;
    let (issuing, issuing_key) = mint_issuing((&root, &root_key), domain, now)?;
    store.commit(&[
        (ROOT, &root_pem),
        (ROOT_KEY, &root_key.to_pem()),
        (ISSUING, &issuing),
        (ISSUING_KEY, &issuing_key.to_pem()),
    ])?;
    tracing::info!(trust_domain = %domain, "made a new root and issuing key");
    Ok(())
}

pub(super) fn mint_issuing(
    (root, root_key): (&Certificate, &PrivateKey),
    domain: &TrustDomain,
    now: SystemTime,
) -> Result<(String, PrivateKey), AuthorityError> {
    let root_pair =
        root_key.to_key_pair().map_err(|source| AuthorityError::Key { file: ROOT_KEY, source })?;
    let failed = |source| AuthorityError::Key { file: ISSUING_KEY, source };
    let key = PrivateKey::generate().map_err(failed)?;
    let issuer = Issuer::from_ca_cert_der(&root.der, root_pair).map_err(AuthorityError::Sign)?;
    let params = profile::issuing(domain, root.window, now)?;
    let pair = key.to_key_pair().map_err(failed)?;
    let certificate = params.signed_by(&pair, &issuer).map_err(AuthorityError::Sign)?;
    Ok((pem(certificate.der()), key))
}

pub(super) fn key(file: &'static str, text: &str) -> Result<PrivateKey, AuthorityError> {
    PrivateKey::from_pem(text).map_err(|source| AuthorityError::Key { file, source })
}

pub(super) fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
