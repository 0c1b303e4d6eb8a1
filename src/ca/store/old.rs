//! The layout before there were generations: four files in the directory itself. It is taken over: the new layout is
//! written beside it, comes into force by one rename as ever, and only then the old files go.

use std::fs;
use std::path::Path;

use crate::runtime::{read_limited, read_secret};

use super::super::vault::{Files, OldFiles};
use super::{Directory, MAX_PEM, ROOTS, StoreError, failed, sync};

const ROOT_KEY: &str = "root.key";
const ISSUING: &str = "issuing.pem";
const ISSUING_KEY: &str = "issuing.key";
const ALL: [&str; 4] = [ROOTS, ROOT_KEY, ISSUING, ISSUING_KEY];
const MINTING: &str = "minting";
const MINTED: &str = "minted";

impl Directory {
    /// The old files, if there are any; all four or none.
    pub(super) fn old_files(&self) -> Result<Option<OldFiles>, StoreError> {
        self.recover()?;
        let missing: Vec<&str> =
            ALL.into_iter().filter(|name| !self.path.join(name).exists()).collect();
        if missing.len() == ALL.len() {
            return Ok(None);
        }
        if missing.is_empty() {
            return Ok(Some(OldFiles {
                root: read_limited(&self.path.join(ROOTS), MAX_PEM)?,
                root_key: read_secret(&self.path.join(ROOT_KEY), MAX_PEM)?,
                issuing: read_limited(&self.path.join(ISSUING), MAX_PEM)?,
                issuing_key: read_secret(&self.path.join(ISSUING_KEY), MAX_PEM)?,
            }));
        }
        let missing = missing.join(", ");
        Err(StoreError::Partial { place: self.path.display().to_string(), missing })
    }

    /// Removes old files that were taken over: each is, byte for byte, a file of the authority in force.
    pub(super) fn forget_old_files(&self, files: &Files) -> Result<(), StoreError> {
        let mut foreign = Vec::new();
        for name in [ROOT_KEY, ISSUING, ISSUING_KEY] {
            let path = self.path.join(name);
            if !path.exists() {
                continue;
            }
            let text = read_limited(&path, MAX_PEM)?;
            if files.values().any(|held| **held == text) {
                self.step()?;
                fs::remove_file(&path).map_err(failed("remove", &path))?;
            } else {
                foreign.push(name);
            }
        }
        if foreign.is_empty() {
            return Ok(());
        }
        Err(StoreError::Two { directory: self.path.clone(), found: foreign.join(", ") })
    }

    /// Ends what a crash of the version before left: nothing of `minting/` was in force, all of `minted/` is.
    fn recover(&self) -> Result<(), StoreError> {
        let (minting, minted) = (self.path.join(MINTING), self.path.join(MINTED));
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
                fs::rename(&from, self.path.join(name)).map_err(failed("rename", &from))?;
            }
        }
        sync(&self.path)?;
        // Fails if anything else stands there, which no crash explains.
        fs::remove_dir(minted).map_err(failed("remove", minted))
    }
}
