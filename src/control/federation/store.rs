//! The last good bundle of each relationship, kept over restarts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::identity::{InvalidSpiffeBundle, SpiffeBundle, TrustDomain};
use crate::runtime::{FileError, read_limited};

use super::fetch::said;
use super::shelf::{MAX, Shelf};

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
        "{place} does not hold the last bundle of {domain}: {problem}; remove it to begin again with this trust domain"
    )]
    Damaged {
        /// The file, or the value of an object.
        place: String,
        /// Whose bundle it should be.
        domain: TrustDomain,
        /// What is wrong.
        problem: String,
    },
    /// A place that is not a file of this machine cannot be used.
    #[error("cannot use {place}")]
    Remote {
        /// The place.
        place: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
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

/// A text per trust domain.
#[derive(Debug)]
pub(super) struct Store {
    shelf: Arc<dyn Shelf>,
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
    pub(super) fn on(shelf: Arc<dyn Shelf>) -> Self {
        Self { shelf }
    }

    pub(super) fn load(&self, domain: &TrustDomain) -> Result<Option<Kept>, StoreError> {
        let name = name(domain);
        let Some(text) = self.shelf.read(&name)? else { return Ok(None) };
        let damaged = |problem: String| StoreError::Damaged {
            place: self.shelf.place(&name),
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
        let name = name(kept.bundle.domain());
        self.shelf.change(&name, &mut |_| Ok(Some(serde_json::to_string(&envelope)?)))
    }

    /// Forgets a trust domain: should it come back, it begins anew.
    pub(super) fn forget(&self, domain: &TrustDomain) -> Result<(), StoreError> {
        self.shelf.remove(&name(domain))
    }
}

/// A trust domain has no slash in its name, and the ending keeps `.` and `..` from being one.
fn name(domain: &TrustDomain) -> String {
    format!("{domain}.json")
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
