//! Where join tokens are kept, by the SHA-256 of their texts.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::identity::SpiffeId;

use super::TokenError;

/// How long a used token is remembered past its expiry, so that a second use can be named as such.
const REMEMBER: Duration = Duration::from_secs(7 * 24 * 3600);

/// A place that keeps join tokens. Its methods may block.
pub trait TokenShelf: Send + Sync + fmt::Debug {
    /// Keeps a new token.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn put(&self, hash: &str, record: &TokenRecord, now: SystemTime) -> Result<(), TokenError>;

    /// What is known of a token.
    ///
    /// # Errors
    /// When that cannot be told: it is never taken for an answer.
    fn find(&self, hash: &str) -> Result<KeptToken, TokenError>;

    /// Uses a token up, durably, for one caller of however many.
    ///
    /// # Errors
    /// When it cannot be told whether this caller was the one.
    fn use_up(&self, hash: &str) -> Result<Use, TokenError>;

    /// Forgets what [`TokenRecord::is_over`]. Tells how many there were.
    ///
    /// # Errors
    /// When the place cannot be read or written.
    fn sweep(&self, now: SystemTime) -> Result<usize, TokenError>;
}

/// What is known of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptToken {
    /// Nothing.
    Unknown,
    /// It is there. It may have expired.
    Unused(TokenRecord),
    /// It was used.
    Used,
}

/// What became of a use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It was the first, and will stay the only one.
    First,
    /// Another came first.
    Again,
    /// There is no such token.
    Unknown,
}

/// For whom a token is, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// The workload.
    pub workload: SpiffeId,
    /// From when on it is refused.
    pub expires: SystemTime,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    workload: String,
    expires: String,
    /// The mark of the one use that counts. In a directory the place of the file says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used: Option<String>,
}

impl TokenRecord {
    /// As JSON; `used` is the mark of the use that counts.
    ///
    /// # Errors
    /// When the end cannot be written down.
    pub fn to_json(&self, used: Option<&str>) -> Result<String, TokenError> {
        let expires = OffsetDateTime::from(self.expires).format(&Rfc3339);
        let raw = Raw {
            workload: self.workload.to_string(),
            expires: expires.map_err(|_| TokenError::Record)?,
            used: used.map(str::to_owned),
        };
        serde_json::to_string(&raw).map_err(|_| TokenError::Record)
    }

    /// Reads one, with the mark of the use that counts.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn read(text: &str) -> Result<(Self, Option<String>), TokenError> {
        let Raw { workload, expires, used } =
            serde_json::from_str(text).map_err(|_| TokenError::Record)?;
        let workload = SpiffeId::parse(&workload).map_err(|_| TokenError::Record)?;
        let expires = OffsetDateTime::parse(&expires, &Rfc3339).map_err(|_| TokenError::Record)?;
        Ok((Self { workload, expires: expires.into() }, used))
    }

    /// True when it is of no use any more: an unused one from its end on, a used one a week later.
    #[must_use]
    pub fn is_over(&self, was: Was, now: SystemTime) -> bool {
        match was {
            Was::Unused => now >= self.expires,
            Was::Used => {
                self.expires.checked_add(REMEMBER).is_some_and(|remembered| now >= remembered)
            }
        }
    }
}

/// Whether a token was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Was {
    /// It can still be used until its end.
    Unused,
    /// It was.
    Used,
}
