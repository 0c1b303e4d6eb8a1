//! Credentials that only a server can judge.

use std::time::Duration;

use super::file::FileRef;
use super::keys::Algorithm;
use super::raw::{
    RawClientAuth, RawIdentityProvider, RawIntrospection, RawMtls, RawPath, RawPrivateKeyJwt,
    RawSharedSecret, RawTokenReview, RawUserinfo, RawWhen,
};
use super::value::{check_path, check_uri, duration_or, optional_uri};
use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::resource::{Checked, check_list, check_text};

const TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60 * 60));
const NEGATIVE_TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5 * 60));
const TIMEOUT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(30));

/// A server that judges credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Online {
    /// Which one, and how it is asked.
    pub question: Question,
    /// For which credentials.
    pub when: When,
    /// How long a yes is believed, at most: never longer than the credential itself.
    pub ttl: Duration,
    /// How long a no is believed.
    pub negative_ttl: Duration,
    /// How long one question may take.
    pub timeout: Duration,
}

/// How a server is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// RFC 7662.
    Introspection {
        /// The endpoint; nothing where the provider's metadata document tells it.
        url: Option<String>,
        /// How we prove who asks.
        auth: ClientAuth,
        /// `token_type_hint`.
        token_type_hint: Option<String>,
    },
    /// A resource that answers with the user of the token (OpenID Connect Core, section 5.3, and its like).
    Userinfo {
        /// The resource; nothing where the provider's metadata document tells it.
        url: Option<String>,
        /// Names that lead to the object with the claims; empty for the answer itself.
        root: Vec<String>,
        /// The statuses that mean no. Never empty.
        refusals: Vec<u16>,
    },
    /// `authentication.k8s.io/v1` `TokenReview`.
    TokenReview {
        /// The API server.
        url: String,
        /// Our own token.
        token_file: FileRef,
        /// One of these must come back. Never empty.
        audiences: Vec<String>,
    },
}

/// For which credentials a server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// For those that are no JWT.
    Opaque,
    /// For every one.
    Always,
}

/// How we prove who asks (RFC 6749, section 2.3; RFC 7523; RFC 8705).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAuth {
    /// Not at all.
    None,
    /// `client_secret_basic`.
    Basic {
        /// `client_id`.
        client_id: String,
        /// `client_secret`.
        secret: FileRef,
    },
    /// `client_secret_post`.
    Post {
        /// `client_id`.
        client_id: String,
        /// `client_secret`.
        secret: FileRef,
    },
    /// `private_key_jwt`.
    PrivateKeyJwt {
        /// `client_id`.
        client_id: String,
        /// A private key in PEM (PKCS #8).
        key: FileRef,
        /// What it signs with.
        algorithm: Algorithm,
        /// The `kid` of the assertion.
        key_id: Option<String>,
        /// The `aud` of the assertion, where it is not the endpoint.
        audience: Option<String>,
    },
    /// `tls_client_auth`.
    Mtls {
        /// `client_id`.
        client_id: Option<String>,
        /// The chain in PEM.
        cert: FileRef,
        /// The private key in PEM.
        key: FileRef,
    },
}

impl Online {
    /// Reads the one of the three that is written.
    pub(super) fn check(
        raw: &mut RawIdentityProvider,
        at: &FieldPath,
        source: &str,
    ) -> Checked<Option<Self>> {
        let written = (raw.introspection.take(), raw.userinfo.take(), raw.token_review.take());
        match written {
            (None, None, None) => Ok(None),
            (Some(raw), None, None) => {
                Self::introspection(raw, &at.field("introspection"), source).map(Some)
            }
            (None, Some(raw), None) => Self::userinfo(raw, &at.field("userinfo")).map(Some),
            (None, None, Some(raw)) => {
                Self::token_review(raw, &at.field("tokenReview"), source).map(Some)
            }
            _ => Err(Problem::new(
                at.clone(),
                "has several of `introspection`, `userinfo` and `tokenReview`: write one of them",
            )),
        }
    }

    fn introspection(raw: RawIntrospection, at: &FieldPath, source: &str) -> Checked<Self> {
        let RawIntrospection { url, when, auth, ttl, negative_ttl, timeout, token_type_hint } = raw;
        let question = Question::Introspection {
            url: optional_uri(url, &at.field("url"))?,
            auth: ClientAuth::check(auth, &at.field("auth"), source)?,
            token_type_hint: token_type_hint
                .map(|hint| check_text(hint, at.field("tokenTypeHint")))
                .transpose()?,
        };
        Self::join(question, when, [ttl, negative_ttl, timeout], at)
    }

