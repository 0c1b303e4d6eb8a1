//! What a certificate must be to sign others (X509-SVID section 3.2, RFC 5280 section 4.2.1).

use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::TrustDomain;

/// Why a certificate cannot be one of an authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAuthority {
    /// The bytes are no X.509 certificate, or something follows it.
    #[error("not a DER certificate")]
    Unreadable,
    /// Basic constraints do not say that it is an authority.
    #[error("it is not a CA certificate")]
    NotAuthority,
    /// Key usage does not allow to sign certificates, or an authority with a SPIFFE ID has none.
    #[error("its key usage does not allow it to sign certificates")]
    KeyUsage,
    /// It names a workload, not a trust domain.
    #[error("it names {0:?}; an authority's SPIFFE ID is spiffe://<trust domain> without a path")]
    SpiffeId(String),
}

/// Checks what path validation (RFC 5280 section 6) leaves to others, or to the choice of a root.
pub(super) fn check_authority(der: &[u8]) -> Result<(), InvalidAuthority> {
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|_| InvalidAuthority::Unreadable)?;
    if !rest.is_empty() {
        return Err(InvalidAuthority::Unreadable);
    }
    if !certificate.is_ca() {
        return Err(InvalidAuthority::NotAuthority);
    }
    let has_id = check_names(&certificate)?;
    match certificate.key_usage().map_err(|_| InvalidAuthority::Unreadable)? {
        Some(usage) if usage.value.key_cert_sign() => Ok(()),
        // Authorities that are no SVIDs may be without; RFC 5280 then restricts nothing.
        None if !has_id => Ok(()),
        Some(_) | None => Err(InvalidAuthority::KeyUsage),
    }
}

/// True for an authority that is an SVID itself.
fn check_names(certificate: &X509Certificate<'_>) -> Result<bool, InvalidAuthority> {
    let names = certificate.subject_alternative_name().map_err(|_| InvalidAuthority::Unreadable)?;
    let mut has_id = false;
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        let GeneralName::URI(uri) = name else { continue };
        // Also `SPIFFE:` is one: it must not pass for something else.
        let is_spiffe = uri.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe:"));
        if !is_spiffe {
            continue;
        }
        let domain = uri.strip_prefix("spiffe://").and_then(|name| TrustDomain::parse(name).ok());
        if domain.is_none() || has_id {
            return Err(InvalidAuthority::SpiffeId((*uri).to_owned()));
        }
        has_id = true;
    }
    Ok(has_id)
}
