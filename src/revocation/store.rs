//! The revocations of a mesh, kept in one file of the control plane's directory.
//!
//! Every change is on disk before anybody hears of it: the whole file is written beside, synced and renamed over the old
//! one, so that a crash leaves the list before or after a change. A file that cannot be read whole stops the start: an
//! empty list would trust everybody again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::document::RawRevocation;
use super::entry::{Revocation, Until};
use super::list::{RevocationList, TooMany};
use super::subject::Subject;
use crate::runtime::{FileError, read_secret, write_atomic};

const FILE: &str = "revocations.json";
/// More than the most revocations take.
const MAX_FILE: u64 = 64 * 1024 * 1024;
const VERSION: u32 = 1;

/// The one writer of a mesh's revocations. Readers follow [`RevocationStore::follow`].
#[derive(Debug)]
pub struct RevocationStore {
    path: PathBuf,
    /// Held while a change is written, so that changes are made one after the other.
    current: Mutex<Arc<RevocationList>>,
    told: watch::Sender<Arc<RevocationList>>,
}

/// What became of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// It is new.
    Added,
    /// The same was revoked for a shorter time.
    Extended,
    /// The same is revoked at least as long already; nothing changed.
    Already,
}

/// The store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    /// A file is at fault.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file does not hold what it should. Nothing is guessed: who is missing in it would be trusted again.
    #[error("{path} is damaged: {problem}; restore it from a backup")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// There are too many.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// It would be over before it began.
    #[error("the end of the revocation has passed already")]
    Over,
    /// The list cannot be written down.
    #[error("the revocations cannot be written down")]
    Record,
}

/// Borrowed when written, owned when read.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    version: u32,
    revocations: Vec<RawRevocation>,
}

impl RevocationStore {
    /// Opens the store in an existing directory; without a file nothing is revoked yet.
    ///
    /// # Errors
    /// When the file is there and cannot be read whole.
    pub fn open(directory: &Path) -> Result<Self, RevocationError> {
        let path = directory.join(FILE);
        let list = Arc::new(read(&path)?);
        let (told, _) = watch::channel(Arc::clone(&list));
        Ok(Self { path, current: Mutex::new(list), told })
    }

    /// The list in force, and every later one.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Arc<RevocationList>> {
        self.told.subscribe()
    }

    /// Revokes. Of two revocations of the same the one that holds longer stays: to shorten one, lift it first.
    ///
    /// # Errors
    /// When it is over already, there are too many, or it cannot be kept; then nothing changed.
    pub fn revoke(
        &self,
        revocation: Revocation,
        now: SystemTime,
    ) -> Result<Revoked, RevocationError> {
        if !revocation.is_in_force(now) {
            return Err(RevocationError::Over);
        }
        self.change(|list| {
            let held = list.entries().find(|entry| entry.subject == revocation.subject);
            let outcome = match held.map(|held| held.until) {
                None => Revoked::Added,
                Some(until) if until < revocation.until => Revoked::Extended,
                Some(_) => return Ok((Revoked::Already, None)),
            };
            let in_force = |entry: &&Arc<Revocation>| entry.is_in_force(now);
            let kept = list.entries().filter(in_force).map(|entry| (**entry).clone());
            let next = RevocationList::new(kept.chain([revocation]))?;
            Ok((outcome, Some(next)))
        })
    }

    /// Trusts again. Gives back what was lifted; nothing where nothing was revoked.
    ///
    /// # Errors
    /// When the change cannot be kept; then nothing changed.
    pub fn lift(&self, subject: &Subject) -> Result<Option<Arc<Revocation>>, RevocationError> {
        self.change(|list| {
            let lifted = list.entries().find(|entry| entry.subject == *subject).cloned();
            let next = match lifted {
                None => None,
                Some(_) => {
                    let kept = list.entries().filter(|entry| entry.subject != *subject);
                    Some(RevocationList::new(kept.map(|entry| (**entry).clone()))?)
                }
            };
            Ok((lifted, next))
        })
    }

    /// Forgets what is over. Tells how many there were.
    ///
    /// # Errors
    /// When the change cannot be kept; then nothing changed.
    pub fn sweep(&self, now: SystemTime) -> Result<usize, RevocationError> {
        self.change(|list| {
            let kept = list.entries().filter(|entry| entry.is_in_force(now));
            let next = RevocationList::new(kept.map(|entry| (**entry).clone()))?;
            let over = list.len().saturating_sub(next.len());
            Ok((over, (over > 0).then_some(next)))
        })
    }

    /// When the next one ends.
    #[must_use]
    pub fn next_end(&self) -> Option<SystemTime> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = current.entries().filter_map(|entry| match entry.until {
            Until::Lifted => None,
            Until::Moment(end) => Some(end),
        });
        ends.min()
    }

    /// One change: decided, written, then told.
    fn change<T>(
        &self,
        decide: impl FnOnce(&RevocationList) -> Result<(T, Option<RevocationList>), RevocationError>,
    ) -> Result<T, RevocationError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let (outcome, next) = decide(&current)?;
        if let Some(next) = next {
            write(&self.path, &next)?;
            *current = Arc::new(next);
            self.told.send_replace(Arc::clone(&current));
        }
        Ok(outcome)
    }
}

fn write(path: &Path, list: &RevocationList) -> Result<(), RevocationError> {
    let revocations = list.entries().map(|entry| RawRevocation::from(&**entry)).collect();
    let document = Document { version: VERSION, revocations };
    let mut text = serde_json::to_vec_pretty(&document).map_err(|_| RevocationError::Record)?;
    text.push(b'\n');
    Ok(write_atomic(path, &text, 0o600)?)
}

fn read(path: &Path) -> Result<RevocationList, RevocationError> {
    let text = match read_secret(path, MAX_FILE) {
        Ok(text) => text,
        Err(FileError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(RevocationList::empty());
        }
        Err(error) => return Err(error.into()),
    };
    let damaged = |problem: String| RevocationError::Damaged { path: path.to_path_buf(), problem };
    let document: Document =
        serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    if document.version != VERSION {
        return Err(damaged(format!("version {} is not {VERSION}", document.version)));
    }
    let mut revocations = Vec::with_capacity(document.revocations.len());
    for (index, raw) in document.revocations.into_iter().enumerate() {
        let revocation = Revocation::try_from(raw)
            .map_err(|error| damaged(format!("revocations[{index}].{error}")))?;
        revocations.push(revocation);
    }
    Ok(RevocationList::new(revocations)?)
}

#[cfg(test)]
mod tests;
