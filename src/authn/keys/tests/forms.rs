//! Keys that are no JSON Web Key Set, and points that take forgeries.

use aws_lc_rs::signature::{ED25519, ParsedPublicKey};
use rcgen::PublicKeyData as _;

use super::*;
use crate::authn::keys::public::SMALL_ORDER;

/// `S = 0` and `R` the neutral point: right for every message whose hash makes `h * A` vanish, which for a point of
/// small order is at least every eighth.
#[test]
fn small_order_points_take_forgeries_and_are_refused_with_either_sign() {
    let mut forgery = [0; 64];
    forgery[0] = 1;
    let mut taken = 0;
    for point in SMALL_ORDER {
        for sign in [0, 0x80] {
            let mut key = point;
            key[31] |= sign;
            let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": base64(&key)}).to_string();
            assert_eq!(reason(&jwk), Some(SkipReason::SmallOrder), "{key:?}");
            let parsed = ParsedPublicKey::new(&ED25519, key).unwrap();
            let forged = (0..=u8::MAX).any(|n| parsed.verify_sig(&[n], &forgery).is_ok());
            taken += usize::from(forged);
        }
    }
    // The library refuses the encodings that are not canonical when it verifies, and takes the eight points themselves.
    assert!(taken >= 8, "only {taken} take the forgery");
}

fn block(label: &str, der: &[u8]) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

#[test]
fn public_keys_and_certificates_are_read_from_pem() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&pair).unwrap().pem();
    let ed = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let p521 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
    let rsa = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let bare = block("RSA PUBLIC KEY", rsa.der_bytes());
    for (text, algorithm) in [
        (certificate.clone(), Algorithm::ES256),
        (pair.public_key_pem(), Algorithm::ES256),
        (p384.public_key_pem(), Algorithm::ES384),
        (p521.public_key_pem(), Algorithm::ES512),
        (ed.public_key_pem(), Algorithm::EdDSA),
        (rsa.public_key_pem(), Algorithm::PS512),
        (bare, Algorithm::RS256),
        (format!("bag attributes\n{}", pair.public_key_pem()), Algorithm::ES256),
        (format!("{certificate}\n{}", pair.public_key_pem()), Algorithm::ES256),
    ] {
        let blocks = text.matches("-----BEGIN").count();
        assert_eq!(KeySet::pem(&text, &[algorithm]).unwrap().usable(), blocks, "{algorithm:?}");
        // Of another algorithm it is an error, not a set without keys.
        let error = KeySet::pem(&text, &[Algorithm::RS384]).err();
        assert_eq!(error.is_none(), text.contains("RSA") || rsa.public_key_pem() == text);
    }
}

#[test]
fn pem_that_is_no_public_key_is_an_error_that_says_why() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let good = pair.public_key_pem();
    let der = rcgen::PublicKeyData::subject_public_key_info(&pair);
    let trailing = block("PUBLIC KEY", &[&der[..], &[0]].concat());
    let mut off_curve = der.clone();
    *off_curve.last_mut().unwrap() ^= 1;
    let two = format!("{good}{}", block("PUBLIC KEY", &off_curve));
    for (text, error) in [
        (pair.serialize_pem(), "the PEM text holds a private key"),
        (format!("{good}{}", pair.serialize_pem()), "the PEM text holds a private key"),
        (block("EC PRIVATE KEY", &[]), "the PEM text holds a private key"),
        (String::new(), "the keys are no PEM text"),
        ("{\"keys\":[]}".to_owned(), "the keys are no PEM text"),
        (good.replace("-----END", "--"), "the keys are no PEM text"),
        (good.replace("MF", "!!"), "the keys are no PEM text"),
        (block("DH PARAMETERS", &der), "PEM block 1 is neither a public key nor a certificate"),
        (block("PUBLIC KEY", &[]), "PEM block 1: the key is no valid public key"),
        (trailing, "PEM block 1: the key is no valid public key"),
        (two, "PEM block 2: the key is no valid public key"),
    ] {
        let said = KeySet::pem(&text, &[Algorithm::ES256]).unwrap_err().to_string();
        assert!(said.starts_with(error), "{said}");
    }
    let small = [&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0][..], &SMALL_ORDER[1]];
    let said = KeySet::pem(&block("PUBLIC KEY", &small.concat()), &[Algorithm::EdDSA]).unwrap_err();
    let reason = SkipReason::SmallOrder;
    assert_eq!(said, InvalidKeySet::PemKey { place: 1, reason });
}

#[test]
fn a_secret_is_as_long_as_its_digest_and_for_macs_only() {
    let secret = |length: usize, allowed: &[Algorithm]| {
        KeySet::secret(&vec![7; length], allowed).err().map(|why| why.to_string())
    };
    for (length, algorithm, needs) in [
        (31, Algorithm::HS256, "HS256 needs at least 32"),
        (47, Algorithm::HS384, "HS384 needs at least 48"),
        (63, Algorithm::HS512, "HS512 needs at least 64"),
    ] {
        let said = secret(length, &[algorithm]).unwrap();
        assert_eq!(said, format!("the shared secret has {length} bytes, and {needs}"));
        assert_eq!(secret(length + 1, &[algorithm]), None);
    }
    let only = Some("a shared secret is for HS256, HS384 and HS512 only".to_owned());
    assert_eq!(secret(64, &[]), only);
    assert_eq!(secret(64, &[Algorithm::HS256, Algorithm::RS256]), only);
    // One line end belongs to the file, a second one to the secret.
    let exact = KeySet::secret(&[7; 32], &[Algorithm::HS256]).unwrap();
    for (end, same) in [("", true), ("\n", true), ("\r\n", true), ("\n\n", false), (" ", false)] {
        let file = [&[7; 32], end.as_bytes()].concat();
        let read = KeySet::secret_file(&file, &[Algorithm::HS256]).unwrap();
        assert_eq!(read.same_text(&exact), same, "{end:?}");
    }
    assert_eq!(format!("{exact:?}"), "[None]");
}

#[test]
fn of_a_spiffe_bundle_only_named_jwt_svid_keys_count() {
    let bundle = |members: &str| {
        let key = EC.replace("\"kty\"", &format!("{members}\"kty\""));
        match KeySet::bundle(format!("{{\"keys\":[{key}]}}").as_bytes(), ALL) {
            Ok(_) => None,
            Err(InvalidKeySet::NothingUsable { skipped }) => Some(skipped[0].reason),
            Err(other) => panic!("{other}"),
        }
    };
    for (members, why) in [
        (r#""use":"jwt-svid","kid":"a","#, None),
        (r#""use":"jwt-svid","#, Some(SkipReason::Member("kid"))),
        (r#""use":"jwt-svid","kid":"","#, Some(SkipReason::Member("kid"))),
        (r#""kid":"a","#, Some(SkipReason::Member("use"))),
        (r#""use":"sig","kid":"a","#, Some(SkipReason::NotForJwtSvids)),
        (r#""use":"x509-svid","kid":"a","#, Some(SkipReason::NotForJwtSvids)),
        (r#""use":"jwt-svid","kid":"a","key_ops":["sign"],"#, Some(SkipReason::NotForSignatures)),
    ] {
        assert_eq!(bundle(members), why, "{members}");
    }
}
