//! The files that resources name, read by whoever composes the process.

use std::collections::BTreeMap;
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::policy::FileRef;

/// What stands in the files that resources name: keys, secrets, certificates. Wiped when dropped; never shown.
#[derive(Clone, Default)]
pub struct Files(BTreeMap<PathBuf, Zeroizing<Vec<u8>>>);

/// A file was not handed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the file {0} was not read")]
pub struct FileMissing(FileRef);

impl Files {
    /// No files.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds what stands in a file.
    pub fn insert(&mut self, path: PathBuf, content: Zeroizing<Vec<u8>>) {
        self.0.insert(path, content);
    }

    /// What stands in a file.
    ///
    /// # Errors
    /// When it was not handed over.
    pub fn content(&self, file: &FileRef) -> Result<&[u8], FileMissing> {
        self.0
            .get(file.path())
            .map(|bytes| bytes.as_slice())
            .ok_or_else(|| FileMissing(file.clone()))
    }
}
