//! A certificate that somebody else keeps fresh in files, such as cert-manager or a mounted secret.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::sync::Notify;

use crate::identity::{
    Bundles, InvalidBundle, InvalidKey, InvalidSvid, PrivateKey, SpiffeId, TrustBundle,
    WorkloadIdentity, X509Svid,
};
use crate::runtime::{
    Clock, Drain, FileError, FileWatch, Readers, WatchError, read_limited, read_secret_of,
};

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
    key_readers: Readers,
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
        let FileSource { certificate, key, bundle, key_readers } = source.clone();
        let watch = FileWatch::new(&[certificate.clone(), key.clone(), bundle.clone()])?;
        Ok(Self { certificate, key, bundle, key_readers, workload, clock, watch })
    }

    pub(super) async fn run(&mut self, shelf: &Shelf, trigger: &Notify, drain: &Drain) {
        let (mut watching, mut reread) = (true, tokio::time::interval(REREAD));
        let mut moves = self.clock.moves();
        loop {
            let now = self.clock.now();
            shelf.clear_if_expired(now);
            shelf.checked(now);
            tokio::select! {
                () = drain.begun() => return,
                () = trigger.notified() => self.reload(shelf),
                changed = self.watch.changed(), if watching => {
                    watching = changed.is_some();
                    self.reload(shelf);
                }
                _ = reread.tick() => self.reload(shelf),
                () = moves.next() => {}
                () = tokio::time::sleep(TICK) => {}
            }
            if leapt(now, self.clock.now()) {
                // What was over or not yet valid may be good by the clock as it is now.
                self.reload(shelf);
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
                    shelf.show(&Arc::new(identity), None);
                }
            }
            Err(error) => shelf.failed("the certificate files are refused", &error),
        }
    }

    fn read(&self, now: SystemTime) -> Result<WorkloadIdentity, FilesError> {
        let [certificate, key, bundle] = pinned([&self.certificate, &self.key, &self.bundle]);
        let roots = read_limited(&bundle, LIMIT)?;
        let bundle = TrustBundle::from_pem(self.workload.trust_domain(), &roots)?;
        let key = PrivateKey::from_pem(&read_secret_of(&key, LIMIT, self.key_readers)?)?;
        let mut chain =
            CertificateDer::pem_slice_iter(read_limited(&certificate, LIMIT)?.as_bytes())
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

/// The clock was set between two looks at it, or the machine slept.
fn leapt(before: SystemTime, after: SystemTime) -> bool {
    after.duration_since(before).map_or(true, |passed| passed > 3 * TICK)
}

/// The files behind the links of a mounted volume, as they stand now: `tls.crt` is a link to `..data/tls.crt`, and
/// `..data` the link that the kubelet swaps for a new generation of all files. It is followed once for all files of a
/// directory, before anything is read, so that they are of one generation.
fn pinned(files: [&Path; 3]) -> [PathBuf; 3] {
    let mut generations: Vec<(PathBuf, Option<PathBuf>)> = Vec::new();
    files.map(|file| {
        let directory = file.parent().unwrap_or(Path::new("")).to_path_buf();
        let known = generations.iter().find(|(known, _)| *known == directory);
        let generation = known.map(|(_, generation)| generation.clone()).unwrap_or_else(|| {
            let found = std::fs::canonicalize(directory.join("..data")).ok();
            generations.push((directory, found.clone()));
            found
        });
        let pinned = generation.zip(file.file_name()).map(|(place, name)| place.join(name));
        pinned.filter(|path| path.exists()).unwrap_or_else(|| file.to_path_buf())
    })
}
