//! The last good bundle of each relationship, kept over restarts.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::identity::{InvalidSpiffeBundle, SpiffeBundle, TrustDomain};
use crate::runtime::{FileError, read_limited, write_atomic};

use super::fetch::said;

/// A document of the largest size, escaped, and what stands around it.
const MAX: u64 = 4 * 1024 * 1024;

/// What is kept cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The directory or a file in it cannot be made or removed.
    #[error("{path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// It holds something else. What was published last is then not known, so nothing older may take its place.
    #[error(
        "{path} does not hold the last bundle of {domain}: {problem}; remove it to begin again with this trust domain"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Whose bundle it should be.
        domain: TrustDomain,
        /// What is wrong.
        problem: String,
    },
    /// A bundle that the operator supplies is none.
    #[error("{path} is no SPIFFE bundle: {}", said(.source))]
    Supplied {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<InvalidSpiffeBundle>,
    },
}

/// A directory with one file per trust domain.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
}

/// What is kept of one relationship.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kept {
    pub(super) bundle: SpiffeBundle,
    pub(super) document: String,
    /// When the endpoint gave it last, or the file was read.
    pub(super) confirmed: SystemTime,
    /// SHA-256 of the operator's bundle file that was read last: another one takes its place.
    pub(super) supplied: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Envelope {
    trust_domain: String,
    confirmed: u64,
    supplied: Option<String>,
    document: String,
}

impl Store {
    pub(super) fn open(directory: &Path) -> Result<Self, StoreError> {
        make(directory)?;
        Ok(Self { directory: directory.to_path_buf() })
    }

    pub(super) fn load(&self, domain: &TrustDomain) -> Result<Option<Kept>, StoreError> {
        let path = self.path(domain);
        if !path.exists() {
            return Ok(None);
        }
        let text = read_limited(&path, MAX)?;
        let damaged = |problem: String| StoreError::Damaged {
            path: path.clone(),
            domain: domain.clone(),
            problem,
        };
        let envelope: Envelope =
            serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        let Envelope { trust_domain, confirmed, supplied, document } = envelope;
        if trust_domain != domain.as_str() {
            return Err(damaged(format!("it is of {trust_domain:?}")));
        }
        let bundle =
            SpiffeBundle::parse(domain, &document).map_err(|error| damaged(said(&error)))?;
        let confirmed = SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_secs(confirmed))
            .ok_or_else(|| damaged("its time is out of range".to_owned()))?;
        Ok(Some(Kept { bundle, document, confirmed, supplied }))
    }

    pub(super) fn keep(&self, kept: &Kept) -> Result<(), StoreError> {
        let confirmed = kept.confirmed.duration_since(SystemTime::UNIX_EPOCH);
        let envelope = Envelope {
            trust_domain: kept.bundle.domain().to_string(),
            confirmed: confirmed.unwrap_or(Duration::ZERO).as_secs(),
            supplied: kept.supplied.clone(),
            document: kept.document.clone(),
        };
        let path = self.path(kept.bundle.domain());
        let text = serde_json::to_string(&envelope).map_err(|error| StoreError::Io {
            path: path.clone(),
            source: std::io::Error::other(error),
        })?;
        Ok(write_atomic(&path, text.as_bytes(), 0o600)?)
    }

    /// Forgets a trust domain: should it come back, it begins anew.
    pub(super) fn forget(&self, domain: &TrustDomain) -> Result<(), StoreError> {
        let path = self.path(domain);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::Io { path, source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// A trust domain has no slash in its name, and the ending keeps `.` and `..` from being one.
    fn path(&self, domain: &TrustDomain) -> PathBuf {
        self.directory.join(format!("{domain}.json"))
    }
}

/// Makes the directory, for this process alone.
pub(super) fn make(directory: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| StoreError::Io { path: directory.to_path_buf(), source })
}

/// The bundle that the operator supplies, and the digest of its file.
pub(super) fn supplied(
    domain: &TrustDomain,
    path: &Path,
    now: SystemTime,
) -> Result<Kept, StoreError> {
    let document = read_limited(path, MAX)?;
    let bundle = SpiffeBundle::parse(domain, &document).map_err(|source| StoreError::Supplied {
        path: path.to_path_buf(),
        source: Box::new(source),
    })?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, document.as_bytes());
    let digest = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Kept { bundle, document, confirmed: now, supplied: Some(digest) })
}
