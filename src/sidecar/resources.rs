//! Resources from files: read, parsed and compiled as a whole, or refused as a whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::authn::Providers;
use crate::authz::Snapshot;
use crate::policy::{self, AccessPolicy, IdentityProvider, PolicySet, Resource};
use crate::runtime::{FileError, read_limited};

/// No resource file is larger.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Everything the resource files say, compiled.
#[derive(Debug, Clone)]
pub struct Resources {
    digest: String,
    policies: Arc<PolicySet>,
    providers: Providers,
    counts: Counts,
    /// How often keys changed since the files were read.
    key_changes: u64,
}

/// How many resources there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// AccessPolicies in the files.
    pub policies: usize,
    /// Rules that apply to this workload.
    pub rules: usize,
    /// IdentityProviders.
    pub providers: usize,
}

/// Why resource files are refused.
#[derive(Debug, thiserror::Error)]
pub enum InvalidResources {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A directory cannot be listed.
    #[error("cannot list {path}")]
    List {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A resource does not parse.
    #[error(transparent)]
    Parse(#[from] policy::InvalidResource),
    /// A provider cannot be used.
    #[error(transparent)]
    Provider(#[from] crate::authn::InvalidProvider),
    /// Rules cannot be compiled.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Rules(Vec<policy::InvalidRule>),
    /// Two resources of one kind share a name.
    #[error("{kind} {name} is defined twice: in {first} and in {second}")]
    Duplicate {
        /// The kind.
        kind: &'static str,
        /// `namespace/name`.
        name: String,
        /// Where it stands first.
        first: String,
        /// Where it stands again.
        second: String,
    },
}

impl Resources {
    /// Reads all files under `paths` and compiles them for one workload.
    ///
    /// # Errors
    /// When any part of any file is wrong. Nothing is applied then.
    pub fn load(paths: &[PathBuf], workload: &policy::Workload) -> Result<Self, InvalidResources> {
        Self::compile(&Texts::read(paths)?, workload)
    }

    /// Reads all files and compiles them, unless they hold what this was made from.
    ///
    /// # Errors
    /// As [`Resources::load`].
    pub fn load_if_changed(
        paths: &[PathBuf],
        workload: &policy::Workload,
        digest: &str,
    ) -> Result<Option<Self>, InvalidResources> {
        let texts = Texts::read(paths)?;
        if texts.digest == digest {
            return Ok(None);
        }
        Self::compile(&texts, workload).map(Some)
    }

    fn compile(texts: &Texts, workload: &policy::Workload) -> Result<Self, InvalidResources> {
        let mut policies: Vec<AccessPolicy> = Vec::new();
        let mut providers: Vec<IdentityProvider> = Vec::new();
        let mut seen = Seen::default();
        for (source, text) in &texts.files {
            for resource in policy::parse(source, text)? {
                match resource {
                    Resource::AccessPolicy(policy) => {
                        seen.once("AccessPolicy", &policy.metadata, source)?;
                        policies.push(policy);
                    }
                    Resource::IdentityProvider(provider) => {
                        seen.once("IdentityProvider", &provider.metadata, source)?;
                        if provider.metadata.namespace == workload.namespace {
                            providers.push(provider);
                        }
                    }
                }
            }
        }
        let compiled = Providers::new(&providers)?;
        let set = PolicySet::compile(&policies, &compiled.names(), workload)
            .map_err(InvalidResources::Rules)?;
        let counts = Counts {
            policies: policies.len(),
            rules: set.rule_count(),
            providers: providers.len(),
        };
        Ok(Self {
            digest: texts.digest.clone(),
            policies: Arc::new(set),
            providers: compiled,
            counts,
            key_changes: 0,
        })
    }

    /// Takes over the keys of providers that did not change.
    #[must_use]
    pub fn inherit_keys(mut self, old: &Self) -> Self {
        self.providers = self.providers.inherit_keys(&old.providers);
        self
    }

    /// The same rules with new keys of one provider; nothing when they would change nothing.
    #[must_use]
    pub fn with_update(&self, update: &crate::authn::KeyUpdate) -> Option<Self> {
        let providers = self.providers.with_update(update)?;
        Some(Self { providers, key_changes: self.key_changes + 1, ..self.clone() })
    }

    /// The revision: what the files hold, and how often keys changed since.
    #[must_use]
    pub fn revision(&self) -> String {
        format!("{}.{}", self.digest, self.key_changes)
    }

    /// A snapshot for the gate.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.revision(), Arc::clone(&self.policies), self.providers.clone())
    }

    /// Whose tokens count.
    #[must_use]
    pub fn providers(&self) -> &Providers {
        &self.providers
    }

    /// How many there are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A name of what the files hold.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// The files as they are, each with its name.
struct Texts {
    files: Vec<(String, String)>,
    digest: String,
}

impl Texts {
    fn read(paths: &[PathBuf]) -> Result<Self, InvalidResources> {
        let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        let mut texts = Vec::new();
        for file in files(paths)? {
            let text = read_limited(&file, MAX_FILE)?;
            let name = file.display().to_string();
            for part in [name.as_bytes(), &[0], text.as_bytes(), &[0]] {
                hash.update(part);
            }
            texts.push((name, text));
        }
        let digest = hash.finish().as_ref().iter().take(6).map(|b| format!("{b:02x}")).collect();
        Ok(Self { files: texts, digest })
    }
}

/// Names that were met, with the file they stand in.
#[derive(Default)]
struct Seen(Vec<(&'static str, String, String)>);

impl Seen {
    fn once(
        &mut self,
        kind: &'static str,
        metadata: &policy::Metadata,
        source: &str,
    ) -> Result<(), InvalidResources> {
        let name = format!("{}/{}", metadata.namespace, metadata.name);
        if let Some((_, _, first)) = self.0.iter().find(|(k, n, _)| *k == kind && *n == name) {
            let (first, second) = (first.clone(), source.to_owned());
            return Err(InvalidResources::Duplicate { kind, name, first, second });
        }
        self.0.push((kind, name, source.to_owned()));
        Ok(())
    }
}

/// The files themselves, and the `*.yaml` and `*.yml` of directories, in order of their names. Hidden files are left
/// out: a mounted volume keeps its old content in them.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, InvalidResources> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let list = |source| InvalidResources::List { path: path.clone(), source };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(list)? {
            let file = entry.map_err(list)?.path();
            if is_resource_file(&file) {
                found.push(file);
            }
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

fn is_resource_file(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().first() == Some(&b'.'));
    let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    yaml && !hidden && path.is_file()
}
