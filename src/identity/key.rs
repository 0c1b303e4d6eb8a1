//! A private key that cannot leak by accident: no `Debug`, no `Clone`, wiped on drop.

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

/// A private key in PKCS#8 DER.
pub struct PrivateKey {
    pkcs8: Zeroizing<Vec<u8>>,
}

/// Why bytes are no private key.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKey {
    /// The text holds no PEM block of a private key.
    #[error(
        "no PEM private key found (expected a block \"BEGIN PRIVATE KEY\" or \"BEGIN EC PRIVATE KEY\")"
    )]
    NotPem,
    /// The key could not be read, or is of a kind that is not supported.
    #[error("private key cannot be used")]
    Unusable(#[source] rcgen::Error),
}

impl PrivateKey {
    /// Makes a new P-256 key.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn generate() -> Result<Self, InvalidKey> {
        let pair = rcgen::KeyPair::generate().map_err(InvalidKey::Unusable)?;
        Ok(Self { pkcs8: Zeroizing::new(pair.serialize_der()) })
    }

    /// Reads a PEM private key (PKCS#8, or SEC1 for elliptic curves).
    ///
    /// # Errors
    /// When there is no such block, or the key is of a kind that cannot sign here.
    pub fn from_pem(pem: &str) -> Result<Self, InvalidKey> {
        use rustls::pki_types::pem::PemObject as _;
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| InvalidKey::NotPem)?;
        let pair = rcgen::KeyPair::try_from(&der).map_err(InvalidKey::Unusable)?;
        Ok(Self { pkcs8: Zeroizing::new(pair.serialize_der()) })
    }

    /// Reads an unencrypted PKCS#8 DER private key.
    ///
    /// # Errors
    /// When it is none, or of a kind that cannot sign here.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, InvalidKey> {
        let read = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(der));
        let pair = rcgen::KeyPair::try_from(&read).map_err(InvalidKey::Unusable)?;
        Ok(Self { pkcs8: Zeroizing::new(pair.serialize_der()) })
    }

    /// PKCS#8 PEM text, to be written to a file of mode 0600 or handed to this workload's own Envoy.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        use base64::Engine as _;
        let body = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(&self.pkcs8));
        let mut pem = String::with_capacity(body.len() + 64);
        pem.push_str("-----BEGIN PRIVATE KEY-----\n");
        for line in body.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END PRIVATE KEY-----\n");
        Zeroizing::new(pem)
    }

    /// Unencrypted PKCS#8 DER, to be handed to this workload's own application.
    #[must_use]
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        self.pkcs8.clone()
    }

    /// The key pair for signing CSRs and certificates.
    ///
    /// # Errors
    /// When the key is of a kind that cannot sign here.
    pub fn to_key_pair(&self) -> Result<rcgen::KeyPair, InvalidKey> {
        let der = PrivatePkcs8KeyDer::from(self.pkcs8.as_slice());
        rcgen::KeyPair::try_from(&PrivateKeyDer::from(der)).map_err(InvalidKey::Unusable)
    }

    /// A copy for a TLS configuration of this process.
    #[must_use]
    pub fn to_rustls(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.pkcs8.to_vec()))
    }

    /// SubjectPublicKeyInfo in DER, to compare with a certificate's.
    ///
    /// # Errors
    /// When the key is of a kind that cannot sign here.
    pub fn public_key(&self) -> Result<Vec<u8>, InvalidKey> {
        use rcgen::PublicKeyData as _;
        Ok(self.to_key_pair()?.subject_public_key_info())
    }
}
