//! Where the list of revocations is kept, as one text that is replaced whole.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::runtime::{FileError, read_secret, write_atomic};

use super::store::RevocationError;

const FILE: &str = "revocations.json";
/// More than the most revocations take.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Which text was seen or written; another text has another edition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edition {
    /// There is none yet.
    None,
    /// The place's own name of it. Empty where nobody else can write.
    Of(String),
}

/// A place that keeps the list. Its methods may block.
pub trait RevocationShelf: Send + Sync + fmt::Debug {
    /// The text that is kept; none where nothing was ever revoked.
    ///
    /// # Errors
    /// When it cannot be read, or was there and is gone: that nothing is revoked must be certain.
    fn load(&self) -> Result<(Option<String>, Edition), RevocationError>;

    /// Puts `text` in place of what `over` is the edition of. It is durable on return.
    ///
    /// # Errors
    /// [`RevocationError::Conflict`] when another process changed it meanwhile; or when it cannot be written.
    fn save(&self, text: &str, over: &Edition) -> Result<Edition, RevocationError>;

    /// Where it is, for errors.
    fn place(&self) -> String;
}

/// A file in a directory that belongs to this process alone.
#[derive(Debug)]
pub(super) struct FileShelf {
    path: PathBuf,
}

impl FileShelf {
    pub(super) fn new(directory: &Path) -> Self {
        Self { path: directory.join(FILE) }
    }
}

impl RevocationShelf for FileShelf {
    fn load(&self) -> Result<(Option<String>, Edition), RevocationError> {
        match read_secret(&self.path, MAX_FILE) {
            Ok(text) => Ok((Some(text.as_str().to_owned()), Edition::Of(String::new()))),
            Err(FileError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok((None, Edition::None))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn save(&self, text: &str, _: &Edition) -> Result<Edition, RevocationError> {
        write_atomic(&self.path, text.as_bytes(), 0o600)?;
        Ok(Edition::Of(String::new()))
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}
