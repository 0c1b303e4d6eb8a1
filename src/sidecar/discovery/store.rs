//! What was told, kept over restarts, so that one during an outage of the control plane trusts and revokes what was
//! trusted and revoked before.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::runtime::{FileError, read_secret, write_atomic};
use crate::xds::content_version;

const FILE: &str = "told.json";
const FORMAT: u32 = 1;
/// Some thirty thousand revocations.
const LIMIT: u64 = 16 * 1024 * 1024;

/// What is stored cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// The file cannot be read or written, or others can read it.
    #[error(transparent)]
    File(#[from] FileError),
    /// It has not the form in which it is written.
    #[error(
        "{path} is damaged, and whoever was revoked in it must not be trusted again; once the control plane can be reached, \
         remove it: all of it is told again"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
    /// It is of another version, another workload's, or a content does not match its version.
    #[error(
        "{path} is not what this workload wrote ({what}), and whoever was revoked in it must not be trusted again; once the \
         control plane can be reached, remove it: all of it is told again"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// The place of the file.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
}

/// What was told: by type, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// `certs::Trusted::bootstrap` of when it was told.
    pub(super) bootstrap: String,
    pub(super) resources: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    format: u32,
    workload: String,
    bootstrap: String,
    resources: BTreeMap<String, BTreeMap<String, Resource>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Resource {
    version: String,
    content: String,
}

impl Store {
    pub(super) fn new(directory: &Path) -> Self {
        Self { path: directory.join(FILE) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what is there; `None` when nothing was stored yet.
    pub(super) fn load(&self, workload: &str) -> Result<Option<Kept>, StoredError> {
        let text = match read_secret(&self.path, LIMIT) {
            Ok(text) => text,
            Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let damaged = |source| StoredError::Damaged { path: self.path.clone(), source };
        let file: File = serde_json::from_str(&text).map_err(damaged)?;
        let foreign = |what: String| StoredError::Foreign { path: self.path.clone(), what };
        if file.format != FORMAT {
            return Err(foreign(format!("format {}, not {FORMAT}", file.format)));
        }
        if file.workload != workload {
            return Err(foreign(format!("it is of {}", file.workload)));
        }
        let mut resources: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
        for (type_url, of_type) in file.resources {
            let read = resources.entry(type_url).or_default();
            for (name, Resource { version, content }) in of_type {
                let content =
                    STANDARD.decode(content).map_err(|error| foreign(error.to_string()))?;
                if content_version(&content) != version {
                    return Err(foreign(format!("the content of {name:?} is not of its version")));
                }
                read.insert(name, content);
            }
        }
        Ok(Some(Kept { bootstrap: file.bootstrap, resources }))
    }

    /// Replaces what is there.
    pub(super) fn save(&self, workload: &str, kept: &Kept) -> Result<(), StoredError> {
        let resources = kept.resources.iter().map(|(type_url, of_type)| {
            let of_type = of_type.iter().map(|(name, content)| {
                let version = content_version(content);
                (name.clone(), Resource { version, content: STANDARD.encode(content) })
            });
            (type_url.clone(), of_type.collect())
        });
        let file = File {
            format: FORMAT,
            workload: workload.to_owned(),
            bootstrap: kept.bootstrap.clone(),
            resources: resources.collect(),
        };
        let damaged = |source| StoredError::Damaged { path: self.path.clone(), source };
        let text = serde_json::to_vec(&file).map_err(damaged)?;
        Ok(write_atomic(&self.path, &text, 0o600)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: &str = "spiffe://demo.mesh/ns/shop/sa/orders";

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("hopgate-told-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn what_is_stored_is_read_back_by_the_same_workload_only() {
        let directory = directory("back");
        let store = Store::new(&directory);
        assert_eq!(store.load(ME).unwrap(), None);
        let content = BTreeMap::from([("demo.mesh".to_owned(), b"roots".to_vec())]);
        let resources = BTreeMap::from([("type".to_owned(), content)]);
        let kept = Kept { bootstrap: "b".to_owned(), resources };
        store.save(ME, &kept).unwrap();
        assert_eq!(store.load(ME).unwrap(), Some(kept));
        assert!(matches!(store.load("spiffe://demo.mesh/x"), Err(StoredError::Foreign { .. })));
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_was_changed_by_another_hand_is_not_used() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = directory("changed");
        let store = Store::new(&directory);
        let content = BTreeMap::from([("demo.mesh".to_owned(), b"roots".to_vec())]);
        let resources = BTreeMap::from([("type".to_owned(), content)]);
        store.save(ME, &Kept { bootstrap: String::new(), resources }).unwrap();
        let whole = std::fs::read_to_string(&store.path).unwrap();
        let write = |text: &str| write_atomic(&store.path, text.as_bytes(), 0o600).unwrap();
        write(&whole.replace(&STANDARD.encode("roots"), &STANDARD.encode("other")));
        assert!(matches!(store.load(ME), Err(StoredError::Foreign { .. })));
        write(&whole.replace('}', ""));
        assert!(matches!(store.load(ME), Err(StoredError::Damaged { .. })));
        write(&whole);
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&store.path, open).unwrap();
        assert!(matches!(store.load(ME), Err(StoredError::File(FileError::Exposed { .. }))));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
