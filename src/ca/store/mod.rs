//! The directory of an authority: `state.json` says what is in force, `generations/` holds the files that it names.
//!
//! Files are written and synced first, under names that no state in force uses; then the state is replaced by one
//! rename; then what no state names any more is removed. A crash before the rename leaves the old state with its files, a crash
//! after it the new one: there is no third outcome. `root.pem` beside them is written for people to copy and never read.

mod old;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::runtime::{FileError, read_limited, read_secret, write_atomic};

use super::vault::{Files, Found, Kept, STATE, Vault, Version};

const GENERATIONS: &str = "generations";
/// The trusted roots, for people to copy.
pub(super) const ROOTS: &str = "root.pem";
/// It stands in [`GENERATIONS`] from before the first file is written until the first state is: what lies beside it was
/// never in force.
const BEGUN: &str = ".begun";
/// How often the lock is tried, and the pause after each time.
const LET_GO: (u32, Duration) = (20, Duration::from_millis(50));
const LOCK: &str = "lock";
const TOKENS: &str = "join-tokens";
/// What may stand in a directory in which an authority is made for the first time.
const HARMLESS: [&str; 4] = [LOCK, TOKENS, GENERATIONS, "lost+found"];
pub(super) const MAX_PEM: u64 = 64 * 1024;
const MAX_STATE: u64 = 1024 * 1024;

/// The place of an authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The operating system refused.
    #[error("cannot {action} {path}")]
    Io {
        /// `create`, `lock`, ...
        action: &'static str,
        /// Which file or directory.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Another process holds the lock.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// Others can write in the directory, and so replace the authority.
    #[error("{path} can be written by others (mode {mode:03o}); run: chmod 700 {path}")]
    Exposed {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Some files of the authority are missing.
    #[error(
        "{place} holds only a part of an authority: {missing} is missing; restore it from a backup, or \
         move the rest away to begin a new mesh with a new root"
    )]
    Partial {
        /// The directory or object.
        place: String,
        /// The names of the missing files.
        missing: String,
    },
    /// The authority is gone, yet it was there.
    #[error(
        "{place} is gone, though {known_by}; restore it from a backup (a new root is never made in silence)"
    )]
    Vanished {
        /// The place.
        place: String,
        /// What says that it was there.
        known_by: String,
    },
    /// What was found is older than what is in force here: it was put back from a backup, most likely.
    #[error(
        "{place} holds an older authority than this process uses ({problem}); restart the process to use that one"
    )]
    Older {
        /// The place.
        place: String,
        /// By what it is seen.
        problem: &'static str,
    },
    /// The authority is gone, yet the directory was in use.
    #[error(
        "{directory} holds no authority but is not empty ({found}); restore the authority from a backup, or \
         move the directory away to begin a new mesh with a new root"
    )]
    Lost {
        /// The directory.
        directory: PathBuf,
        /// What was found in it.
        found: String,
    },
    /// Beside the authority in force stand files of another one, in the layout before there were generations.
    #[error(
        "{directory} holds an authority and, of another one, {found}; move away those that are not wanted"
    )]
    Two {
        /// The directory.
        directory: PathBuf,
        /// The files of the other one.
        found: String,
    },
    /// Another process changed the authority meanwhile.
    #[error("{0} was changed by another process meanwhile")]
    Conflict(String),
    /// A place that is not a directory of this machine cannot be used.
    #[error("cannot use {place}")]
    Remote {
        /// The place.
        place: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// An opened and locked directory.
pub(super) struct Directory {
    path: PathBuf,
    /// Held until the process ends; the system releases it with the file.
    _lock: fs::File,
    #[cfg(test)]
    pub(super) power: tests::Power,
}

impl Directory {
    /// Makes the directory if it is absent, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        create_private(path)?;
        let metadata = fs::metadata(path).map_err(failed("read", path))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o022 != 0 {
            return Err(StoreError::Exposed { path: path.to_path_buf(), mode });
        }
        Ok(Self {
            path: path.to_path_buf(),
            _lock: lock(path)?,
            #[cfg(test)]
            power: tests::Power::default(),
        })
    }

    /// The files of `generations/`, whatever the state says of them.
    fn files(&self) -> Result<Files, StoreError> {
        let directory = self.path.join(GENERATIONS);
        let mut files = Files::new();
        for name in names(&directory)? {
            let path = directory.join(&name);
            if name.starts_with('.') {
                continue;
            }
            let text = if is_secret(&name) {
                read_secret(&path, MAX_PEM)?
            } else {
                Zeroizing::new(read_limited(&path, MAX_PEM)?)
            };
            files.insert(name, text);
        }
        Ok(files)
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), StoreError> {
        self.step()?;
        let mode = if path.ends_with(ROOTS) { 0o644 } else { 0o600 };
        Ok(write_atomic(path, text.as_bytes(), mode)?)
    }

    /// Removes what no state names. It is unused either way, so a failure is only said.
    fn tidy(&self, named: &BTreeSet<&str>) -> Result<(), StoreError> {
        let directory = self.path.join(GENERATIONS);
        for name in names(&directory)? {
            if !named.contains(name.as_str()) {
                self.step()?;
                let path = directory.join(&name);
                if let Err(error) = fs::remove_file(&path) {
                    tracing::warn!(path = %path.display(), %error, "cannot remove an unused file");
                }
            }
        }
        Ok(())
    }

    /// Removes what a first start wrote that did not come to its end. The mark goes last.
    fn undo_beginning(&self) -> Result<(), StoreError> {
        let directory = self.path.join(GENERATIONS);
        if !directory.join(BEGUN).exists() {
            return Ok(());
        }
        tracing::warn!(path = %directory.display(), "removing what a first start left unfinished");
        for name in names(&directory)?.iter().filter(|name| *name != BEGUN) {
            self.step()?;
            let path = directory.join(name);
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        sync(&directory)?;
        self.end_beginning()
    }

    fn end_beginning(&self) -> Result<(), StoreError> {
        let mark = self.path.join(GENERATIONS).join(BEGUN);
        if !mark.exists() {
            return Ok(());
        }
        self.step()?;
        fs::remove_file(&mark).map_err(failed("remove", &mark))?;
        sync(&self.path.join(GENERATIONS))
    }

    /// A directory that was in use must not get a new root in silence.
    fn check_unused(&self) -> Result<(), StoreError> {
        let temporary = format!(".{STATE}.");
        let mut found = names(&self.path)?;
        found.retain(|name| !HARMLESS.contains(&name.as_str()) && !name.starts_with(&temporary));
        let used = self.path.join(TOKENS).join("used");
        if used.exists() && !names(&used)?.is_empty() {
            found.push("used join tokens".to_owned());
        }
        if found.is_empty() {
            return Ok(());
        }
        found.sort_unstable();
        Err(StoreError::Lost { directory: self.path.clone(), found: found.join(", ") })
    }

    /// In tests the power can fail before each change of the directory.
    #[cfg_attr(
        not(test),
        expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "tests fail here")
    )]
    fn step(&self) -> Result<(), StoreError> {
        #[cfg(test)]
        self.power.draw()?;
        Ok(())
    }
}