    fn userinfo(raw: RawUserinfo, at: &FieldPath) -> Checked<Self> {
        let RawUserinfo { url, when, root, refusals, ttl, negative_ttl, timeout } = raw;
        let root = root.map(|RawPath(path)| check_path(path, &at.field("root"))).transpose()?;
        let refusals = check_list(refusals.unwrap_or_else(|| vec![401]), &at.field("refusals"))?;
        if let Some(place) = refusals.iter().position(|status| !(400..500).contains(status)) {
            let at = at.field("refusals").item(place);
            return Err(Problem::new(at, "is no status that refuses, expected 400 to 499"));
        }
        let url = optional_uri(url, &at.field("url"))?;
        let question = Question::Userinfo { url, root: root.unwrap_or_default(), refusals };
        Self::join(question, when, [ttl, negative_ttl, timeout], at)
    }

    fn token_review(raw: RawTokenReview, at: &FieldPath, source: &str) -> Checked<Self> {
        let RawTokenReview { url, token_file, audiences, ttl, negative_ttl, timeout } = raw;
        check_uri(&url, &at.field("url"))?;
        let question = Question::TokenReview {
            url,
            token_file: FileRef::check(token_file, at.field("tokenFile"), source)?,
            audiences: check_list(audiences, &at.field("audiences"))?,
        };
        Self::join(question, Some(RawWhen::Always), [ttl, negative_ttl, timeout], at)
    }

    fn join(
        question: Question,
        when: Option<RawWhen>,
        [ttl, negative_ttl, timeout]: [Option<String>; 3],
        at: &FieldPath,
    ) -> Checked<Self> {
        Ok(Self {
            question,
            when: match when {
                Some(RawWhen::Always) => When::Always,
                Some(RawWhen::Opaque) | None => When::Opaque,
            },
            ttl: duration_or(ttl, &at.field("ttl"), TTL, Duration::from_secs(60))?,
            negative_ttl: duration_or(
                negative_ttl,
                &at.field("negativeTtl"),
                NEGATIVE_TTL,
                Duration::from_secs(5),
            )?,
            timeout: duration_or(timeout, &at.field("timeout"), TIMEOUT, Duration::from_secs(2))?,
        })
    }

    /// True when the endpoint is only told by the provider's metadata document.
    #[must_use]
    pub fn needs_discovery(&self) -> bool {
        match &self.question {
            Question::Introspection { url, .. } | Question::Userinfo { url, .. } => url.is_none(),
            Question::TokenReview { .. } => false,
        }
    }

    pub(super) fn files(&self) -> Vec<&FileRef> {
        match &self.question {
            Question::Introspection { auth, .. } => auth.files(),
            Question::Userinfo { .. } => Vec::new(),
            Question::TokenReview { token_file, .. } => vec![token_file],
        }
    }
}

impl ClientAuth {
    pub(super) fn check(raw: RawClientAuth, at: &FieldPath, source: &str) -> Checked<Self> {
        let file = |text: String, name: &str, field: &str| {
            FileRef::check(text, at.field(name).field(field), source)
        };
        let id = |text: String, name: &str| check_text(text, at.field(name).field("clientId"));
        Ok(match raw {
            RawClientAuth::None => Self::None,
            RawClientAuth::Basic(RawSharedSecret { client_id, secret_file }) => Self::Basic {
                client_id: id(client_id, "basic")?,
                secret: file(secret_file, "basic", "secretFile")?,
            },
            RawClientAuth::Post(RawSharedSecret { client_id, secret_file }) => Self::Post {
                client_id: id(client_id, "post")?,
                secret: file(secret_file, "post", "secretFile")?,
            },
            RawClientAuth::PrivateKeyJwt(raw) => {
                let RawPrivateKeyJwt { client_id, key_file, algorithm, key_id, audience } = raw;
                if algorithm.is_symmetric() {
                    let at = at.field("privateKeyJwt").field("algorithm");
                    return Err(Problem::new(
                        at,
                        format!("{algorithm:?} is not for a private key"),
                    ));
                }
                Self::PrivateKeyJwt {
                    client_id: id(client_id, "privateKeyJwt")?,
                    key: file(key_file, "privateKeyJwt", "keyFile")?,
                    algorithm,
                    key_id,
                    audience,
                }
            }
            RawClientAuth::Mtls(RawMtls { client_id, cert_file, key_file }) => Self::Mtls {
                client_id: client_id.map(|text| id(text, "mtls")).transpose()?,
                cert: file(cert_file, "mtls", "certFile")?,
                key: file(key_file, "mtls", "keyFile")?,
            },
        })
    }

    /// The files it needs.
    #[must_use]
    pub fn files(&self) -> Vec<&FileRef> {
        match self {
            Self::None => Vec::new(),
            Self::Basic { secret, .. } | Self::Post { secret, .. } => vec![secret],
            Self::PrivateKeyJwt { key, .. } => vec![key],
            Self::Mtls { cert, key, .. } => vec![cert, key],
        }
    }
}
