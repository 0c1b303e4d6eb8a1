//! Targets as they stand in a sidecar's file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::HostPattern;
use crate::authn::http::HttpError;
use crate::authn::online::AuthError;
use crate::policy::yaml::present;
use crate::policy::{Algorithm, ClientAuth, Http};

/// Hosts that the application calls, and where the token for them comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TargetConfig {
    /// A name for logs and metrics.
    pub name: String,
    /// Host names, without port; `*.internal.example` is every name below it.
    pub hosts: Vec<String>,
    /// The token endpoint.
    pub token_url: String,
    /// How the endpoint knows us.
    pub auth: TargetAuth,
    /// `scope`.
    #[serde(default, deserialize_with = "present")]
    pub scopes: Option<Vec<String>>,
    /// `audience`, which some providers want.
    #[serde(default, deserialize_with = "present")]
    pub audience: Option<String>,
    /// `resource` (RFC 8707).
    #[serde(default, deserialize_with = "present")]
    pub resource: Option<String>,
    /// Further parameters of the request.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// The header that carries the token: `authorization`, if nothing is said.
    #[serde(default, deserialize_with = "present")]
    pub header: Option<String>,
    /// How the endpoint is reached.
    #[serde(default, deserialize_with = "present")]
    pub http: Option<TargetHttp>,
}

/// How a token endpoint knows us. The same words as in an `IdentityProvider`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum TargetAuth {
    /// `client_secret_basic`.
    #[serde(rename_all = "camelCase")]
    Basic {
        /// `client_id`.
        client_id: String,
        /// A file with the `client_secret`.
        secret_file: PathBuf,
    },
    /// `client_secret_post`.
    #[serde(rename_all = "camelCase")]
    Post {
        /// `client_id`.
        client_id: String,
        /// A file with the `client_secret`.
        secret_file: PathBuf,
    },
    /// `private_key_jwt`.
    #[serde(rename_all = "camelCase")]
    PrivateKeyJwt {
        /// `client_id`.
        client_id: String,
        /// A private key in PEM.
        key_file: PathBuf,
        /// What it signs with, such as `ES256`.
        algorithm: String,
        /// The `kid` of the assertion.
        #[serde(default)]
        key_id: Option<String>,
        /// The `aud` of the assertion, where it is not the endpoint.
        #[serde(default)]
        audience: Option<String>,
    },
    /// `tls_client_auth`.
    #[serde(rename_all = "camelCase")]
    Mtls {
        /// `client_id`.
        client_id: String,
        /// The chain in PEM.
        cert_file: PathBuf,
        /// The private key in PEM.
        key_file: PathBuf,
    },
}

/// How a token endpoint is reached.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct TargetHttp {
    /// Whom to trust for https, in PEM.
    pub ca_file: Option<PathBuf>,
    /// A proxy.
    pub proxy: Option<String>,
    /// Hosts to which plain http may go.
    pub plaintext_hosts: Vec<String>,
}

/// A target cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("outbound.tokens[{place}].{field}: {problem}")]
pub struct InvalidTarget {
    place: usize,
    field: &'static str,
    problem: String,
}

impl InvalidTarget {
    pub(super) fn new(place: usize, field: &'static str, problem: impl Into<String>) -> Self {
        Self { place, field, problem: problem.into() }
    }

    pub(super) fn auth(place: usize, error: &AuthError) -> Self {
        Self::new(place, "auth", error.to_string())
    }

    pub(super) fn http(place: usize, error: &HttpError) -> Self {
        Self::new(place, "tokenUrl", error.to_string())
    }
}

impl TargetConfig {
    /// Makes relative paths relative to the directory of the configuration.
    pub fn resolve(&mut self, base: &Path) {
        let resolve = |path: &mut PathBuf| *path = base.join(&*path);
        match &mut self.auth {
            TargetAuth::Basic { secret_file, .. } | TargetAuth::Post { secret_file, .. } => {
                resolve(secret_file);
            }
            TargetAuth::PrivateKeyJwt { key_file, .. } => resolve(key_file),
            TargetAuth::Mtls { cert_file, key_file, .. } => {
                resolve(cert_file);
                resolve(key_file);
            }
        }
        if let Some(TargetHttp { ca_file: Some(file), .. }) = &mut self.http {
            resolve(file);
        }
    }

