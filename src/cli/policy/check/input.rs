//! What is checked: files, directories, stdin.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cli::policy::test::is_suite;
use crate::policy::lint::{ManifestWorkload, workloads as workloads_of};
use crate::sidecar;

const STDIN: &str = "<stdin>";
const MAX_STDIN: u64 = 16 * 1024 * 1024;

/// Each file with its name, as a sidecar would read them; suites beside them are left out.
pub(super) fn resources(paths: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    let mut texts: Vec<(String, String)> = Vec::new();
    for path in paths {
        let found = if path.as_os_str() == "-" {
            vec![(STDIN.to_owned(), stdin()?)]
        } else {
            let mut found = sidecar::resource_texts(std::slice::from_ref(path))?;
            if path.is_dir() {
                found.retain(|(name, _)| !is_suite(Path::new(name)));
                anyhow::ensure!(!found.is_empty(), "{} holds no *.yaml", path.display());
            }
            found
        };
        for (name, text) in found {
            if !texts.iter().any(|(known, _)| *known == name) {
                texts.push((name, text));
            }
        }
    }
    Ok(texts)
}

/// The workloads of Kubernetes manifests.
pub(super) fn workloads(paths: &[PathBuf]) -> anyhow::Result<Vec<ManifestWorkload>> {
    let mut found = Vec::new();
    for (name, text) in sidecar::resource_texts(paths)? {
        found.extend(workloads_of(&name, &text)?);
    }
    Ok(found)
}

fn stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    let mut input = std::io::stdin().lock().take(MAX_STDIN + 1);
    input.read_to_string(&mut text).context("cannot read stdin")?;
    anyhow::ensure!(
        u64::try_from(text.len()).is_ok_and(|length| length <= MAX_STDIN),
        "stdin is longer than {MAX_STDIN} bytes"
    );
    Ok(text)
}