impl Vault for Directory {
    fn load(&self) -> Result<(Found, Version), StoreError> {
        let state = self.path.join(STATE);
        if !state.exists() {
            let old = self.old_files();
            if let Ok(Some(files)) = old {
                return Ok((Found::Old(files), Version::Absent));
            }
            self.undo_beginning()?;
            if names(&self.path.join(GENERATIONS))?.iter().any(|name| !name.starts_with('.')) {
                return Err(StoreError::Partial { place: self.place(), missing: STATE.to_owned() });
            }
            old?;
            return self.check_unused().map(|()| (Found::Nothing, Version::Absent));
        }
        self.end_beginning()?;
        let kept = Kept { state: read_limited(&state, MAX_STATE)?, files: self.files()? };
        self.forget_old_files(&kept.files)?;
        Ok((Found::Kept(kept), Version::Of(String::new())))
    }

    /// The lock keeps every other process out, so what this one saw last is what is there.
    fn save(&self, kept: &Kept, roots: &str, _over: &Version) -> Result<Version, StoreError> {
        let directory = self.path.join(GENERATIONS);
        create_private(&directory)?;
        if !self.path.join(STATE).exists() {
            self.write(&directory.join(BEGUN), "")?;
        }
        for (name, text) in &kept.files {
            let path = directory.join(name);
            let same =
                path.exists() && read_limited(&path, MAX_PEM).is_ok_and(|held| held == **text);
            if !same {
                self.write(&path, text)?;
            }
        }
        self.write(&self.path.join(STATE), &kept.state)?;
        // From here on the new state is in force, whatever happens.
        let named = kept.files.keys().map(String::as_str).collect();
        let rest =
            self.tidy(&named).and_then(|()| self.forget_old_files(&kept.files)).and_then(|()| {
                if roots.is_empty() { Ok(()) } else { self.write(&self.path.join(ROOTS), roots) }
            });
        if let Err(error) = rest {
            tracing::warn!(%error, "the authority's directory is not tidy");
        }
        Ok(Version::Of(String::new()))
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}

fn is_secret(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "key")
}

/// Tries a few times: a process that is ending, or a child of one that has not begun its program yet, lets go soon.
#[expect(clippy::disallowed_methods, reason = "at the start, before anything is served")]
fn lock(directory: &Path) -> Result<fs::File, StoreError> {
    let path = directory.join(LOCK);
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed("create", &path))?;
    for _ in 0..LET_GO.0 {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(LET_GO.1),
            Err(fs::TryLockError::Error(source)) => {
                return Err(StoreError::Io { action: "lock", path, source });
            }
        }
    }
    Err(StoreError::InUse(directory.to_path_buf()))
}

fn names(directory: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", directory)(error)),
    };
    entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()
        .map_err(failed("list", directory))
}

fn create_private(directory: &Path) -> Result<(), StoreError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(failed("create", directory))
}

fn sync(directory: &Path) -> Result<(), StoreError> {
    fs::File::open(directory).and_then(|d| d.sync_all()).map_err(failed("sync", directory))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| StoreError::Io { action, path, source }
}

#[cfg(test)]
mod tests;
