//! Join tokens in a directory: a file for each. A use moves its file by one rename, which one of many wins.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::runtime::{FileError, read_secret, write_atomic};

use super::TokenError;
use super::shelf::{KeptToken, TokenRecord, TokenShelf, Use, Was};

const MAX_RECORD: u64 = 8 * 1024;

/// `join-tokens` of an authority's directory.
#[derive(Debug)]
pub(super) struct DirectoryShelf {
    directory: PathBuf,
}

impl DirectoryShelf {
    pub(super) fn open(authority_directory: &Path) -> Result<Self, TokenError> {
        let directory = authority_directory.join("join-tokens");
        let used = directory.join("used");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&used)
            .map_err(|source| TokenError::Io { path: used, source })?;
        Ok(Self { directory })
    }

    fn is_used(&self, hash: &str) -> bool {
        self.used_path(hash).exists()
    }

    fn read(&self, path: &Path) -> Result<Option<TokenRecord>, TokenError> {
        match read_secret(path, MAX_RECORD) {
            Ok(text) => TokenRecord::read(&text).map(|(record, _)| Some(record)),
            Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn path(&self, hash: &str) -> PathBuf {
        self.directory.join(format!("{hash}.json"))
    }

    fn used_path(&self, hash: &str) -> PathBuf {
        self.directory.join("used").join(format!("{hash}.json"))
    }

    fn sweep_one(&self, directory: &Path, was: Was, now: SystemTime) -> Result<usize, TokenError> {
        let fail = |source| TokenError::Io { path: directory.to_path_buf(), source };
        let mut removed = 0;
        for entry in fs::read_dir(directory).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match self.read(&path) {
                Ok(Some(record)) if record.is_over(was, now) => match fs::remove_file(&path) {
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
}

impl TokenShelf for DirectoryShelf {
    fn put(&self, hash: &str, record: &TokenRecord, _: SystemTime) -> Result<(), TokenError> {
        let json = record.to_json(None)?;
        Ok(write_atomic(&self.path(hash), json.as_bytes(), 0o600)?)
    }

    fn find(&self, hash: &str) -> Result<KeptToken, TokenError> {
        Ok(match self.read(&self.path(hash))? {
            Some(record) => KeptToken::Unused(record),
            None if self.is_used(hash) => KeptToken::Used,
            None => KeptToken::Unknown,
        })
    }

    fn use_up(&self, hash: &str) -> Result<Use, TokenError> {
        let (from, to) = (self.path(hash), self.used_path(hash));
        match fs::rename(&from, &to) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(if self.is_used(hash) { Use::Again } else { Use::Unknown });
            }
            Err(source) => return Err(TokenError::Io { path: from, source }),
        }
        // A power cut must not bring a used token back.
        for directory in [self.directory.join("used"), self.directory.clone()] {
            fs::File::open(&directory)
                .and_then(|d| d.sync_all())
                .map_err(|source| TokenError::Io { path: directory, source })?;
        }
        Ok(Use::First)
    }

    fn sweep(&self, now: SystemTime) -> Result<usize, TokenError> {
        let unused = self.sweep_one(&self.directory, Was::Unused, now)?;
        Ok(unused + self.sweep_one(&self.directory.join("used"), Was::Used, now)?)
    }
}
