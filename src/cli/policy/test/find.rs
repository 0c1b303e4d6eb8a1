//! Which files are suites.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

const ENDINGS: [&str; 2] = [".test.yaml", ".test.yml"];

/// The files themselves, and those of directories and what is below them that are named like suites, in order of their
/// names. Hidden directories are left out, and links to directories are not followed.
pub(super) fn suites(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            walk(path, &mut found)?;
        } else {
            found.push(path.clone());
        }
    }
    let shown: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    anyhow::ensure!(
        !found.is_empty(),
        "there is no suite in {}: a suite is a file named *.test.yaml",
        shown.join(", ")
    );
    found.dedup();
    Ok(found)
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let fail = || format!("cannot list {}", directory.display());
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(fail)? {
        let entry = entry.with_context(fail)?;
        entries.push((entry.path(), entry.file_type().with_context(fail)?));
    }
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    for (path, kind) in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        if kind.is_dir() {
            walk(&path, found)?;
        } else if is_suite(&path) {
            found.push(path);
        }
    }
    Ok(())
}

/// True for a name that only suites have.
pub(in crate::cli::policy) fn is_suite(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}
