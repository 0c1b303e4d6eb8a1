//! A certificate that somebody else keeps fresh in files, such as cert-manager or a mounted secret.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::sync::Notify;

use crate::identity::{
    Bundles, InvalidBundle, InvalidKey, InvalidSvid, PrivateKey, SpiffeId, TrustBundle,
    WorkloadIdentity, X509Svid,
};
use crate::runtime::{Clock, Drain, FileError, FileWatch, WatchError, read_limited, read_secret};

use super::config::FileSource;
use super::shelf::Shelf;

/// The clock is looked at this often.
const TICK: Duration = Duration::from_secs(2);
/// The files are read again this often without any event, for volumes that send none.
const REREAD: Duration = Duration::from_secs(30);
const LIMIT: u64 = 1024 * 1024;

/// The files make no identity.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file cannot be read, or the key is exposed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The roots are no bundle.
    #[error("the bundle file is refused")]
    Bundle(#[from] InvalidBundle),
    /// The certificate file is not PEM.
    #[error("the certificate file is not PEM")]
    NotPem,
    /// The key is unusable.
    #[error("the key file is refused")]
    Key(#[from] InvalidKey),
    /// Certificate, key and bundle do not fit each other.
    #[error("the certificate is refused")]
    Svid(#[from] InvalidSvid),
    /// The certificate is another workload's.
    #[error("the certificate is {found}'s, not {expected}'s")]
    OtherWorkload {
        /// Whom it names.
        found: SpiffeId,
        /// Who this is.
        expected: SpiffeId,
    },
}

pub(super) struct FileTask {
    certificate: PathBuf,
    key: PathBuf,
    bundle: PathBuf,
    workload: SpiffeId,
    clock: Clock,
    watch: FileWatch,
}

impl FileTask {
    pub(super) fn new(
        source: &FileSource,
        workload: SpiffeId,
        clock: Clock,
    ) -> Result<Self, WatchError> {
        let FileSource { certificate, key, bundle } = source.clone();
        let watch = FileWatch::new(&[certificate.clone(), key.clone(), bundle.clone()])?;
        Ok(Self { certificate, key, bundle, workload, clock, watch })
    }

    pub(super) async fn run(&mut self, shelf: &Shelf, trigger: &Notify, drain: &Drain) {
        let (mut watching, mut reread) = (true, tokio::time::interval(REREAD));
        loop {
            shelf.clear_if_expired(self.clock.now());
            tokio::select! {
                () = drain.begun() => return,
                () = trigger.notified() => self.reload(shelf),
                changed = self.watch.changed(), if watching => {
                    watching = changed.is_some();
                    self.reload(shelf);
                }
                _ = reread.tick() => self.reload(shelf),
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// Serves what the files hold, if it is good and new. If it is not good, what is served stays.
    pub(super) fn reload(&mut self, shelf: &Shelf) {
        match self.read(self.clock.now()) {
            Ok(identity) => {
                let same = shelf.current().is_some_and(|held| {
                    held.svid.chain() == identity.svid.chain() && held.bundles == identity.bundles
                });
                if same {
                    shelf.well();
                } else {
                    shelf.serve(identity, None);
                }
            }
            Err(error) => shelf.failed("the certificate files are refused", &error),
        }
    }

    fn read(&self, now: SystemTime) -> Result<WorkloadIdentity, FilesError> {
        let roots = read_limited(&self.bundle, LIMIT)?;
        let bundle = TrustBundle::from_pem(self.workload.trust_domain(), &roots)?;
        let key = PrivateKey::from_pem(&read_secret(&self.key, LIMIT)?)?;
        let mut chain =
            CertificateDer::pem_slice_iter(read_limited(&self.certificate, LIMIT)?.as_bytes())
                .collect::<Result<Vec<_>, _>>()
                .map_err(|_| FilesError::NotPem)?;
        chain.retain(|certificate| !bundle.roots().contains(certificate));
        let svid = X509Svid::new(chain, key, &bundle, now)?;
        if *svid.id() != self.workload {
            let (found, expected) = (svid.id().clone(), self.workload.clone());
            return Err(FilesError::OtherWorkload { found, expected });
        }
        Ok(WorkloadIdentity { svid, bundles: Bundles::new(bundle) })
    }
}
