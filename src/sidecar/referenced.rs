//! The files that resources name: secrets, keys, certificates. Read together, known by what they hold.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::authn::Files;
use crate::policy::{FileRef, IdentityProvider, PolicyEngine};

/// No such file is larger.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// A file that a resource names cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}, which the {resource} names")]
pub struct Unreadable {
    path: PathBuf,
    /// Kind and name of whoever names it.
    resource: String,
    #[source]
    source: std::io::Error,
}

/// What stands in all files that these providers name.
///
/// # Errors
/// When one of them cannot be read.
pub fn referenced_files(providers: &[IdentityProvider]) -> Result<Files, Unreadable> {
    References::of(providers, &[]).read().map(|(files, _)| files)
}

/// Which files are named, and by whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct References(Vec<(PathBuf, String)>);

impl References {
    /// Every file that these resources name, once.
    pub(super) fn of(providers: &[IdentityProvider], engines: &[PolicyEngine]) -> Self {
        let named = |files: Vec<&FileRef>, resource: String| {
            let files = files.into_iter();
            let named = files.map(|file| (file.path().to_path_buf(), resource.clone()));
            named.collect::<Vec<_>>()
        };
        let providers = providers.iter().map(|provider| {
            let resource = format!("IdentityProvider {}", provider.metadata);
            named(provider.spec.files(), resource)
        });
        let engines = engines
            .iter()
            .map(|engine| named(engine.files(), format!("PolicyEngine {}", engine.metadata)));
        let mut all: Vec<(PathBuf, String)> = providers.chain(engines).flatten().collect();
        all.sort();
        all.dedup_by(|one, other| one.0 == other.0);
        Self(all)
    }

    /// Where they are.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|(path, _)| path.as_path())
    }

    /// What they hold, and a digest of it.
    pub(super) fn read(&self) -> Result<(Files, [u8; 32]), Unreadable> {
        let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        let mut files = Files::none();
        for (path, resource) in &self.0 {
            let content = read(path).map_err(|source| Unreadable {
                path: path.clone(),
                resource: resource.clone(),
                source,
            })?;
            hash.update(&content.len().to_le_bytes());
            hash.update(&content);
            files.insert(path.clone(), content);
        }
        let mut digest = [0; 32];
        for (into, from) in digest.iter_mut().zip(hash.finish().as_ref()) {
            *into = *from;
        }
        Ok((files, digest))
    }
}

fn read(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is no file"));
    }
    if metadata.len() > MAX_FILE {
        return Err(std::io::Error::other(format!("it is larger than {MAX_FILE} bytes")));
    }
    // Large enough at once: growing would leave copies of a secret behind.
    let mut content =
        Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default() + 1));
    file.take(MAX_FILE).read_to_end(&mut content)?;
    Ok(content)
}
