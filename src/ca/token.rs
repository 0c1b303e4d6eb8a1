//! Join tokens: how a workload without a certificate proves itself, once.
//!
//! Only the SHA-256 of a token is kept. Consuming is one rename, so of two concurrent uses one wins.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use crate::identity::{InvalidSpiffeId, SpiffeId, TrustDomain};
use crate::runtime::{FileError, read_secret, write_atomic};

/// Characters of a token: 32 random bytes in unpadded base64url.
const LENGTH: usize = 43;
const MAX_RECORD: u64 = 8 * 1024;
const MAX_TTL: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a used token is remembered past its expiry, so that a second use can be named as such.
const REMEMBER: Duration = Duration::from_secs(7 * 24 * 3600);

/// A new join token. Shown once; it can be neither printed by accident nor copied.
pub struct JoinToken {
    text: Zeroizing<String>,
    expires: SystemTime,
}

/// The tokens of one authority, in a directory.
#[derive(Debug)]
pub struct TokenStore {
    directory: PathBuf,
}

/// A token that was found valid and is not used yet. Made by [`TokenStore::look_up`] only.
#[derive(Debug)]
pub struct PendingToken {
    hash: String,
    workload: SpiffeId,
}

/// The directory of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A file failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The operating system refused.
    #[error("cannot use {path}")]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The lifetime is outside one second to seven days.
    #[error("a token lifetime of {0:?} is outside 1s to 7 days")]
    Ttl(Duration),
    /// The system gives no random numbers.
    #[error("no random numbers")]
    Random,
    /// The record cannot be written down.
    #[error("the token's record cannot be written down")]
    Record,
}

/// Why a presented token proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum TokenRefused {
    /// It has not the form of a join token.
    #[error("not a join token")]
    Malformed,
    /// Nobody made it, or it was forgotten long after its end.
    #[error("join token unknown")]
    Unknown,
    /// It was used before.
    #[error("join token already used")]
    AlreadyUsed,
    /// Its time is over.
    #[error("join token expired")]
    Expired,
    /// It was made for another trust domain.
    #[error("join token of another trust domain")]
    Foreign,
    /// Its record cannot be read or moved: doubt denies.
    #[error("join token cannot be checked")]
    Unreadable(#[source] TokenError),
}

/// A text names no workload.
#[derive(Debug, thiserror::Error)]
pub enum InvalidWorkload {
    /// Not of the form.
    #[error("{0:?} is no workload; write ns/<namespace>/sa/<service account>")]
    Form(String),
    /// A part cannot stand in a SPIFFE ID.
    #[error("the workload's SPIFFE ID {0}")]
    SpiffeId(#[source] InvalidSpiffeId),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Record {
    workload: String,
    expires: String,
}

/// Reads `ns/<namespace>/sa/<service account>` as a workload of `domain`.
///
/// # Errors
/// When the text has another form, or a part cannot stand in a SPIFFE ID.
pub fn workload_id(domain: &TrustDomain, text: &str) -> Result<SpiffeId, InvalidWorkload> {
    let parts: Vec<&str> = text.split('/').collect();
    match parts.as_slice() {
        ["ns", namespace, "sa", account] => {
            SpiffeId::for_service_account(domain, namespace, account)
                .map_err(InvalidWorkload::SpiffeId)
        }
        _ => Err(InvalidWorkload::Form(text.to_owned())),
    }
}

impl JoinToken {
    /// The token's text, to be handed to its workload.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// From when on it is refused.
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        self.expires
    }
}

impl PendingToken {
    /// For whom it was made.
    #[must_use]
    pub fn workload(&self) -> &SpiffeId {
        &self.workload
    }
}

