//! Files that a resource names.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::resource::{Checked, check_text};

/// A file that a resource names, relative to the file the resource stands in. Whoever composes the process reads it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileRef(PathBuf);

impl FileRef {
    /// `source` is the name of the file that the resource was read from.
    pub(in crate::policy) fn check(text: String, at: FieldPath, source: &str) -> Checked<Self> {
        let text = check_text(text, at.clone())?;
        if text.ends_with('/') {
            return Err(Problem::new(at, format!("`{text}` is a directory, expected a file")));
        }
        Ok(Self(Path::new(source).parent().unwrap_or(Path::new("")).join(text)))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl From<PathBuf> for FileRef {
    fn from(path: PathBuf) -> Self {
        Self(path)
    }
}

impl fmt::Display for FileRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.display())
    }
}
