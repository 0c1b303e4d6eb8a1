//! Join tokens: how a workload without a certificate proves itself, once.
//!
//! Only the SHA-256 of a token is kept. Consuming is one step of the place that keeps it, which only one of many callers
//! wins.

mod directory;
mod shelf;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::identity::{InvalidSpiffeId, SpiffeId, TrustDomain};
use crate::runtime::FileError;

use directory::DirectoryShelf;
pub use shelf::{KeptToken, TokenRecord, TokenShelf, Use, Was};

/// Characters of a token: 32 random bytes in unpadded base64url.
const LENGTH: usize = 43;
const MAX_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

/// A new join token. Shown once; it can be neither printed by accident nor copied.
pub struct JoinToken {
    text: Zeroizing<String>,
    expires: SystemTime,
}

/// The tokens of one authority. Its methods may block.
#[derive(Debug)]
pub struct TokenStore {
    shelf: Box<dyn TokenShelf>,
}

/// A token that was found valid and is not used yet. Made by [`TokenStore::look_up`] only.
#[derive(Debug)]
pub struct PendingToken {
    hash: String,
    workload: SpiffeId,
}

/// The place of tokens cannot be used.
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
    /// A place that is not a directory of this machine cannot be used.
    #[error("cannot use {place}")]
    Remote {
        /// The place.
        place: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No more can be kept.
    #[error(
        "{place} holds {count} join tokens that can still be used, as many as it may; let some be used or expire"
    )]
    Full {
        /// The place.
        place: String,
        /// How many it holds.
        count: usize,
    },
    /// The lifetime is outside one second to seven days.
    #[error("a token lifetime of {0:?} is outside 1s to 7 days")]
    Ttl(Duration),
    /// The system gives no random numbers.
    #[error("no random numbers")]
    Random,
    /// The record cannot be written down, or is damaged.
    #[error("the token's record cannot be written down or read")]
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
        Ok(Self::on(Box::new(DirectoryShelf::open(authority_directory)?)))
    }

    /// The tokens that are kept there.
    #[must_use]
    pub fn on(shelf: Box<dyn TokenShelf>) -> Self {
        Self { shelf }
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
        let record = TokenRecord { workload: workload.clone(), expires };
        self.shelf.put(&hash(&text), &record, now)?;
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
        let TokenRecord { workload, expires } =
            match self.shelf.find(&hash).map_err(TokenRefused::Unreadable)? {
                KeptToken::Unused(record) => record,
                KeptToken::Used => return Err(TokenRefused::AlreadyUsed),
                KeptToken::Unknown => return Err(TokenRefused::Unknown),
            };
        if now >= expires {
            return Err(TokenRefused::Expired);
        }
        if !workload.is_member_of(domain) {
            return Err(TokenRefused::Foreign);
        }
        Ok(PendingToken { hash, workload })
    }

    /// Uses a token up: one step, which only one caller can win.
    ///
    /// # Errors
    /// When another use came first, or this one cannot be made durable.
    pub(super) fn consume(&self, token: &PendingToken) -> Result<(), TokenRefused> {
        match self.shelf.use_up(&token.hash).map_err(TokenRefused::Unreadable)? {
            Use::First => Ok(()),
            Use::Again => Err(TokenRefused::AlreadyUsed),
            Use::Unknown => Err(TokenRefused::Unknown),
        }
    }

    /// Removes expired tokens, and used ones a week after their end. Returns how many went.
    ///
    /// # Errors
    /// When the place cannot be read. A record that cannot be read is left for the operator to see.
    pub fn sweep(&self, now: SystemTime) -> Result<usize, TokenError> {
        self.shelf.sweep(now)
    }
}

fn hash(token: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
