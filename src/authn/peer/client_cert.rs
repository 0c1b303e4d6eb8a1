//! `client-cert` and `client-cert-chain` (RFC 9440): byte sequences of structured fields (RFC 9651), strictly.
//!
//! Parameters are refused, as is Base64 that a decoder would have to mend: two programs could read it differently.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;

use crate::authn::certificate::MAX_CHAIN;

use super::refused::ForwardFault;

/// The longest value that is read.
const MAX_LENGTH: usize = 64 * 1024;

/// One byte sequence: the leaf.
pub(super) fn item(value: &[u8]) -> Result<CertificateDer<'static>, ForwardFault> {
    if value.len() > MAX_LENGTH {
        return Err(ForwardFault::Malformed("it is too long"));
    }
    // Envoy joins two lines with a comma.
    if memchr::memchr(b',', value).is_some() {
        return Err(ForwardFault::Ambiguous);
    }
    byte_sequence(value)
}

/// A list of byte sequences: what stands between the leaf and a root.
pub(super) fn list(value: &[u8]) -> Result<Vec<CertificateDer<'static>>, ForwardFault> {
    if value.len() > MAX_LENGTH {
        return Err(ForwardFault::Malformed("it is too long"));
    }
    let members: Vec<&[u8]> = value.split(|byte| *byte == b',').take(MAX_CHAIN + 1).collect();
    if members.len() > MAX_CHAIN {
        return Err(ForwardFault::Malformed("the chain has too many certificates"));
    }
    members.into_iter().map(|member| byte_sequence(trim(member))).collect()
}

fn byte_sequence(item: &[u8]) -> Result<CertificateDer<'static>, ForwardFault> {
    let base64 = item.strip_prefix(b":").and_then(|rest| rest.strip_suffix(b":"));
    let base64 = base64.ok_or(ForwardFault::Malformed("it is no byte sequence (`:base64:`)"))?;
    let der = STANDARD
        .decode(base64)
        .map_err(|_| ForwardFault::Malformed("its byte sequence is not canonical Base64"))?;
    Ok(CertificateDer::from(der))
}

/// Without optional white space, which lists may have around their commas.
fn trim(member: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = member.iter().position(|byte| !blank(byte)).unwrap_or(member.len());
    let end = member.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    member.get(start..end).unwrap_or_default()
}