impl TokenStore {
    /// Opens `<authority directory>/join-tokens`, making it if it is absent.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(authority_directory: &Path) -> Result<Self, TokenError> {
        let directory = authority_directory.join("join-tokens");
        let used = directory.join("used");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&used)
            .map_err(|source| TokenError::Io { path: used, source })?;
        Ok(Self { directory })
    }

    /// Makes a token for one workload.
    ///
    /// # Errors
    /// When `ttl` is out of bounds or the record cannot be written.
    pub fn create(
        &self,
        workload: &SpiffeId,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<JoinToken, TokenError> {
        if ttl < Duration::from_secs(1) || ttl > MAX_TTL {
            return Err(TokenError::Ttl(ttl));
        }
        let mut bytes = Zeroizing::new([0_u8; 32]);
        aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_| TokenError::Random)?;
        let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()));
        let expires = now.checked_add(ttl).ok_or(TokenError::Ttl(ttl))?;
        let written = OffsetDateTime::from(expires).format(&Rfc3339);
        let record = Record {
            workload: workload.to_string(),
            expires: written.map_err(|_| TokenError::Record)?,
        };
        let json = serde_json::to_vec(&record).map_err(|_| TokenError::Record)?;
        write_atomic(&self.path(&hash(&text)), &json, 0o600)?;
        Ok(JoinToken { text, expires })
    }

    /// Says for whom a token speaks, without using it up.
    ///
    /// # Errors
    /// When it is unknown, used, expired or of another trust domain.
    pub fn look_up(
        &self,
        token: &str,
        domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<PendingToken, TokenRefused> {
        let alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if token.len() != LENGTH || !token.bytes().all(alphabet) {
            return Err(TokenRefused::Malformed);
        }
        let hash = hash(token);
        let Some((workload, expires)) = self.read(&self.path(&hash))? else {
            return Err(self.missing(&hash));
        };
        if now >= expires {
            return Err(TokenRefused::Expired);
        }
        if !workload.is_member_of(domain) {
            return Err(TokenRefused::Foreign);
        }
        Ok(PendingToken { hash, workload })
    }

    /// Uses a token up: one rename, which only one caller can win.
    ///
    /// # Errors
    /// When another use came first, or the rename cannot be made durable.
    pub(super) fn consume(&self, token: &PendingToken) -> Result<(), TokenRefused> {
        let (from, to) = (self.path(&token.hash), self.used_path(&token.hash));
        match fs::rename(&from, &to) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(self.missing(&token.hash));
            }
            Err(source) => {
                return Err(TokenRefused::Unreadable(TokenError::Io { path: from, source }));
            }
        }
        // A power cut must not bring a used token back.
        for directory in [self.directory.join("used"), self.directory.clone()] {
            fs::File::open(&directory).and_then(|d| d.sync_all()).map_err(|source| {
                TokenRefused::Unreadable(TokenError::Io { path: directory, source })
            })?;
        }
        Ok(())
    }

    /// Removes expired tokens, and used ones a week after their end. Returns how many went.
    ///
    /// # Errors
    /// When the directory cannot be listed. A record that cannot be read is left for the operator to see.
    pub fn sweep(&self, now: SystemTime) -> Result<usize, TokenError> {
        let unused = sweep_directory(&self.directory, |expires| now >= expires, self)?;
        let used = self.directory.join("used");
        let forgotten = |expires: SystemTime| {
            expires.checked_add(REMEMBER).is_some_and(|remembered| now >= remembered)
        };
        Ok(unused + sweep_directory(&used, forgotten, self)?)
    }

    fn missing(&self, hash: &str) -> TokenRefused {
        if self.used_path(hash).exists() {
            TokenRefused::AlreadyUsed
        } else {
            TokenRefused::Unknown
        }
    }

    fn read(&self, path: &Path) -> Result<Option<(SpiffeId, SystemTime)>, TokenRefused> {
        let text = match read_secret(path, MAX_RECORD) {
            Ok(text) => text,
            Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(TokenRefused::Unreadable(error.into())),
        };
        let damaged = || TokenRefused::Unreadable(TokenError::Record);
        let record: Record = serde_json::from_str(&text).map_err(|_| damaged())?;
        let workload = SpiffeId::parse(&record.workload).map_err(|_| damaged())?;
        let expires = OffsetDateTime::parse(&record.expires, &Rfc3339).map_err(|_| damaged())?;
        Ok(Some((workload, expires.into())))
    }

    fn path(&self, hash: &str) -> PathBuf {
        self.directory.join(format!("{hash}.json"))
    }

    fn used_path(&self, hash: &str) -> PathBuf {
        self.directory.join("used").join(format!("{hash}.json"))
    }
}

fn sweep_directory(
    directory: &Path,
    over: impl Fn(SystemTime) -> bool,
    store: &TokenStore,
) -> Result<usize, TokenError> {
    let fail = |source| TokenError::Io { path: directory.to_path_buf(), source };
    let mut removed = 0;
    for entry in fs::read_dir(directory).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match store.read(&path) {
            Ok(Some((_, expires))) if over(expires) => match fs::remove_file(&path) {
                Ok(()) => removed += 1,
                // It was used in this moment, which moved it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(TokenError::Io { path, source }),
            },
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a join token's record is damaged");
            }
        }
    }
    Ok(removed)
}

fn hash(token: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
