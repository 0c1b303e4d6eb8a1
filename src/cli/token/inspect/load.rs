//! The providers of resource files, and the files that they name.

use std::path::PathBuf;

use crate::authn::Files;
use crate::policy::IdentityProvider;
use crate::sidecar;

/// All of them, or the one of this name (`NAME` or `NAMESPACE/NAME`).
pub(super) fn providers(
    paths: &[PathBuf],
    wanted: Option<&str>,
) -> anyhow::Result<(Vec<IdentityProvider>, Files)> {
    let mut providers = sidecar::identity_providers(paths)?;
    if let Some(wanted) = wanted {
        let known: Vec<String> = providers.iter().map(|p| p.metadata.to_string()).collect();
        providers.retain(|provider| {
            provider.metadata.name == wanted || provider.metadata.to_string() == wanted
        });
        anyhow::ensure!(
            !providers.is_empty(),
            "there is no IdentityProvider {wanted}; there is {}",
            known.join(", ")
        );
    }
    anyhow::ensure!(!providers.is_empty(), "there is no IdentityProvider in these files");
    let files = sidecar::referenced_files(&providers)?;
    Ok((providers, files))
}
