//! Where the authority comes from, and how it is opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::ca::{Authority, SuppliedFiles, Terms};
use crate::kube::{CertificateRequests, ObjectName};
use crate::runtime::Clock;

use super::issuer::{self, CertManager};
use super::place::{Objects, Place};
use super::replicas::Replicas;
use super::{Config, ControlError};

/// Where the authority comes from, where it is not one made in `directory`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub enum AuthorityConfig {
    /// Files that the operator supplies.
    Supplied(SuppliedFiles),
    /// Made by hopgate and kept in this Secret.
    Secret(ObjectName),
    /// Kept in this Secret, with issuing certificates that cert-manager has signed.
    CertManager(ObjectName, CertManager),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    root: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    chain: Option<PathBuf>,
    cacerts: Option<PathBuf>,
    secret: Option<ObjectName>,
    cert_manager: Option<CertManager>,
}

impl TryFrom<Raw> for AuthorityConfig {
    type Error = &'static str;

    fn try_from(raw: Raw) -> Result<Self, Self::Error> {
        let Raw { root, certificate, key, chain, cacerts, secret, cert_manager } = raw;
        let elsewhere = (secret, cert_manager);
        match (root, certificate, key, chain, cacerts, elsewhere) {
            (Some(root), Some(certificate), Some(key), chain, None, (None, None)) => {
                Ok(Self::Supplied(SuppliedFiles { root, certificate, key, chain }))
            }
            (None, None, None, None, Some(place), (None, None)) => {
                Ok(Self::Supplied(SuppliedFiles::cacerts(&place)))
            }
            (None, None, None, None, None, (Some(secret), None)) => Ok(Self::Secret(secret)),
            (None, None, None, None, None, (Some(secret), Some(issuer))) => {
                Ok(Self::CertManager(secret, issuer))
            }
            _ => Err(
                "needs one of: secret (and certManager, if that signs); cacerts; root, certificate and key (and chain, if there is one)",
            ),
        }
    }
}

impl AuthorityConfig {
    /// Makes relative paths relative to `base`, the directory of the configuration file.
    pub(super) fn resolve(&mut self, base: &Path) {
        match self {
            Self::Supplied(files) => files.each(|path| *path = base.join(&*path)),
            Self::Secret(_) => {}
            Self::CertManager(_, issuer) => {
                issuer.roots.iter_mut().for_each(|path| *path = base.join(&*path));
            }
        }
    }
}

/// An open authority, and whoever signs for it.
pub(super) struct Opened {
    pub(super) authority: Arc<Authority>,
    pub(super) requests: Option<CertificateRequests>,
}

/// Opens the authority, or makes it where there never was one.
pub(super) async fn open(
    config: &Config,
    (place, replicas): (&Place, &Replicas),
    clock: &Clock,
) -> Result<Opened, ControlError> {
    let (now, domain) = (clock.now(), config.trust_domain.clone());
    let opened = match (place, &config.authority) {
        (Place::Directory(directory), Some(AuthorityConfig::Supplied(files))) => {
            let (files, directory) = (files.clone(), directory.clone());
            blocking(move || Authority::supplied(&files, &directory, &domain, now)).await
        }
        (Place::Directory(directory), _) => {
            let directory = directory.clone();
            blocking(move || Authority::open(&directory, &domain, now)).await
        }
        (Place::Objects(objects), Some(AuthorityConfig::CertManager(_, issuer))) => {
            return enrolled((objects, issuer, replicas), config, clock).await;
        }
        (Place::Objects(objects), _) => {
            let vault = objects.vault(replicas);
            blocking(move || Authority::open_in(Box::new(vault), &domain, now)).await
        }
    };
    Ok(Opened { authority: Arc::new(opened?), requests: None })
}

async fn enrolled(
    (objects, issuer, replicas): (&Objects, &CertManager, &Replicas),
    config: &Config,
    clock: &Clock,
) -> Result<Opened, ControlError> {
    let (cluster, secret) = (&objects.cluster, &objects.secret);
    let vault = Box::new(objects.vault(replicas));
    let requests = CertificateRequests::new(cluster, secret, &issuer.issuer_ref, issuer.duration);
    let terms = Terms { prefix: secret.name.clone(), roots: issuer.roots.clone() };
    let domain = &config.trust_domain;
    let authority = issuer::open((vault, terms), &requests, domain, clock).await?;
    Ok(Opened { authority: Arc::new(authority), requests: Some(requests) })
}

/// Files are synced, and the API server is waited for.
pub(super) async fn blocking<T, E>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, ControlError>
where
    T: Send + 'static,
    E: Into<ControlError> + Send + 'static,
{
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ControlError::Panicked("a blocking part"))?.map_err(Into::into)
}
