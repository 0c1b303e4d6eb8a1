//! A key that signs test tokens: read from a file or made anew, and its public half as a JWK.
//!
//! The key never leaves: there is no `Debug`, and what is printed of it is the public half and its thumbprint
//! (RFC 7638).

use anyhow::Context as _;
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaEncoding,
};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::authn::KeySet;
use crate::policy::Algorithm;

/// A signature algorithm of JOSE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "verbatim")]
pub(super) enum Alg {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    ES512,
    EdDSA,
    HS256,
    HS384,
    HS512,
}

/// A key and the algorithm it signs with.
pub(super) struct Signer {
    pair: Pair,
    alg: Alg,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
    Mac(Box<hmac::Key>),
}

/// What an algorithm needs.
enum Scheme {
    Ec,
    Ed,
    Rsa(&'static dyn RsaEncoding),
    Mac,
}

/// Curves: the algorithm, the way to sign, the name in a JWK.
const CURVES: [(Alg, &EcdsaSigningAlgorithm, &str); 3] = [
    (Alg::ES256, &signature::ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
    (Alg::ES384, &signature::ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
    (Alg::ES512, &signature::ECDSA_P521_SHA512_FIXED_SIGNING, "P-521"),
];

impl Alg {
    fn scheme(self) -> Scheme {
        match self {
            Self::RS256 => Scheme::Rsa(&signature::RSA_PKCS1_SHA256),
            Self::RS384 => Scheme::Rsa(&signature::RSA_PKCS1_SHA384),
            Self::RS512 => Scheme::Rsa(&signature::RSA_PKCS1_SHA512),
            Self::PS256 => Scheme::Rsa(&signature::RSA_PSS_SHA256),
            Self::PS384 => Scheme::Rsa(&signature::RSA_PSS_SHA384),
            Self::PS512 => Scheme::Rsa(&signature::RSA_PSS_SHA512),
            Self::ES256 | Self::ES384 | Self::ES512 => Scheme::Ec,
            Self::EdDSA => Scheme::Ed,
            Self::HS256 | Self::HS384 | Self::HS512 => Scheme::Mac,
        }
    }

    /// The name in a header.
    pub(super) fn name(self) -> String {
        format!("{self:?}")
    }
}

impl Signer {
    /// Reads a private key in PEM (PKCS#8, PKCS#1 or SEC1).
    pub(super) fn from_pem(pem: &str, wanted: Option<Alg>) -> anyhow::Result<Self> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| anyhow::anyhow!("holds no PEM private key (BEGIN PRIVATE KEY)"))?;
        Self::from_der(&der, wanted)
    }

    fn from_der(der: &PrivateKeyDer<'_>, wanted: Option<Alg>) -> anyhow::Result<Self> {
        let bytes = der.secret_der();
        for (alg, scheme, _) in CURVES {
            if let Ok(pair) = EcdsaKeyPair::from_private_key_der(scheme, bytes) {
                return Self::fit(Pair::Ec(pair), alg, wanted);
            }
        }
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes) {
            return Self::fit(Pair::Ed(pair), Alg::EdDSA, wanted);
        }
        let rsa = match der {
            PrivateKeyDer::Pkcs1(_) => RsaKeyPair::from_der(bytes),
            _ => RsaKeyPair::from_pkcs8(bytes),
        };
        let rsa = rsa.map_err(|_| {
            anyhow::anyhow!("is no key that can sign here: RSA of 2048 bits or more, P-256, P-384, P-521 or Ed25519")
        })?;
        Self::fit(Pair::Rsa(Box::new(rsa)), Alg::RS256, wanted)
    }

    fn fit(pair: Pair, usual: Alg, wanted: Option<Alg>) -> anyhow::Result<Self> {
        let alg = wanted.unwrap_or(usual);
        let fits = match alg.scheme() {
            Scheme::Rsa(_) => matches!(pair, Pair::Rsa(_)),
            Scheme::Ec | Scheme::Ed => alg == usual,
            Scheme::Mac => false,
        };
        anyhow::ensure!(fits, "is a key for {}, not for --alg {}", usual.name(), alg.name());
        Ok(Self { pair, alg })
    }

