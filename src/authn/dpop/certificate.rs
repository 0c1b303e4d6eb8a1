//! Tokens bound to a client certificate (RFC 8705, section 3.1).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// SHA-256 in base64url without padding.
const ENCODED: usize = 43;

/// The thumbprint of a certificate: SHA-256 of its DER form.
#[must_use]
pub fn certificate_thumbprint(der: &[u8]) -> [u8; 32] {
    crate::authn::digest(der)
}

/// Is this certificate the one that a token's `cnf` names in `x5t#S256`? Anything but the canonical spelling of the
/// thumbprint is not.
#[must_use]
pub fn x5t_matches(claim: &str, der: &[u8]) -> bool {
    let thumbprint = base64_of_digest(&certificate_thumbprint(der));
    verify_slices_are_equal(&thumbprint, claim.as_bytes()).is_ok()
}

/// The canonical base64url of a digest.
pub(super) fn base64_of_digest(digest: &[u8; 32]) -> [u8; ENCODED] {
    let mut text = [0; ENCODED];
    // 32 bytes are always 43 characters. Were they not, the zeros would be equal to no text that a client can send.
    match URL_SAFE_NO_PAD.encode_slice(digest, &mut text) {
        Ok(ENCODED) => text,
        Ok(_) | Err(_) => [0; ENCODED],
    }
}
