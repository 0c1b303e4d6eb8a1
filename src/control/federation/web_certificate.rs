//! A certificate for a host name, in files that somebody else keeps fresh (`https_web`).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::runtime::{FileError, FileWatch, WatchError, read_limited, read_secret};

const LIMIT: u64 = 256 * 1024;

/// The files, and what they held when they were last good.
pub(super) struct WebCertificate {
    files: (PathBuf, PathBuf),
    watch: Option<FileWatch>,
    shown: Arc<Shown>,
}

/// What handshakes read.
struct Shown(ArcSwap<CertifiedKey>);

/// The files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WebCertificateError {
    /// One cannot be read, or others can read the key.
    #[error(transparent)]
    File(#[from] FileError),
    /// They cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// No certificate in PEM.
    #[error("{0} holds no PEM certificate")]
    NoCertificate(PathBuf),
    /// No key in PEM.
    #[error("{0} holds no PEM private key")]
    NoKey(PathBuf),
    /// They do not belong together, or the key is of an unknown kind.
    #[error("certificate and key cannot be used together")]
    Unusable(#[source] rustls::Error),
}

impl WebCertificate {
    /// Reads the files and begins to watch them.
    pub(super) fn open(certificate: &Path, key: &Path) -> Result<Self, WebCertificateError> {
        let files = (certificate.to_path_buf(), key.to_path_buf());
        // Watched before they are read, so that no change falls between.
        let watch = FileWatch::new(&[files.0.clone(), files.1.clone()])?;
        let read = read(&files)?;
        let shown = Arc::new(Shown(ArcSwap::from_pointee(read)));
        Ok(Self { files, watch: Some(watch), shown })
    }

    /// What a TLS server shows.
    pub(super) fn shown(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::<Shown>::clone(&self.shown)
    }

    /// Waits for one change of the files and shows what they hold then. What is not good is said, and the old one stays.
    pub(super) async fn follow(&mut self) {
        let changed = match &mut self.watch {
            Some(watch) => watch.changed().await,
            None => std::future::pending().await,
        };
        if changed.is_none() {
            self.watch = None;
        }
        match read(&self.files) {
            Ok(read) => {
                self.shown.0.store(Arc::new(read));
                tracing::info!("the bundle endpoint shows the new web certificate");
            }
            Err(error) => {
                tracing::error!(%error, "the new web certificate is refused, the old one stays");
            }
        }
    }
}

fn read((certificate, key): &(PathBuf, PathBuf)) -> Result<CertifiedKey, WebCertificateError> {
    let chain = CertificateDer::pem_slice_iter(read_limited(certificate, LIMIT)?.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| WebCertificateError::NoCertificate(certificate.clone()))?;
    let secret = PrivateKeyDer::from_pem_slice(read_secret(key, LIMIT)?.as_bytes())
        .map_err(|_| WebCertificateError::NoKey(key.clone()))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, secret, &provider).map_err(WebCertificateError::Unusable)
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}
