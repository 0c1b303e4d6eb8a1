//! PEM as Envoy puts it into fields and headers: URL-encoded.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// The longest URL-encoded certificate, or chain, that is read.
const MAX_LENGTH: usize = 32 * 1024;
const BEGIN: &str = "-----BEGIN ";

/// The DER bytes of exactly one URL-encoded PEM certificate.
pub(super) fn one(encoded: &str) -> Option<CertificateDer<'static>> {
    let pem = decode(encoded)?;
    if pem.matches(BEGIN).count() != 1 {
        return None;
    }
    CertificateDer::from_pem_slice(pem.as_bytes()).ok()
}

/// The DER bytes of one or more URL-encoded PEM certificates, with nothing else among them.
pub(super) fn several(encoded: &str) -> Option<Vec<CertificateDer<'static>>> {
    let pem = decode(encoded)?;
    let certificates =
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().ok()?;
    let whole = !certificates.is_empty() && pem.matches(BEGIN).count() == certificates.len();
    whole.then_some(certificates)
}

/// PEM text that begins and ends with a certificate.
fn decode(encoded: &str) -> Option<Cow<'_, str>> {
    if encoded.len() > MAX_LENGTH || !escapes_are_whole(encoded) {
        return None;
    }
    let pem = percent_decode_str(encoded).decode_utf8().ok()?;
    let framed = pem.starts_with("-----BEGIN CERTIFICATE-----")
        && pem.trim_end().ends_with("-----END CERTIFICATE-----");
    framed.then_some(pem)
}

/// Each `%` begins an escape of two digits; the decoder would leave others as they are.
fn escapes_are_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}
