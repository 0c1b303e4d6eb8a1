//! API keys, hashed at rest.
//!
//! The file names each key by its SHA-256 and says whom it speaks for:
//!
//! ```yaml
//! keys:
//!   - id: billing-export            # unique; shown in logs
//!     sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
//!     subject: svc-billing          # default: the id
//!     roles: [reader]
//!     scopes: [invoices:read]
//!     groups: [exporters]
//!     tenant: acme
//!     email: billing@acme.example
//!     expires: 2027-01-01T00:00:00Z # RFC 3339; without it the key lasts until it is taken out of the file
//!     claims: { plan: gold }        # anything else that rules may ask about
//! ```
//!
//! Only `id` and `sha256` must be there; an unknown field is an error with its line. A key is revoked by taking it out:
//! the set is replaced whole, so the next request no longer finds it.
//!
//! **Why a plain SHA-256 is enough, and for what.** A slow hash protects secrets that people choose, because those can be
//! guessed. A key with 128 random bits or more cannot be guessed, however fast the hash; so [`generate_api_key`] makes
//! them of 256 bits. Passwords do not belong here: whoever reads the file would find them. A hash does not show what it
//! was made of, so this cannot be checked when the file is read; only what is presented can, and anything shorter than
//! 16 characters is refused.

use std::collections::HashMap;
use std::fmt;
use std::time::SystemTime;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde_json::{Map, Value};

use crate::policy::yaml::{self, YamlError};

mod generate;
mod raw;

pub use generate::{NewApiKey, NewApiKeyError, generate_api_key};

const SHORTEST: usize = 16;
const LONGEST: usize = 512;

/// The API keys of one file.
pub struct ApiKeys {
    keys: Vec<ApiKey>,
    /// Where a digest stands in `keys`. Hashed under a key of this process.
    by_digest: HashMap<[u8; 32], usize, foldhash::fast::RandomState>,
}

/// Whom a key speaks for. Holds nothing of the key but its hash.
pub struct ApiKey {
    digest: [u8; 32],
    id: String,
    subject: String,
    roles: Vec<String>,
    scopes: Vec<String>,
    groups: Vec<String>,
    tenant: Option<String>,
    email: Option<String>,
    expires: Option<SystemTime>,
    claims: Map<String, Value>,
}

/// Why a file is no set of API keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidApiKeys {
    /// It is not the YAML that was expected.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// Two entries have the same id.
    #[error("{source_name}:{line}: the id `{id}` stands twice, first on line {first_line}")]
    DuplicateId {
        /// The name of the file.
        source_name: String,
        /// Where it stands again.
        line: u64,
        /// Where it stands first.
        first_line: u64,
        /// The id.
        id: String,
    },
    /// Two entries have the same hash: one key would speak for two.
    #[error("{source_name}:{line}: `{id}` has the same sha256 as `{first_id}`")]
    DuplicateKey {
        /// The name of the file.
        source_name: String,
        /// Where it stands again.
        line: u64,
        /// The entry there.
        id: String,
        /// The entry that has it too.
        first_id: String,
    },
}

/// A presented key was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyRefused {
    /// It can be no key: shorter than 16 or longer than 512 characters, or not all of them visible ASCII.
    #[error("what was sent can be no API key")]
    Malformed,
    /// No entry has its hash.
    #[error("no such API key")]
    Unknown,
    /// Its time is over.
    #[error("the API key {id} has expired")]
    Expired {
        /// Which one. For the operator: whoever has the key knows nothing of ids.
        id: String,
    },
}

impl ApiKeys {
    /// Reads a file. Keys that have expired are kept, so that their use can be named; they never match. No key at all is
    /// a valid set: it is what remains when the last one is revoked.
    ///
    /// # Errors
    /// With the place, when the text is anything else than described above, or two entries share an id or a hash.
    pub fn parse(source: &str, text: &str) -> Result<Self, InvalidApiKeys> {
        let file: raw::File = yaml::parse_one(source, text)?;
        let mut lines: HashMap<String, u64> = HashMap::new();
        let mut set =
            Self { keys: Vec::with_capacity(file.keys.len()), by_digest: HashMap::default() };
        for entry in file.keys {
            let line = entry.line();
            let key = ApiKey::from(entry);
            if let Some(first_line) = lines.insert(key.id.clone(), line) {
                let source_name = source.to_owned();
                return Err(InvalidApiKeys::DuplicateId {
                    source_name,
                    line,
                    first_line,
                    id: key.id,
                });
            }
            if let Some(first) = set.entry(&key.digest) {
                let (source_name, first_id) = (source.to_owned(), first.id.clone());
                return Err(InvalidApiKeys::DuplicateKey {
                    source_name,
                    line,
                    id: key.id,
                    first_id,
                });
            }
            set.by_digest.insert(key.digest, set.keys.len());
            set.keys.push(key);
        }
        Ok(set)
    }

    /// The key that was presented.
    ///
    /// # Errors
    /// When it can be no key, is not known or has expired.
    pub fn find(&self, presented: &str, now: SystemTime) -> Result<&ApiKey, ApiKeyRefused> {
        if !(SHORTEST..=LONGEST).contains(&presented.len())
            || !presented.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(ApiKeyRefused::Malformed);
        }
        let key = self.entry(&super::digest(presented.as_bytes())).ok_or(ApiKeyRefused::Unknown)?;
        if key.expires.is_some_and(|expires| now >= expires) {
            return Err(ApiKeyRefused::Expired { id: key.id.clone() });
        }
        Ok(key)
    }

    /// How many keys there are, expired ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// True without any key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The entries, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &ApiKey> {
        self.keys.iter()
    }

    /// The index only finds a candidate; what decides is the whole digest, in constant time. How long the index takes
    /// may tell something of a digest, and a digest tells nothing of its key.
    fn entry(&self, digest: &[u8; 32]) -> Option<&ApiKey> {
        let key = self.keys.get(*self.by_digest.get(digest)?)?;
        verify_slices_are_equal(&key.digest, digest).ok().map(|()| key)
    }
}

impl ApiKey {
    /// Its name in the file.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whom it speaks for.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The roles it has.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// The scopes it has.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// The groups it is in.
    #[must_use]
    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// How to reach whoever has it.
    #[must_use]
    pub fn email(&self) -> Option<&str> {
        self.email.as_deref()
    }

    /// When it ends.
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// Anything else that was written about it. None of these has the name of a field or of a registered claim.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
}

/// Shows which key it is, not its hash.
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl ApiKeyRefused {
    /// A stable name, for logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed => "api_key_malformed",
            Self::Unknown => "api_key_unknown",
            Self::Expired { .. } => "api_key_expired",
        }
    }
}

#[cfg(test)]
mod tests;