    /// A shared secret.
    pub(super) fn from_secret(secret: &[u8], wanted: Option<Alg>) -> anyhow::Result<Self> {
        let alg = wanted.unwrap_or(Alg::HS256);
        let (mac, algorithm) = match alg {
            Alg::HS256 => (hmac::HMAC_SHA256, Algorithm::HS256),
            Alg::HS384 => (hmac::HMAC_SHA384, Algorithm::HS384),
            Alg::HS512 => (hmac::HMAC_SHA512, Algorithm::HS512),
            other => anyhow::bail!(
                "a secret signs with HS256, HS384 or HS512, not with --alg {}",
                other.name()
            ),
        };
        // By the very rule of the verifying side.
        KeySet::secret(secret, &[algorithm]).context("no gate takes this secret")?;
        Ok(Self { pair: Pair::Mac(Box::new(hmac::Key::new(mac, secret))), alg })
    }

    /// Makes a key; gives the text of its file too: PEM, or for HS the secret itself.
    pub(super) fn generate(alg: Alg) -> anyhow::Result<(Self, Zeroizing<String>)> {
        let unmade = |_| anyhow::anyhow!("the crypto library made no key");
        let kind = match alg.scheme() {
            Scheme::Mac => {
                let mut secret = Zeroizing::new([0_u8; 48]);
                rand::fill(secret.as_mut_slice()).map_err(unmade)?;
                let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(secret.as_slice()));
                return Ok((Self::from_secret(text.as_bytes(), Some(alg))?, text));
            }
            Scheme::Rsa(_) => &rcgen::PKCS_RSA_SHA256,
            Scheme::Ed => &rcgen::PKCS_ED25519,
            Scheme::Ec => match alg {
                Alg::ES384 => &rcgen::PKCS_ECDSA_P384_SHA384,
                Alg::ES512 => &rcgen::PKCS_ECDSA_P521_SHA512,
                _ => &rcgen::PKCS_ECDSA_P256_SHA256,
            },
        };
        let der = Zeroizing::new(rcgen::KeyPair::generate_for(kind)?.serialize_der());
        let text = pem(&der);
        Ok((Self::from_pem(&text, Some(alg))?, text))
    }

    /// The algorithm it signs with.
    pub(super) fn alg(&self) -> Alg {
        self.alg
    }

    /// The public half; nothing for a secret.
    pub(super) fn jwk(&self) -> Option<Value> {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.pair {
            Pair::Mac(_) => None,
            Pair::Ed(pair) => {
                let x = encode(pair.public_key().as_ref());
                Some(json!({"crv": "Ed25519", "kty": "OKP", "x": x}))
            }
            Pair::Rsa(pair) => {
                let n = encode(pair.public_key().modulus().big_endian_without_leading_zero());
                let e = encode(pair.public_key().exponent().big_endian_without_leading_zero());
                Some(json!({"e": e, "kty": "RSA", "n": n}))
            }
            Pair::Ec(pair) => {
                // An uncompressed point: 4, x, y.
                let (_, point) = pair.public_key().as_ref().split_first()?;
                let (x, y) = point.split_at_checked(point.len() / 2)?;
                let (_, _, curve) = CURVES.iter().find(|(alg, _, _)| *alg == self.alg)?;
                Some(json!({"crv": curve, "kty": "EC", "x": encode(x), "y": encode(y)}))
            }
        }
    }

    /// The thumbprint of the public half: a name that anybody who has the key computes alike.
    pub(super) fn thumbprint(&self) -> Option<String> {
        // The members stand in the order of RFC 7638 already, and there are no others.
        let text = self.jwk()?.to_string();
        Some(URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes())))
    }

    /// A compact JWS.
    pub(super) fn sign(&self, header: &Value, payload: &Value) -> anyhow::Result<String> {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(payload));
        let signature = self.signature(signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn signature(&self, message: &[u8]) -> anyhow::Result<Vec<u8>> {
        let unsigned = |_| anyhow::anyhow!("the crypto library did not sign");
        match &self.pair {
            Pair::Mac(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            Pair::Ed(pair) => Ok(pair.try_sign(message).map_err(unsigned)?.as_ref().to_vec()),
            Pair::Ec(pair) => {
                let random = SystemRandom::new();
                Ok(pair.sign(&random, message).map_err(unsigned)?.as_ref().to_vec())
            }
            Pair::Rsa(pair) => {
                let Scheme::Rsa(padding) = self.alg.scheme() else {
                    anyhow::bail!("an RSA key signs with RS or PS algorithms only");
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &SystemRandom::new(), message, &mut signature)
                    .map_err(unsigned)?;
                Ok(signature)
            }
        }
    }
}

fn pem(pkcs8: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(pkcs8));
    let mut text = Zeroizing::new(String::with_capacity(body.len() + body.len() / 64 + 64));
    text.push_str("-----BEGIN PRIVATE KEY-----\n");
    for line in body.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str("-----END PRIVATE KEY-----\n");
    text
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;
    use jsonwebtoken::DecodingKey;

    use super::*;

    #[test]
    fn every_algorithm_makes_a_key_that_signs_after_it_was_written_and_read() {
        for alg in Alg::value_variants() {
            let (made, text) = Signer::generate(*alg).unwrap();
            let read = if matches!(alg.scheme(), Scheme::Mac) {
                Signer::from_secret(text.as_bytes(), Some(*alg)).unwrap()
            } else {
                Signer::from_pem(&text, Some(*alg)).unwrap()
            };
            assert_eq!(made.thumbprint(), read.thumbprint(), "{alg:?}");
            let token = read.sign(&json!({"alg": alg.name()}), &json!({"sub": "a"})).unwrap();
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            if let Pair::Mac(key) = &made.pair {
                hmac::verify(key, signed.as_bytes(), &signature).unwrap();
            } else if *alg != Alg::ES512 {
                let jwk = serde_json::from_value(made.jwk().unwrap()).unwrap();
                let key = DecodingKey::from_jwk(&jwk).unwrap();
                let alg = alg.name().parse().unwrap();
                let (signed, signature) = token.rsplit_once('.').unwrap();
                assert!(
                    jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key, alg).unwrap(),
                    "{alg:?}"
                );
            }
        }
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638() {
        // A P-256 key's members are `crv kty x y`, in this order and no others.
        let (signer, _) = Signer::generate(Alg::ES256).unwrap();
        let names: Vec<String> =
            signer.jwk().unwrap().as_object().unwrap().keys().cloned().collect();
        assert_eq!(names, ["crv", "kty", "x", "y"]);
        assert_eq!(signer.thumbprint().unwrap().len(), 43);
    }

    #[test]
    fn a_secret_that_no_gate_takes_is_refused() {
        for (alg, needs) in [(Alg::HS256, 32), (Alg::HS384, 48), (Alg::HS512, 64)] {
            assert!(Signer::from_secret(&vec![7; needs], Some(alg)).is_ok(), "{alg:?}");
            let refused = Signer::from_secret(&vec![7; needs - 1], Some(alg)).err().unwrap();
            let told = format!("{refused:#}");
            assert!(told.contains("no gate takes") && told.contains(&needs.to_string()), "{told}");
        }
        assert!(Signer::from_secret(&[7; 31], None).is_err());
    }

    #[test]
    fn a_key_signs_only_with_its_own_algorithms() {
        let (_, ec) = Signer::generate(Alg::ES256).unwrap();
        assert_eq!(Signer::from_pem(&ec, None).unwrap().alg(), Alg::ES256);
        for wrong in [Alg::ES384, Alg::RS256, Alg::EdDSA, Alg::HS256] {
            assert!(Signer::from_pem(&ec, Some(wrong)).is_err(), "{wrong:?}");
        }
        let (_, rsa) = Signer::generate(Alg::PS384).unwrap();
        assert_eq!(Signer::from_pem(&rsa, None).unwrap().alg(), Alg::RS256);
        assert!(Signer::from_pem(&rsa, Some(Alg::ES256)).is_err());
        assert!(Signer::from_secret(&[7; 64], Some(Alg::RS256)).is_err());
        assert!(Signer::from_pem("nothing", None).is_err());
    }
}
