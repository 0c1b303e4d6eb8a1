//! Services from a file, which is followed.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::identity::TrustDomain;
use crate::mesh::InvalidMesh;
use crate::mesh::captured::{Service, ServicesFile};
use crate::policy::yaml::{YamlError, parse_one};
use crate::runtime::{Drain, FileError, FileWatch, WatchError, read_limited};
use crate::sidecar::discovery::Services;

/// The largest file.
const LIMIT: u64 = 16 * 1024 * 1024;
/// The file is read again this often without any event, for volumes that send none.
const REREAD: Duration = Duration::from_secs(30);

/// A file is no list of services.
#[derive(Debug, thiserror::Error)]
pub enum InvalidServices {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not what it should be.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// Something in it cannot be.
    #[error("{path}: {source}")]
    Content {
        /// The file.
        path: PathBuf,
        /// The fields.
        #[source]
        source: InvalidMesh,
    },
    /// It cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
}

/// Follows the file. A broken one is said aloud, and the services of before stay.
pub(super) struct ServicesTask {
    path: PathBuf,
    domain: TrustDomain,
    watch: FileWatch,
    sender: watch::Sender<Option<Arc<Vec<Service>>>>,
}

impl ServicesTask {
    /// Reads the file a first time.
    pub(super) fn new(path: PathBuf, domain: TrustDomain) -> Result<Self, InvalidServices> {
        // Watched before it is read, so that no change falls between.
        let watch = FileWatch::new(std::slice::from_ref(&path))?;
        let sender = watch::Sender::new(None);
        let task = Self { path, domain, watch, sender };
        task.sender.send_replace(Some(Arc::new(task.read()?)));
        Ok(task)
    }

    pub(super) fn subscribe(&self) -> Services {
        self.sender.subscribe()
    }

    fn read(&self) -> Result<Vec<Service>, InvalidServices> {
        let text = read_limited(&self.path, LIMIT)?;
        let file: ServicesFile = parse_one(&self.path.display().to_string(), &text)?;
        file.services(&self.domain)
            .map_err(|source| InvalidServices::Content { path: self.path.clone(), source })
    }

    /// Runs until the drain begins.
    ///
    /// # Errors
    /// Never; the type is that of an essential task.
    pub(super) async fn run(mut self, drain: Drain) -> Result<(), Infallible> {
        let (mut watching, mut reread) = (true, tokio::time::interval(REREAD));
        loop {
            tokio::select! {
                () = drain.begun() => return Ok(()),
                changed = self.watch.changed(), if watching => watching = changed.is_some(),
                _ = reread.tick() => {}
            }
            match self.read() {
                Ok(services) => {
                    self.sender.send_if_modified(|held| {
                        let changed = held.as_deref() != Some(&services);
                        if changed {
                            *held = Some(Arc::new(services));
                        }
                        changed
                    });
                }
                Err(error) => {
                    tracing::error!(%error, "the services are refused, those of before stay");
                }
            }
        }
    }
}
