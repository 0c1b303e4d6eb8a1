//! The keys of the identity provider.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// An RSA key that signs tokens with RS256.
pub(crate) struct SigningKey {
    id: String,
    signer: EncodingKey,
    public_pem: String,
    jwk: Value,
}

/// A key could not be made, or did not sign.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The crypto library made no key.
    #[error("cannot make an RSA key")]
    Make,
    /// The new key could not be read for signing, or the token was not signed.
    #[error("cannot sign with the identity provider's key")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

impl SigningKey {
    /// Makes a key of 2048 bits. Takes a second or so of CPU in an unoptimised build: call it off the async threads.
    pub(crate) fn generate(id: &str) -> Result<Self, KeyError> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::Make)?;
        let private: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError::Make)?;
        let public = pair.public_key();
        let spki: PublicKeyX509Der<'_> = public.as_der().map_err(|_| KeyError::Make)?;
        let private = Zeroizing::new(pem("PRIVATE KEY", private.as_ref()));
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        Ok(Self {
            id: id.to_owned(),
            signer: EncodingKey::from_rsa_pem(private.as_bytes())?,
            public_pem: pem("PUBLIC KEY", spki.as_ref()),
            jwk: json!({
                "kty": "RSA", "use": "sig", "alg": "RS256", "kid": id,
                "n": encode(public.modulus().big_endian_without_leading_zero()),
                "e": encode(public.exponent().big_endian_without_leading_zero()),
            }),
        })
    }

    /// Signs claims, naming `key_id` in the header: an attacker may name a key that is not his.
    pub(crate) fn sign_as(&self, key_id: &str, claims: &Value) -> Result<String, KeyError> {
        let header = Header {
            typ: Some("at+jwt".to_owned()),
            kid: Some(key_id.to_owned()),
            ..Header::new(Algorithm::RS256)
        };
        Ok(jsonwebtoken::encode(&header, claims, &self.signer)?)
    }

    /// Signs claims.
    pub(crate) fn sign(&self, claims: &Value) -> Result<String, KeyError> {
        self.sign_as(&self.id, claims)
    }

    /// The name of the key in a JWKS and in the header of a token.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The public key as anybody can build it from the JWKS.
    pub(crate) fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// The public key as it stands in a JWKS.
    pub(crate) fn jwk(&self) -> &Value {
        &self.jwk
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for (at, letter) in text.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem.push_str(&format!("\n-----END {label}-----\n"));
    pem
}