    pub(super) fn patterns(&self, place: usize) -> Result<Vec<HostPattern>, InvalidTarget> {
        let invalid = |text: &str| {
            let problem = format!(
                "{text:?} is no host name; write api.example or *.example, in lower case and without port"
            );
            InvalidTarget::new(place, "hosts", problem)
        };
        if self.hosts.is_empty() {
            return Err(InvalidTarget::new(place, "hosts", "name at least one host"));
        }
        let read = |text: &String| {
            let below = text.strip_prefix("*.");
            let name = below.unwrap_or(text);
            let is_label = |label: &str| {
                !label.is_empty()
                    && label.bytes().all(|b| {
                        b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_')
                    })
            };
            if !name.split('.').all(is_label) {
                return Err(invalid(text));
            }
            Ok(match below {
                Some(suffix) => HostPattern::Below(suffix.to_owned()),
                None => HostPattern::Exactly(name.to_owned()),
            })
        };
        self.hosts.iter().map(read).collect()
    }

    pub(super) fn header_name(&self, place: usize) -> Result<String, InvalidTarget> {
        let name = self.header.as_deref().unwrap_or("authorization").to_ascii_lowercase();
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let taken = ["host", "connection", "content-length", "transfer-encoding", "te", "upgrade"];
        if name.is_empty() || !name.bytes().all(plain) || taken.contains(&name.as_str()) {
            let problem = format!("{name:?} is no header that can carry a token");
            return Err(InvalidTarget::new(place, "header", problem));
        }
        Ok(name)
    }

    pub(super) fn client_auth(&self, place: usize) -> Result<ClientAuth, InvalidTarget> {
        Ok(match self.auth.clone() {
            TargetAuth::Basic { client_id, secret_file } => {
                ClientAuth::Basic { client_id, secret: secret_file.into() }
            }
            TargetAuth::Post { client_id, secret_file } => {
                ClientAuth::Post { client_id, secret: secret_file.into() }
            }
            TargetAuth::PrivateKeyJwt { client_id, key_file, algorithm, key_id, audience } => {
                ClientAuth::PrivateKeyJwt {
                    client_id,
                    key: key_file.into(),
                    algorithm: signing(&algorithm).ok_or_else(|| {
                        let problem = format!("{algorithm:?} is no algorithm that assertions are signed with, such as ES256");
                        InvalidTarget::new(place, "auth", problem)
                    })?,
                    key_id,
                    audience,
                }
            }
            TargetAuth::Mtls { client_id, cert_file, key_file } => ClientAuth::Mtls {
                client_id: Some(client_id),
                cert: cert_file.into(),
                key: key_file.into(),
            },
        })
    }

    pub(super) fn http(&self) -> Http {
        let TargetHttp { ca_file, proxy, plaintext_hosts } = self.http.clone().unwrap_or_default();
        Http { ca: ca_file.map(Into::into), proxy, allow_addresses: Vec::new(), plaintext_hosts }
    }
}

/// No host may be named by two targets: which token it gets must not depend on their order.
pub(super) fn refuse_overlap(targets: &[TargetConfig]) -> Result<(), InvalidTarget> {
    for (place, target) in targets.iter().enumerate() {
        for earlier in targets.iter().take(place) {
            if earlier.name == target.name {
                return Err(InvalidTarget::new(place, "name", "another target has this name"));
            }
            if let Some(host) = target.hosts.iter().find(|host| earlier.hosts.contains(host)) {
                let problem = format!("{host:?} is named by {} already", earlier.name);
                return Err(InvalidTarget::new(place, "hosts", problem));
            }
        }
    }
    Ok(())
}

fn signing(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return None,
    })
}
