//! Public keys as PEM text (RFC 7468): `PUBLIC KEY`, `RSA PUBLIC KEY`, `CERTIFICATE`.
//!
//! Whoever wrote the text wrote it for us, so one block that cannot be used is an error and not skipped. A certificate
//! is only a wrapping of its key: its dates, its issuer and its signature are not looked at.

use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::RSAPublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::public::{Curve, PublicKey};
use super::{InvalidKeySet, MAX_KEYS, SkipReason};

const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";
const ED25519: &str = "1.3.101.112";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
const P521: &str = "1.3.132.0.35";

/// Every key of the text, in order.
pub(super) fn read(text: &str) -> Result<Vec<PublicKey>, InvalidKeySet> {
    // Before anything is decoded, so that no private key is copied around in memory.
    if text.lines().any(|line| line.starts_with("-----BEGIN ") && line.contains("PRIVATE KEY")) {
        return Err(InvalidKeySet::PrivateKey);
    }
    let mut keys = Vec::new();
    for block in x509_parser::pem::Pem::iter_from_buffer(text.as_bytes()) {
        let block = block.map_err(|_| InvalidKeySet::Pem)?;
        if keys.len() == MAX_KEYS {
            return Err(InvalidKeySet::TooManyKeys);
        }
        let place = keys.len() + 1;
        let key = match block.label.as_str() {
            "PUBLIC KEY" => whole(&block.contents).and_then(|info| by_info(&info)),
            "RSA PUBLIC KEY" => rsa(&block.contents),
            "CERTIFICATE" => whole::<X509Certificate<'_>>(&block.contents)
                .and_then(|certificate| by_info(&certificate.tbs_certificate.subject_pki)),
            _ => return Err(InvalidKeySet::PemLabel { place }),
        };
        keys.push(key.map_err(|reason| InvalidKeySet::PemKey { place, reason })?);
    }
    if keys.is_empty() { Err(InvalidKeySet::Pem) } else { Ok(keys) }
}

/// DER with nothing behind it.
fn whole<'a, T: FromDer<'a, x509_parser::error::X509Error>>(
    der: &'a [u8],
) -> Result<T, SkipReason> {
    match T::from_der(der) {
        Ok(([], read)) => Ok(read),
        Ok(_) | Err(_) => Err(SkipReason::Invalid),
    }
}

fn by_info(info: &SubjectPublicKeyInfo<'_>) -> Result<PublicKey, SkipReason> {
    let key = &*info.subject_public_key.data;
    if info.subject_public_key.unused_bits != 0 {
        return Err(SkipReason::Invalid);
    }
    match info.algorithm.algorithm.to_id_string().as_str() {
        RSA => rsa(key),
        EC => {
            let curve = info.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
            let curve = match curve.map(|oid| oid.to_id_string()).as_deref() {
                Some(P256) => Curve::P256,
                Some(P384) => Curve::P384,
                Some(P521) => Curve::P521,
                Some(_) | None => return Err(SkipReason::UnknownCurve),
            };
            PublicKey::point(curve, key)
        }
        ED25519 => PublicKey::ed25519(key),
        _ => Err(SkipReason::UnknownType),
    }
}

fn rsa(der: &[u8]) -> Result<PublicKey, SkipReason> {
    let key: RSAPublicKey<'_> = whole(der)?;
    // A set top bit would be a negative number.
    if [key.modulus, key.exponent].iter().any(|n| n.first().is_none_or(|top| *top >= 0x80)) {
        return Err(SkipReason::Invalid);
    }
    PublicKey::rsa(key.modulus, key.exponent)
}
