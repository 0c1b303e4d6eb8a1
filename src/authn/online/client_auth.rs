//! How we prove who asks: client authentication at an endpoint of a provider (RFC 6749, section 2.3; RFC 7523; RFC 8705).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderValue;
use jsonwebtoken::{EncodingKey, Header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use zeroize::Zeroizing;

use crate::authn::files::{FileMissing, Files};
use crate::authn::http::ClientIdentity;
use crate::policy::{Algorithm, ClientAuth, FileRef};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// An assertion is used at once.
const ASSERTION_LIFE: Duration = Duration::from_secs(60);
/// What `application/x-www-form-urlencoded` leaves as it is.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

/// Proves who asks. One for each provider, so its size does not matter.
#[expect(clippy::large_enum_variant, reason = "there are as many as providers")]
pub(in crate::authn) enum Authenticator {
    None,
    /// The whole value of `Authorization`.
    Basic(HeaderValue),
    Post {
        client_id: String,
        secret: Zeroizing<String>,
    },
    PrivateKeyJwt(Assertion),
    /// By the certificate of the connection.
    Mtls {
        client_id: Option<String>,
    },
}

/// Signs assertions.
pub(in crate::authn) struct Assertion {
    client_id: String,
    key: EncodingKey,
    header: Header,
    audience: Option<String>,
}

/// What is sent beside the question.
#[derive(Default)]
pub(in crate::authn) struct Proof {
    pub(in crate::authn) authorization: Option<HeaderValue>,
    pub(in crate::authn) form: Vec<(&'static str, Zeroizing<String>)>,
}

/// Why our own credentials cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// A file was not handed over.
    #[error(transparent)]
    File(#[from] FileMissing),
    /// The secret is no text, or empty.
    #[error("auth: {0} holds no secret")]
    Secret(FileRef),
    /// The private key cannot be read, or is not for the algorithm.
    #[error("auth: {0} holds no private key in PEM for {1:?}")]
    Key(FileRef, Algorithm),
    /// No assertion can be signed with this algorithm.
    #[error("auth: assertions cannot be signed with {0:?}")]
    Algorithm(Algorithm),
    /// Signing failed.
    #[error("auth: the assertion cannot be signed")]
    Signing,
}

impl Authenticator {
    /// Reads our own credentials.
    pub(in crate::authn) fn compile(auth: &ClientAuth, files: &Files) -> Result<Self, AuthError> {
        Ok(match auth {
            ClientAuth::None => Self::None,
            ClientAuth::Basic { client_id, secret } => {
                Self::Basic(basic(client_id, &read_secret(secret, files)?, secret)?)
            }
            ClientAuth::Post { client_id, secret } => {
                Self::Post { client_id: client_id.clone(), secret: read_secret(secret, files)? }
            }
            ClientAuth::PrivateKeyJwt { client_id, key, algorithm, key_id, audience } => {
                let (named, encoding) = signing_key(*algorithm, key, files.content(key)?)?;
                let mut header = Header::new(named);
                header.kid.clone_from(key_id);
                Self::PrivateKeyJwt(Assertion {
                    client_id: client_id.clone(),
                    key: encoding,
                    header,
                    audience: audience.clone(),
                })
            }
            ClientAuth::Mtls { client_id, .. } => Self::Mtls { client_id: client_id.clone() },
        })
    }

    /// The certificate that connections present.
    pub(in crate::authn) fn identity(
        &self,
        auth: &ClientAuth,
        files: &Files,
    ) -> Result<Option<ClientIdentity>, FileMissing> {
        match auth {
            ClientAuth::Mtls { cert, key, client_id: _ } => Ok(Some(ClientIdentity {
                chain_pem: files.content(cert)?.to_vec(),
                key_pem: Zeroizing::new(files.content(key)?.to_vec()),
            })),
            ClientAuth::None
            | ClientAuth::Basic { .. }
            | ClientAuth::Post { .. }
            | ClientAuth::PrivateKeyJwt { .. } => Ok(None),
        }
    }

    /// What to send beside a question to `endpoint`.
    pub(in crate::authn) fn proof(
        &self,
        endpoint: &str,
        now: SystemTime,
    ) -> Result<Proof, AuthError> {
        let secret = |text: &str| Zeroizing::new(text.to_owned());
        Ok(match self {
            Self::None | Self::Mtls { client_id: None } => Proof::default(),
            Self::Mtls { client_id: Some(id) } => {
                Proof { authorization: None, form: vec![("client_id", secret(id))] }
            }
            Self::Basic(value) => Proof { authorization: Some(value.clone()), form: Vec::new() },
            Self::Post { client_id, secret: known } => Proof {
                authorization: None,
                form: vec![("client_id", secret(client_id)), ("client_secret", known.clone())],
            },
            Self::PrivateKeyJwt(assertion) => Proof {
                authorization: None,
                form: vec![
                    ("client_id", secret(&assertion.client_id)),
                    ("client_assertion_type", secret(ASSERTION_TYPE)),
                    ("client_assertion", assertion.sign(endpoint, now)?),
                ],
            },
        })
    }
}

impl Assertion {
    /// RFC 7523, section 3.
    fn sign(&self, endpoint: &str, now: SystemTime) -> Result<Zeroizing<String>, AuthError> {
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| AuthError::Signing)?;
        let seconds = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = json!({
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self.audience.as_deref().unwrap_or(endpoint),
            "jti": URL_SAFE_NO_PAD.encode(id),
            "iat": seconds(now),
            "exp": seconds(now + ASSERTION_LIFE),
        });
        jsonwebtoken::encode(&self.header, &claims, &self.key)
            .map(Zeroizing::new)
            .map_err(|_| AuthError::Signing)
    }
}

/// Both parts are form-encoded first (RFC 6749, section 2.3.1), which some providers insist on.
fn basic(client_id: &str, secret: &str, file: &FileRef) -> Result<HeaderValue, AuthError> {
    let encoded = |text| utf8_percent_encode(text, FORM).to_string();
    let both = Zeroizing::new(format!("{}:{}", encoded(client_id), encoded(secret)));
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(both.as_bytes())));
    let mut value = HeaderValue::from_str(&text).map_err(|_| AuthError::Secret(file.clone()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A secret is one line; the line break at its end is no part of it.
fn read_secret(file: &FileRef, files: &Files) -> Result<Zeroizing<String>, AuthError> {
    let invalid = || AuthError::Secret(file.clone());
    let text = std::str::from_utf8(files.content(file)?).map_err(|_| invalid())?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() || text.contains(char::is_control) {
        return Err(invalid());
    }
    Ok(Zeroizing::new(text.to_owned()))
}

fn signing_key(
    algorithm: Algorithm,
    file: &FileRef,
    pem: &[u8],
) -> Result<(jsonwebtoken::Algorithm, EncodingKey), AuthError> {
    use jsonwebtoken::Algorithm as Named;
    type Read = fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>;
    let (named, read): (Named, Read) = match algorithm {
        Algorithm::RS256 => (Named::RS256, EncodingKey::from_rsa_pem),
        Algorithm::RS384 => (Named::RS384, EncodingKey::from_rsa_pem),
        Algorithm::RS512 => (Named::RS512, EncodingKey::from_rsa_pem),
        Algorithm::PS256 => (Named::PS256, EncodingKey::from_rsa_pem),
        Algorithm::PS384 => (Named::PS384, EncodingKey::from_rsa_pem),
        Algorithm::PS512 => (Named::PS512, EncodingKey::from_rsa_pem),
        Algorithm::ES256 => (Named::ES256, EncodingKey::from_ec_pem),
        Algorithm::ES384 => (Named::ES384, EncodingKey::from_ec_pem),
        Algorithm::EdDSA => (Named::EdDSA, EncodingKey::from_ed_pem),
        Algorithm::ES512 | Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
            return Err(AuthError::Algorithm(algorithm));
        }
    };
    let key = read(pem).map_err(|_| AuthError::Key(file.clone(), algorithm))?;
    // A key of another curve is only noticed when it signs.
    jsonwebtoken::encode(&Header::new(named), &json!({}), &key)
        .map_err(|_| AuthError::Key(file.clone(), algorithm))?;
    Ok((named, key))
}
