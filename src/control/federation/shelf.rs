//! Where federation keeps what must outlive a restart: texts by name, in a directory or in a ConfigMap that all replicas
//! share.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::ConfigMap;
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use crate::kube::{Object, ObjectError, Values};
use crate::runtime::{read_limited, write_atomic};

use super::store::StoreError;

/// A document of the largest size, escaped, and what stands around it.
pub(super) const MAX: u64 = 4 * 1024 * 1024;
/// How often a change is made anew after another replica was first.
const CONFLICTS: usize = 10;

/// What becomes of a text: the one that is kept goes in, the one to keep comes out. `None`: it stays.
pub(super) type Change<'a> =
    &'a mut dyn FnMut(
        Option<&str>,
    ) -> Result<Option<String>, Box<dyn std::error::Error + Send + Sync>>;

/// A place that keeps texts. Its methods may block.
pub(in crate::control) trait Shelf: Send + Sync + fmt::Debug {
    /// The text of that name.
    fn read(&self, name: &str) -> Result<Option<String>, StoreError>;

    /// Changes a text in one step; where another process was first, once more on what that wrote.
    fn change(&self, name: &str, change: Change<'_>) -> Result<(), StoreError>;

    /// Forgets a text.
    fn remove(&self, name: &str) -> Result<(), StoreError>;

    /// Where it is, for errors.
    fn place(&self, name: &str) -> String;
}

/// A directory that belongs to one process.
#[derive(Debug)]
pub(in crate::control) struct DirectoryShelf {
    directory: PathBuf,
}

impl DirectoryShelf {
    /// Makes the directory if it is absent.
    pub(in crate::control) fn open(directory: &Path) -> Result<Self, StoreError> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| StoreError::Io { path: directory.to_path_buf(), source })?;
        Ok(Self { directory: directory.to_path_buf() })
    }
}

impl Shelf for DirectoryShelf {
    fn read(&self, name: &str) -> Result<Option<String>, StoreError> {
        let path = self.directory.join(name);
        Ok(if path.exists() { Some(read_limited(&path, MAX)?) } else { None })
    }

    fn change(&self, name: &str, change: Change<'_>) -> Result<(), StoreError> {
        let kept = self.read(name)?;
        match change(kept.as_deref()).map_err(|error| decided(self.place(name), error))? {
            None => Ok(()),
            Some(text) => Ok(write_atomic(&self.directory.join(name), text.as_bytes(), 0o600)?),
        }
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        let path = self.directory.join(name);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::Io { path, source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn place(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }
}

/// A ConfigMap. It blocks on the runtime that it was made in, and so belongs on threads that may block.
#[derive(Debug)]
pub(in crate::control) struct MapShelf {
    runtime: Handle,
    map: Object<ConfigMap>,
}

impl MapShelf {
    pub(in crate::control) fn new(runtime: Handle, map: Object<ConfigMap>) -> Self {
        Self { runtime, map }
    }

    /// `update` says whether anything is different.
    fn update(
        &self,
        mut update: impl FnMut(&mut Values) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        for _ in 0..CONFLICTS {
            let held =
                self.runtime.block_on(self.map.read()).map_err(|error| self.failed(error))?;
            let (mut values, version) =
                held.map_or((Values::new(), None), |held| (held.values, Some(held.version)));
            if !update(&mut values)? {
                return Ok(());
            }
            let done = self.runtime.block_on(async {
                match &version {
                    None => self.map.create(&values).await,
                    Some(version) => self.map.replace(&values, version).await,
                }
            });
            match done {
                Ok(_) => return Ok(()),
                Err(ObjectError::Conflict(_) | ObjectError::Exists(_) | ObjectError::Gone(_)) => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Err(self.failed(ObjectError::Conflict(self.map.place().to_owned())))
    }

    fn failed(&self, error: ObjectError) -> StoreError {
        StoreError::Remote { place: self.map.place().to_owned(), source: error.into() }
    }
}

impl Shelf for MapShelf {
    fn read(&self, name: &str) -> Result<Option<String>, StoreError> {
        let held = self.runtime.block_on(self.map.read()).map_err(|error| self.failed(error))?;
        Ok(held.and_then(|held| held.values.get(name).map(|text| text.as_str().to_owned())))
    }

    fn change(&self, name: &str, change: Change<'_>) -> Result<(), StoreError> {
        self.update(|values| {
            let kept = values.get(name).map(|text| text.as_str());
            let next = change(kept).map_err(|error| decided(self.place(name), error))?;
            let Some(text) = next else { return Ok(false) };
            values.insert(name.to_owned(), Zeroizing::new(text));
            Ok(true)
        })
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.update(|values| Ok(values.remove(name).is_some()))
    }

    fn place(&self, name: &str) -> String {
        format!("{} of {}", name, self.map.place())
    }
}

fn decided(place: String, source: Box<dyn std::error::Error + Send + Sync>) -> StoreError {
    StoreError::Remote { place, source }
}
