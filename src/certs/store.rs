//! The state directory: one file with key and chain, so that they never belong to different pairs, and so
//! that a restart during an outage of the control plane serves at once.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use crate::identity::{InvalidKey, InvalidSvid, PrivateKey, SpiffeId, TrustBundle, X509Svid};
use crate::runtime::{FileError, read_secret, write_atomic};

const FILE: &str = "identity.pem";
const HEADER: &str = "hopgate identity v1, obtained at ";
const LIMIT: u64 = 256 * 1024;

/// What is stored cannot be used. The certificate is then asked for again.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The directory cannot be made.
    #[error("cannot create {path}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The file has not the form in which it is written.
    #[error("the stored identity is damaged")]
    Damaged,
    /// The stored key cannot be used.
    #[error("the stored key is damaged")]
    Key(#[from] InvalidKey),
    /// The stored certificate is expired, foreign or does not fit its key.
    #[error("the stored certificate is refused")]
    Svid(#[from] InvalidSvid),
    /// The stored certificate is another workload's.
    #[error("the stored certificate is {found}'s, not {expected}'s")]
    OtherWorkload {
        /// Whom it names.
        found: SpiffeId,
        /// Who this is.
        expected: SpiffeId,
    },
}

/// The state of one workload.
pub(super) struct Store {
    path: PathBuf,
}

impl Store {
    /// Makes the directory if it is absent.
    pub(super) fn open(directory: &Path) -> Result<Self, StateError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| StateError::Directory { path: directory.to_path_buf(), source })?;
        Ok(Self { path: directory.join(FILE) })
    }

    /// The stored SVID and when it was obtained, verified against the roots that are trusted *now*.
    pub(super) fn load(
        &self,
        workload: &SpiffeId,
        bundle: &TrustBundle,
        now: SystemTime,
    ) -> Result<Option<(X509Svid, SystemTime)>, StateError> {
        let text = match read_secret(&self.path, LIMIT) {
            Ok(text) => text,
            Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let header = text.lines().next().and_then(|line| line.strip_prefix(HEADER));
        let seconds: u64 = header.and_then(|s| s.parse().ok()).ok_or(StateError::Damaged)?;
        let obtained = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        let key = PrivateKey::from_pem(&text)?;
        let chain = CertificateDer::pem_slice_iter(text.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| StateError::Damaged)?;
        let svid = X509Svid::new(chain, key, bundle, now)?;
        if svid.id() != workload {
            let (found, expected) = (svid.id().clone(), workload.clone());
            return Err(StateError::OtherWorkload { found, expected });
        }
        Ok(Some((svid, obtained.ok_or(StateError::Damaged)?)))
    }

    /// Replaces what is stored.
    pub(super) fn save(&self, svid: &X509Svid, obtained: SystemTime) -> Result<(), StateError> {
        let since = obtained.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let (key, chain) = (svid.key().to_pem(), svid.chain_pem());
        let mut text = Zeroizing::new(String::with_capacity(key.len() + chain.len() + 80));
        writeln!(text, "{HEADER}{}", since.as_secs()).map_err(|_| StateError::Damaged)?;
        text.push_str(&key);
        text.push_str(&chain);
        Ok(write_atomic(&self.path, text.as_bytes(), 0o600)?)
    }
}
