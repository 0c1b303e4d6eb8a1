//! Where the keys of a provider are, and which signatures count.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::file::FileRef;
use super::raw::{RawDiscovery, RawKeys};
use super::value::{check_uri, duration_or, optional_uri};
use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::resource::Checked;

const DEFAULT_REFRESH: Duration = Duration::from_secs(5 * 60);
const MIN_REFRESH: Duration = Duration::from_secs(10);
const MAX_REFRESH: Duration = Duration::from_secs(24 * 60 * 60);
const DEFAULT_STALE: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_STALE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A signature algorithm. `none` cannot be written.
#[expect(missing_docs, reason = "the names are those of RFC 7518 and RFC 8037")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
pub enum Algorithm {
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

/// Where the keys of a provider are.
#[derive(Debug, Clone, PartialEq)]
pub enum Keys {
    /// Found through the provider's metadata document (OpenID Connect Discovery 1.0), in the background.
    Discovery {
        /// The document, where it is not the issuer and `/.well-known/openid-configuration`.
        url: Option<String>,
        /// The key set, where it is not the document's `jwks_uri`.
        jwks_uri: Option<String>,
        /// How often, and for how long.
        life: KeyLife,
    },
    /// Fetched in the background.
    JwksUri {
        /// An `http` or `https` URL.
        uri: String,
        /// How often, and for how long.
        life: KeyLife,
    },
    /// Written in the resource: `{"keys": [..]}`.
    Inline(Value),
    /// Public keys or certificates, written in the resource.
    Pem(String),
    /// Public keys or certificates in a file.
    PemFile(FileRef),
    /// A secret shared with the provider: the only keys for which HS algorithms count.
    SecretFile(FileRef),
    /// A SPIFFE bundle: its `jwt-svid` keys count.
    BundleFile(FileRef),
}

/// How fetched keys are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyLife {
    /// How often they are fetched, whatever cache headers say.
    pub refresh_interval: Duration,
    /// How long the last good ones are used without a successful fetch.
    pub max_stale: Duration,
}

impl Default for KeyLife {
    /// Every 5 minutes; for at most 24 hours.
    fn default() -> Self {
        Self { refresh_interval: DEFAULT_REFRESH, max_stale: DEFAULT_STALE }
    }
}

impl Algorithm {
    /// True for HS256, HS384 and HS512: whoever can verify can also sign.
    #[must_use]
    pub fn is_symmetric(self) -> bool {
        match self {
            Self::HS256 | Self::HS384 | Self::HS512 => true,
            Self::RS256
            | Self::RS384
            | Self::RS512
            | Self::PS256
            | Self::PS384
            | Self::PS512
            | Self::ES256
            | Self::ES384
            | Self::ES512
            | Self::EdDSA => false,
        }
    }
}

impl Keys {
    pub(super) fn check(raw: RawKeys, at: &FieldPath, source: &str) -> Checked<Self> {
        let life = KeyLife::check(&raw, at)?;
        let RawKeys {
            discovery,
            jwks_uri,
            inline,
            pem,
            pem_file,
            secret_file,
            bundle_file,
            refresh_interval: _,
            max_stale: _,
        } = raw;
        let file = |text: String, name: &str| FileRef::check(text, at.field(name), source);
        let mut written: Vec<(&str, Self)> = Vec::new();
        if let Some(RawDiscovery { url, jwks_uri }) = discovery {
            let at = at.field("discovery");
            let url = optional_uri(url, &at.field("url"))?;
            let jwks_uri = optional_uri(jwks_uri, &at.field("jwksUri"))?;
            written.push(("discovery", Self::Discovery { url, jwks_uri, life: life.fetched() }));
        }
        if let Some(uri) = jwks_uri {
            check_uri(&uri, &at.field("jwksUri"))?;
            written.push(("jwksUri", Self::JwksUri { uri, life: life.fetched() }));
        }
        if let Some(inline) = inline {
            check_inline(&inline, &at.field("inline"))?;
            written.push(("inline", Self::Inline(inline)));
        }
        if let Some(pem) = pem {
            if pem.trim().is_empty() {
                return Err(Problem::new(at.field("pem"), "is empty"));
            }
            written.push(("pem", Self::Pem(pem)));
        }
        if let Some(text) = pem_file {
            written.push(("pemFile", Self::PemFile(file(text, "pemFile")?)));
        }
        if let Some(text) = secret_file {
            written.push(("secretFile", Self::SecretFile(file(text, "secretFile")?)));
        }
        if let Some(text) = bundle_file {
            written.push(("bundleFile", Self::BundleFile(file(text, "bundleFile")?)));
        }
        let names: Vec<String> = written.iter().map(|(name, _)| format!("`{name}`")).collect();
        let (Some((name, keys)), None) = (written.pop(), written.pop()) else {
            return Err(match names.as_slice() {
                [] => Problem::new(
                    at.clone(),
                    "needs `discovery`, `jwksUri`, `inline`, `pem`, `pemFile`, `secretFile` or `bundleFile`",
                ),
                _ => Problem::new(
                    at.clone(),
                    format!("has {}: write one of them", names.join(" and ")),
                ),
            });
        };
        life.refuse_unless_fetched(&keys, name, at)?;
        Ok(keys)
    }

