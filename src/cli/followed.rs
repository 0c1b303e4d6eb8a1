//! The control plane's configuration file, followed while it runs: relationships with other trust domains can come and go
//! without a restart. Everything else of the file counts at the next start.

use std::convert::Infallible;
use std::path::PathBuf;

use crate::config;
use crate::control::federation::{FederationConfig, FederationHandle};
use crate::identity::TrustDomain;
use crate::runtime::{Drain, FileWatch};

/// Takes the relationships of the file each time it changes. A file that cannot be used is said and changes nothing.
pub(super) async fn federation(
    (path, mut watch): (PathBuf, FileWatch),
    domain: TrustDomain,
    federation: FederationHandle,
    drain: Drain,
) -> Result<(), Infallible> {
    loop {
        tokio::select! {
            () = drain.begun() => return Ok(()),
            changed = watch.changed() => if changed.is_none() {
                tracing::error!(path = %path.display(), "the configuration is no longer followed");
                drain.begun().await;
                return Ok(());
            },
        }
        match config::control(&path) {
            Ok(config) if config.trust_domain != domain => {
                tracing::error!(path = %path.display(), "another trust domain is another mesh: nothing is taken of this file");
            }
            Ok(config) => match reconfigured(&federation, config.federation, &domain).await {
                Ok(()) => {
                    tracing::info!(path = %path.display(), "took the relationships of the file")
                }
                Err(error) => {
                    tracing::error!(
                        error,
                        "the new relationships are refused, the ones before stay"
                    );
                }
            },
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(
                    error,
                    "the changed configuration is refused, the one before stays"
                );
            }
        }
    }
}

/// What is kept is changed, which blocks.
async fn reconfigured(
    federation: &FederationHandle,
    config: FederationConfig,
    domain: &TrustDomain,
) -> Result<(), String> {
    let (federation, domain) = (federation.clone(), domain.clone());
    let done = tokio::task::spawn_blocking(move || federation.reconfigure(&config, &domain)).await;
    match done {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("a part of the program failed".to_owned()),
    }
}
