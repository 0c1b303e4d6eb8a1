//! A suite, and the resources that it names, compiled as a sidecar compiles them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::authz::Snapshot;
use crate::policy::suite::Suite;
use crate::policy::{self, AccessPolicy, IdentityProvider, Resource, UserParts};
use crate::runtime::read_limited;
use crate::sidecar::{self, Resources};

const MAX_SUITE: u64 = 16 * 1024 * 1024;

/// A suite that is ready to run.
pub(super) struct Loaded {
    /// As it is named in reports.
    pub(super) file: String,
    pub(super) suite: Suite,
    /// The files of resources: name and text.
    pub(super) texts: Vec<(String, String)>,
    /// The policies of all of them, whomever they select.
    pub(super) policies: Vec<AccessPolicy>,
    pub(super) snapshot: Snapshot,
    /// What the suite names: watched for changes.
    pub(super) watched: Vec<PathBuf>,
}

/// Reads and compiles each suite.
pub(super) fn all(files: &[PathBuf]) -> anyhow::Result<Vec<Loaded>> {
    files
        .iter()
        .map(|file| Loaded::read(file).with_context(|| format!("suite {}", file.display())))
        .collect()
}

impl Loaded {
    fn read(file: &Path) -> anyhow::Result<Self> {
        let name = file.display().to_string();
        let mut suite = Suite::parse(&name, &read_limited(file, MAX_SUITE)?)?;
        let directory = file.parent().unwrap_or(Path::new(""));
        let resources: Vec<PathBuf> = suite
            .resources
            .iter()
            .map(|path| plain(&directory.join(path)))
            .collect::<anyhow::Result<_>>()?;
        let texts = sidecar::resource_texts(&resources)?;
        let (policies, providers) = parse(&texts)?;
        let snapshot = snapshot(&texts, &suite)?;
        name_providers(&mut suite, &providers)?;
        let watched = std::iter::once(file.to_path_buf()).chain(resources).collect();
        Ok(Self { file: name, suite, texts, policies, snapshot, watched })
    }
}

/// What a sidecar of the suite's workload would judge by.
pub(super) fn snapshot(texts: &[(String, String)], suite: &Suite) -> anyhow::Result<Snapshot> {
    let resources = Resources::of_texts(texts.to_vec(), &suite.workload, &suite.providers)?;
    Ok(resources.snapshot())
}

/// A file that two suites reach by different ways has one name.
fn plain(path: &Path) -> anyhow::Result<PathBuf> {
    let whole =
        std::fs::canonicalize(path).with_context(|| format!("cannot read {}", path.display()))?;
    let here = std::env::current_dir().and_then(std::fs::canonicalize);
    Ok(match here.ok().and_then(|here| whole.strip_prefix(here).ok().map(Path::to_path_buf)) {
        Some(relative) if !relative.as_os_str().is_empty() => relative,
        Some(_) | None => whole,
    })
}

fn parse(texts: &[(String, String)]) -> anyhow::Result<(Vec<AccessPolicy>, Vec<IdentityProvider>)> {
    let (mut policies, mut providers) = (Vec::new(), Vec::new());
    for (source, text) in texts {
        for resource in policy::parse(source, text)? {
            match resource {
                Resource::AccessPolicy(policy) => policies.push(policy),
                Resource::IdentityProvider(provider) => providers.push(provider),
                Resource::MeshPolicy(_) | Resource::PolicyEngine(_) => {}
            }
        }
    }
    Ok((policies, providers))
}

/// Gives users without a provider the only one there is, and refuses those of a provider that does not exist: their
/// cases would all be refused, and test nothing.
fn name_providers(suite: &mut Suite, defined: &[IdentityProvider]) -> anyhow::Result<()> {
    let namespace = &suite.workload.namespace;
    let mut known: Vec<String> = defined
        .iter()
        .filter(|provider| provider.metadata.namespace == *namespace)
        .map(|provider| provider.metadata.name.clone())
        .chain(suite.providers.iter().cloned())
        .collect();
    known.sort();
    known.dedup();
    for case in &mut suite.cases {
        for user in [&mut case.user, &mut case.client].into_iter().flatten() {
            name_provider(user, &known).with_context(|| format!("case {}", case.name))?;
        }
    }
    Ok(())
}

fn name_provider(user: &mut UserParts, known: &[String]) -> anyhow::Result<()> {
    match (user.provider.as_str(), known) {
        ("", [only]) => user.provider.clone_from(only),
        ("", []) => anyhow::bail!(
            "there is no identity provider that could vouch for {}; name it in `providers` of the suite",
            user.subject
        ),
        ("", several) => anyhow::bail!(
            "say which `provider` vouches for {}: one of {}",
            user.subject,
            several.join(", ")
        ),
        (named, known) => anyhow::ensure!(
            known.iter().any(|name| name == named),
            "there is no identity provider {named}; there is {}",
            known.join(", ")
        ),
    }
    Ok(())
}
