//! Certificate revocation lists of the own trust domain's authorities (RFC 5280 section 5), from a file.
//!
//! hopgate's own way to revoke a workload is its revocation list; this one is for authorities that publish CRLs.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

use crate::identity::WorkloadIdentity;
use crate::runtime::{Drain, FileError, FileWatch, WatchError, read_limited};

/// The largest file of lists.
const LIMIT: u64 = 4 * 1024 * 1024;
/// The file is read again this often without any event, for volumes that send none.
const REREAD: Duration = Duration::from_secs(30);

/// One or more revocation lists that were read whole. Whether they are signed by an authority, and whether they are
/// still current, is for Envoy to verify with each chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crl {
    pem: String,
    issuers: Vec<Vec<u8>>,
    next_update: Option<SystemTime>,
}

/// A file is no list of revocations.
#[derive(Debug, thiserror::Error)]
pub enum InvalidCrl {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// No PEM block `X509 CRL`.
    #[error("{0} holds no PEM block \"X509 CRL\"")]
    Empty(PathBuf),
    /// A block is not what it says.
    #[error("{path}: list {position} is no certificate revocation list")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        position: usize,
    },
}

impl Crl {
    /// Reads a file of PEM lists.
    ///
    /// # Errors
    /// When it cannot be read, holds no list, or holds something else as one. An Envoy that gets such a file refuses
    /// the roots that come with it.
    pub fn read(path: &Path) -> Result<Self, InvalidCrl> {
        let text = read_limited(path, LIMIT)?;
        let (mut pem, mut issuers, mut next_update) = (String::new(), Vec::new(), None);
        for (index, list) in
            CertificateRevocationListDer::pem_slice_iter(text.as_bytes()).enumerate()
        {
            let unreadable =
                || InvalidCrl::Unreadable { path: path.to_path_buf(), position: index + 1 };
            let list = list.map_err(|_| unreadable())?;
            let (rest, parsed) =
                CertificateRevocationList::from_der(&list).map_err(|_| unreadable())?;
            if !rest.is_empty() {
                return Err(unreadable());
            }
            let until =
                parsed.next_update().and_then(|until| u64::try_from(until.timestamp()).ok());
            let until =
                until.and_then(|s| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(s)));
            next_update = match (next_update, until) {
                (Some(first), Some(until)) => Some(until.min(first)),
                (first, until) => first.or(until),
            };
            issuers.push(parsed.issuer().as_raw().to_vec());
            // Written anew, so that nothing else of the file reaches Envoy.
            pem.push_str(&block(&list));
        }
        if issuers.is_empty() {
            return Err(InvalidCrl::Empty(path.to_path_buf()));
        }
        Ok(Self { pem, issuers, next_update })
    }

    /// The lists as PEM text.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// When the first of them is out of date; Envoy then refuses every peer.
    #[must_use]
    pub fn next_update(&self) -> Option<SystemTime> {
        self.next_update
    }

    /// Authorities of this workload's own chain that published no list here, by name. Envoy wants one from each: it
    /// refuses every chain with such an authority.
    #[must_use]
    pub fn uncovered(&self, identity: &WorkloadIdentity) -> Vec<String> {
        let intermediates = identity.svid.chain().iter().skip(1);
        let authorities = intermediates.chain(identity.bundles.own().roots());
        let mut missing = Vec::new();
        for der in authorities {
            let Ok((_, authority)) = X509Certificate::from_der(der) else { continue };
            if !self.issuers.iter().any(|issuer| issuer == authority.subject().as_raw()) {
                missing.push(authority.subject().to_string());
            }
        }
        missing
    }
}

fn block(der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::with_capacity(body.len() + 64);
    pem.push_str("-----BEGIN X509 CRL-----\n");
    for line in body.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END X509 CRL-----\n");
    pem
}

/// Follows a file of lists. A broken one is said aloud, and the last good one stays in force.
pub(in crate::sidecar) struct CrlTask {
    path: PathBuf,
    watch: FileWatch,
    sender: tokio::sync::watch::Sender<Option<Crl>>,
}

impl CrlTask {
    /// Reads the file a first time.
    pub(in crate::sidecar) fn new(path: PathBuf) -> Result<Self, CrlStartError> {
        let first = Crl::read(&path)?;
        let watch = FileWatch::new(std::slice::from_ref(&path))?;
        Ok(Self { path, watch, sender: tokio::sync::watch::Sender::new(Some(first)) })
    }

    pub(in crate::sidecar) fn subscribe(&self) -> tokio::sync::watch::Receiver<Option<Crl>> {
        self.sender.subscribe()
    }

    pub(in crate::sidecar) async fn run(
        mut self,
        drain: Drain,
    ) -> Result<(), std::convert::Infallible> {
        let (mut watching, mut reread) = (true, tokio::time::interval(REREAD));
        loop {
            tokio::select! {
                () = drain.begun() => return Ok(()),
                changed = self.watch.changed(), if watching => watching = changed.is_some(),
                _ = reread.tick() => {}
            }
            match Crl::read(&self.path) {
                Ok(crl) => {
                    self.sender.send_if_modified(|held| {
                        let changed = held.as_ref() != Some(&crl);
                        *held = Some(crl);
                        changed
                    });
                }
                Err(error) => {
                    tracing::error!(%error, "the revocation lists are refused, the last good ones stay");
                }
            }
        }
    }
}

/// The lists cannot be used at the start.
#[derive(Debug, thiserror::Error)]
pub enum CrlStartError {
    /// What is in the file.
    #[error("sds.crl")]
    Invalid(#[from] InvalidCrl),
    /// It cannot be watched.
    #[error("sds.crl")]
    Watch(#[from] WatchError),
}