    /// The file that holds them, where they stand in one.
    #[must_use]
    pub fn file(&self) -> Option<&FileRef> {
        match self {
            Self::PemFile(file) | Self::SecretFile(file) | Self::BundleFile(file) => Some(file),
            Self::Discovery { .. } | Self::JwksUri { .. } | Self::Inline(_) | Self::Pem(_) => None,
        }
    }

    /// How fetched keys are kept; nothing for keys that are not fetched.
    #[must_use]
    pub fn life(&self) -> Option<KeyLife> {
        match self {
            Self::Discovery { life, .. } | Self::JwksUri { life, .. } => Some(*life),
            Self::Inline(_)
            | Self::Pem(_)
            | Self::PemFile(_)
            | Self::SecretFile(_)
            | Self::BundleFile(_) => None,
        }
    }
}

/// What is written about the life of keys, whether or not they are fetched.
struct WrittenLife {
    life: KeyLife,
    /// The fields that are written.
    fields: Vec<&'static str>,
}

impl KeyLife {
    fn check(raw: &RawKeys, at: &FieldPath) -> Checked<WrittenLife> {
        let fields = [
            ("refreshInterval", raw.refresh_interval.is_some()),
            ("maxStale", raw.max_stale.is_some()),
        ];
        let refresh_interval = duration_or(
            raw.refresh_interval.clone(),
            &at.field("refreshInterval"),
            (MIN_REFRESH, MAX_REFRESH),
            DEFAULT_REFRESH,
        )?;
        let max_stale = duration_or(
            raw.max_stale.clone(),
            &at.field("maxStale"),
            (refresh_interval, MAX_STALE),
            DEFAULT_STALE.max(refresh_interval),
        )?;
        Ok(WrittenLife {
            life: Self { refresh_interval, max_stale },
            fields: fields.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect(),
        })
    }
}

impl WrittenLife {
    fn fetched(&self) -> KeyLife {
        self.life
    }

    fn refuse_unless_fetched(&self, keys: &Keys, name: &str, at: &FieldPath) -> Checked<()> {
        match (keys.life(), self.fields.first()) {
            (None, Some(field)) => {
                let message = format!("keys from `{name}` are not fetched: leave `{field}` out");
                Err(Problem::new(at.field(field), message))
            }
            (Some(_), _) | (None, None) => Ok(()),
        }
    }
}

/// Every member of a key is text or a list of texts: a key ID that YAML took for a number must be quoted, or it would
/// not be the key ID any more.
fn check_inline(inline: &Value, at: &FieldPath) -> Checked<()> {
    let at_keys = at.field("keys");
    let keys = match inline.get("keys").and_then(Value::as_array) {
        Some(keys) if !keys.is_empty() => keys,
        Some(_) | None => {
            let message = "is no key set: expected `keys: [..]` with at least one key";
            return Err(Problem::new(at.clone(), message));
        }
    };
    for (place, key) in keys.iter().enumerate() {
        let at = at_keys.item(place);
        let Some(members) = key.as_object() else {
            return Err(Problem::new(at, "is no key: expected `kty: ..` and what belongs to it"));
        };
        for (name, value) in members {
            if matches!(value, Value::Number(_) | Value::Null | Value::Bool(_)) {
                return Err(Problem::new(at.field(name), format!("is {value}, expected text"))
                    .hint("quote it"));
            }
        }
    }
    Ok(())
}
