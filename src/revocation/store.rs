//! The revocations of a mesh, kept as one text: a file of the control plane's directory, or wherever a
//! [`RevocationShelf`] keeps it.
//!
//! Every change is kept before anybody hears of it, and as a whole, so that a crash leaves the list before or after a
//! change. A list that cannot be read whole stops the start: an empty one would trust everybody again.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::document::RawRevocation;
use super::entry::{Revocation, Until};
use super::list::{RevocationList, TooMany};
use super::shelf::{Edition, FileShelf, RevocationShelf};
use super::subject::Subject;
use crate::runtime::FileError;

const VERSION: u32 = 1;
/// How often a change is decided anew after another process was first.
const CONFLICTS: usize = 10;

/// The one writer of a mesh's revocations in this process. Readers follow [`RevocationStore::follow`]. Its methods may
/// block.
#[derive(Debug)]
pub struct RevocationStore {
    shelf: Box<dyn RevocationShelf>,
    /// Held while a change is written, so that changes are made one after the other.
    current: Mutex<Current>,
    told: watch::Sender<Arc<RevocationList>>,
}

#[derive(Debug)]
struct Current {
    list: Arc<RevocationList>,
    edition: Edition,
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
    /// It does not hold what it should. Nothing is guessed: who is missing in it would be trusted again.
    #[error("{place} is damaged: {problem}; restore it from a backup")]
    Damaged {
        /// The file or object.
        place: String,
        /// What is wrong with it.
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
    /// Another process changed it meanwhile.
    #[error("{0} was changed by another process meanwhile")]
    Conflict(String),
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
        Self::open_on(Box::new(FileShelf::new(directory)))
    }

    /// Opens what is kept there.
    ///
    /// # Errors
    /// When it cannot be read whole.
    pub fn open_on(shelf: Box<dyn RevocationShelf>) -> Result<Self, RevocationError> {
        let (text, edition) = shelf.load()?;
        let list = Arc::new(read(text.as_deref(), &*shelf)?);
        let (told, _) = watch::channel(Arc::clone(&list));
        Ok(Self { shelf, current: Mutex::new(Current { list, edition }), told })
    }

    /// The list in force, and every later one.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Arc<RevocationList>> {
        self.told.subscribe()
    }

    /// Reads again what another process may have changed, and puts it in force.
    ///
    /// # Errors
    /// When it cannot be read whole; what was in force stays.
    pub fn reload(&self) -> Result<(), RevocationError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        self.read_again(&mut current)
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
        self.change(move |list| {
            let held = list.entries().find(|entry| entry.subject == revocation.subject);
            let outcome = match held.map(|held| held.until) {
                None => Revoked::Added,
                Some(until) if until < revocation.until => Revoked::Extended,
                Some(_) => return Ok((Revoked::Already, None)),
            };
            let in_force = |entry: &&Arc<Revocation>| entry.is_in_force(now);
            let kept = list.entries().filter(in_force).map(|entry| (**entry).clone());
            let next = RevocationList::new(kept.chain([revocation.clone()]))?;
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
        let list = Arc::clone(&self.told.borrow());
        let ends = list.entries().filter_map(|entry| match entry.until {
            Until::Lifted => None,
            Until::Moment(end) => Some(end),
        });
        ends.min()
    }

    /// One change: decided, kept, then told. Where another process was first, it is decided once more on what that wrote.
    fn change<T>(
        &self,
        mut decide: impl FnMut(&RevocationList) -> Result<(T, Option<RevocationList>), RevocationError>,
    ) -> Result<T, RevocationError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..CONFLICTS {
            let (outcome, next) = decide(&current.list)?;
            let Some(next) = next else {
                // "It is so already" must hold of what is kept, not of what was heard of it.
                let before = current.edition.clone();
                self.read_again(&mut current)?;
                if current.edition == before {
                    return Ok(outcome);
                }
                continue;
            };
            match self.shelf.save(&write(&next)?, &current.edition) {
                Ok(edition) => {
                    self.put_in_force(&mut current, next, edition);
                    return Ok(outcome);
                }
                Err(RevocationError::Conflict(_)) => self.read_again(&mut current)?,
                Err(error) => return Err(error),
            }
        }
        Err(RevocationError::Conflict(self.shelf.place()))
    }

    fn read_again(&self, current: &mut Current) -> Result<(), RevocationError> {
        let (text, edition) = self.shelf.load()?;
        if edition == current.edition {
            return Ok(());
        }
        if edition == Edition::None {
            let problem = "is gone, and with it who is revoked".to_owned();
            return Err(RevocationError::Damaged { place: self.shelf.place(), problem });
        }
        let list = read(text.as_deref(), &*self.shelf)?;
        self.put_in_force(current, list, edition);
        Ok(())
    }

    fn put_in_force(&self, current: &mut Current, list: RevocationList, edition: Edition) {
        *current = Current { list: Arc::new(list), edition };
        self.told.send_replace(Arc::clone(&current.list));
    }
}

/// A line for each revocation.
fn write(list: &RevocationList) -> Result<String, RevocationError> {
    let mut lines = Vec::with_capacity(list.len());
    for entry in list.entries() {
        let raw = RawRevocation::from(&**entry);
        lines.push(serde_json::to_string(&raw).map_err(|_| RevocationError::Record)?);
    }
    Ok(format!("{{\"version\":{VERSION},\"revocations\":[\n{}\n]}}\n", lines.join(",\n")))
}

fn read(
    text: Option<&str>,
    shelf: &dyn RevocationShelf,
) -> Result<RevocationList, RevocationError> {
    let Some(text) = text else { return Ok(RevocationList::empty()) };
    let damaged = |problem: String| RevocationError::Damaged { place: shelf.place(), problem };
    let document: Document =
        serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
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
