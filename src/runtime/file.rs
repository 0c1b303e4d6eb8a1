//! Files that are never half-written and never larger than expected.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("cannot {action} {path}")]
    Io {
        /// `read`, `write`, `rename`, ...
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The file is larger than it may be.
    #[error("{path} is larger than {limit} bytes")]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The bound in bytes.
        limit: u64,
    },
    /// The file is not UTF-8 text.
    #[error("{path} is not UTF-8 text")]
    NotText {
        /// Which file.
        path: PathBuf,
    },
    /// A secret can be read by other users.
    #[error("{path} holds a secret but has mode {mode:03o}; run: chmod 600 {path}")]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// Replaces `path` in one step: a temporary file in the same directory, synced, then renamed over it,
/// then the directory synced. A crash leaves the old content or the new one, nothing between.
///
/// # Errors
/// When any step fails; the old content then stands.
pub fn write_atomic(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    let fail = |action| {
        let path = path.to_path_buf();
        move |source| FileError::Io { action, path, source }
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.{}.tmp", std::process::id()));
    // A left-over of a crashed process of the same id must not lend its mode to the new file.
    match std::fs::remove_file(&temporary) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(fail("replace")(error)),
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .map_err(fail("create"))?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    let renamed = written.and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = renamed {
        drop(std::fs::remove_file(&temporary));
        return Err(fail("write")(error));
    }
    File::open(directory).and_then(|d| d.sync_all()).map_err(fail("sync the directory of"))
}

/// Reads a whole text file of at most `limit` bytes.
///
/// # Errors
/// When it cannot be read, is larger, or is not UTF-8.
pub fn read_limited(path: &Path, limit: u64) -> Result<String, FileError> {
    let file = open(path)?;
    read(path, file, limit)
}

/// Who may read a secret beside this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
pub enum Readers {
    /// Its owner alone.
    #[default]
    Owner,
    /// Its group too. A volume that Kubernetes mounts for a process which is not root can be read in no other way.
    Group,
}

/// Reads a text file that holds a secret; refuses one that group or others can read.
///
/// # Errors
/// When it cannot be read, is larger than `limit`, is not UTF-8 or is exposed.
pub fn read_secret(path: &Path, limit: u64) -> Result<Zeroizing<String>, FileError> {
    read_secret_of(path, limit, Readers::Owner)
}

/// Reads a text file that holds a secret; refuses one that others than `readers` can read, or change.
///
/// # Errors
/// When it cannot be read, is larger than `limit`, is not UTF-8 or is exposed.
pub fn read_secret_of(
    path: &Path,
    limit: u64,
    readers: Readers,
) -> Result<Zeroizing<String>, FileError> {
    let file = open(path)?;
    let metadata = file.metadata().map_err(|source| FileError::Io {
        action: "read",
        path: path.to_path_buf(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    let exposed = match readers {
        Readers::Owner => 0o077,
        Readers::Group => 0o037,
    };
    if mode & exposed != 0 {
        return Err(FileError::Exposed { path: path.to_path_buf(), mode });
    }
    read(path, file, limit).map(Zeroizing::new)
}

fn open(path: &Path) -> Result<File, FileError> {
    File::open(path).map_err(|source| FileError::Io {
        action: "read",
        path: path.to_path_buf(),
        source,
    })
}

/// Reads a whole file of at most `limit` bytes, whatever it holds.
///
/// # Errors
/// When it cannot be read or is larger.
pub fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let file = open(path)?;
    bytes(path, file, limit)
}

fn read(path: &Path, file: File, limit: u64) -> Result<String, FileError> {
    let bytes = bytes(path, file, limit)?;
    String::from_utf8(bytes).map_err(|_| FileError::NotText { path: path.to_path_buf() })
}

fn bytes(path: &Path, file: File, limit: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|source| FileError::Io {
        action: "read",
        path: path.to_path_buf(),
        source,
    })?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(FileError::TooLarge { path: path.to_path_buf(), limit });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_its_mode() {
        let directory = std::env::temp_dir().join(format!("hopgate-file-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("key.pem");
        write_atomic(&path, b"one", 0o600).unwrap();
        write_atomic(&path, b"two", 0o600).unwrap();
        assert_eq!(&*read_secret(&path, 10).unwrap(), "two");
        assert!(matches!(read_limited(&path, 2), Err(FileError::TooLarge { limit: 2, .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read_secret(&path, 10), Err(FileError::Exposed { mode: 0o644, .. })));
        for (mode, group) in
            [(0o440, true), (0o640, true), (0o660, false), (0o644, false), (0o604, false)]
        {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read_secret_of(&path, 10, Readers::Group).is_ok(), group, "{mode:o}");
            assert!(read_secret_of(&path, 10, Readers::Owner).is_err(), "{mode:o}");
        }
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1, "no temporary file is left");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
