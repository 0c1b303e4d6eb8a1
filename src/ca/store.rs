//! The directory of an authority. What belongs together is written together: into `minting/`, renamed in
//! one step to `minted/`, then moved into place. A crash before the rename leaves nothing in force; a crash
//! after it is completed by the next start.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::runtime::{FileError, read_limited, read_secret, write_atomic};

pub(super) const ROOT: &str = "root.pem";
pub(super) const ROOT_KEY: &str = "root.key";
pub(super) const ISSUING: &str = "issuing.pem";
pub(super) const ISSUING_KEY: &str = "issuing.key";
const ALL: [&str; 4] = [ROOT, ROOT_KEY, ISSUING, ISSUING_KEY];
const LOCK: &str = "lock";
const MINTING: &str = "minting";
const MINTED: &str = "minted";
const TOKENS: &str = "join-tokens";
/// What may stand in a directory in which an authority is made for the first time.
const HARMLESS: [&str; 3] = [LOCK, TOKENS, "lost+found"];
pub(super) const MAX_PEM: u64 = 64 * 1024;

/// The directory of an authority cannot be used.
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
        "{directory} holds only a part of an authority: {missing} is missing; restore it from a backup, or \
         move the directory away to begin a new mesh with a new root"
    )]
    Partial {
        /// The directory.
        directory: PathBuf,
        /// The names of the missing files.
        missing: String,
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
}

/// The four files.
pub(super) struct Files {
    pub(super) root: String,
    pub(super) root_key: Zeroizing<String>,
    pub(super) issuing: String,
    pub(super) issuing_key: Zeroizing<String>,
}

/// An opened and locked directory.
pub(super) struct Store {
    directory: PathBuf,
    /// Held until the process ends; the system releases it with the file.
    _lock: fs::File,
}

impl Store {
    /// Makes the directory if it is absent, locks it, and completes what a crash interrupted.
    pub(super) fn open(directory: &Path) -> Result<Self, StoreError> {
        create_private(directory)?;
        let metadata = fs::metadata(directory).map_err(failed("read", directory))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o022 != 0 {
            return Err(StoreError::Exposed { path: directory.to_path_buf(), mode });
        }
        let store = Self { directory: directory.to_path_buf(), _lock: lock(directory)? };
        store.recover()?;
        Ok(store)
    }

    /// The files, or `None` if there never was an authority here.
    pub(super) fn read(&self) -> Result<Option<Files>, StoreError> {
        let missing: Vec<&str> =
            ALL.into_iter().filter(|name| !self.directory.join(name).exists()).collect();
        if missing.len() == ALL.len() {
            return self.check_unused().map(|()| None);
        }
        if !missing.is_empty() {
            return Err(StoreError::Partial {
                directory: self.directory.clone(),
                missing: missing.join(", "),
            });
        }
        Ok(Some(Files {
            root: read_limited(&self.directory.join(ROOT), MAX_PEM)?,
            root_key: read_secret(&self.directory.join(ROOT_KEY), MAX_PEM)?,
            issuing: read_limited(&self.directory.join(ISSUING), MAX_PEM)?,
            issuing_key: read_secret(&self.directory.join(ISSUING_KEY), MAX_PEM)?,
        }))
    }

    /// Puts files in force, all or none.
    pub(super) fn commit(&self, files: &[(&str, &str)]) -> Result<(), StoreError> {
        let (minting, minted) = (self.directory.join(MINTING), self.directory.join(MINTED));
        create_private(&minting)?;
        for (name, content) in files {
            let mode = if name.ends_with(".key") { 0o600 } else { 0o644 };
            write_atomic(&minting.join(name), content.as_bytes(), mode)?;
        }
        fs::rename(&minting, &minted).map_err(failed("rename", &minting))?;
        sync(&self.directory)?;
        self.complete(&minted)
    }

    fn recover(&self) -> Result<(), StoreError> {
        let (minting, minted) = (self.directory.join(MINTING), self.directory.join(MINTED));
        if minting.exists() {
            tracing::warn!(path = %minting.display(), "removing what a crash left unfinished");
            fs::remove_dir_all(&minting).map_err(failed("remove", &minting))?;
        }
        if minted.exists() {
            tracing::warn!(path = %minted.display(), "completing what a crash interrupted");
            self.complete(&minted)?;
        }
        Ok(())
    }

    fn complete(&self, minted: &Path) -> Result<(), StoreError> {
        for name in ALL {
            let from = minted.join(name);
            if from.exists() {
                fs::rename(&from, self.directory.join(name)).map_err(failed("rename", &from))?;
            }
        }
        sync(&self.directory)?;
        // Fails if anything else stands there, which no crash explains.
        fs::remove_dir(minted).map_err(failed("remove", minted))
    }

    /// A directory that was in use must not get a new root in silence.
    fn check_unused(&self) -> Result<(), StoreError> {
        let mut found = names(&self.directory)?;
        found.retain(|name| !HARMLESS.contains(&name.as_str()));
        let used = self.directory.join(TOKENS).join("used");
        if used.exists() && !names(&used)?.is_empty() {
            found.push("used join tokens".to_owned());
        }
        if found.is_empty() {
            return Ok(());
        }
        found.sort_unstable();
        Err(StoreError::Lost { directory: self.directory.clone(), found: found.join(", ") })
    }
}

fn lock(directory: &Path) -> Result<fs::File, StoreError> {
    let path = directory.join(LOCK);
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::InUse(directory.to_path_buf())),
        Err(fs::TryLockError::Error(source)) => {
            Err(StoreError::Io { action: "lock", path, source })
        }
    }
}

fn names(directory: &Path) -> Result<Vec<String>, StoreError> {
    let entries = fs::read_dir(directory).map_err(failed("list", directory))?;
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
