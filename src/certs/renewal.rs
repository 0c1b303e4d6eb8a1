//! The task that keeps a workload's certificate fresh, and the handles on it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, watch};

use crate::identity::{Bundles, InvalidBundle, SpiffeId, WorkloadIdentity};
use crate::runtime::{Clock, Drain, FileError, WatchError, dice, read_limited};

use super::config::{Config, Source};
use super::control_source::ControlTask;
use super::file_source::FileTask;
use super::memory::on_disk;
use super::schedule::{Jitter, Reissue};
use super::server::InvalidServer;
use super::shelf::{self, Shelf, Status};
use super::store::StateError;
use super::trust::{Told, TrustHandle, TrustRefused, Trusted};
use super::workload_api_source::WorkloadApiTask;

/// The longest list of mounts that is read.
const MAX_MOUNTS: u64 = 4 * 1024 * 1024;

/// Keeps a workload's certificate fresh. Made by [`Renewal::new`], driven by [`Renewal::run`].
pub struct Renewal {
    shelf: Shelf,
    trigger: Arc<Notify>,
    orders: watch::Sender<Option<Reissue>>,
    trust: Option<TrustHandle>,
    task: Task,
}

enum Task {
    Control(Box<ControlTask>),
    Files(Box<FileTask>),
    WorkloadApi(Box<WorkloadApiTask>),
}

/// A handle on a running [`Renewal`]. Cloning shares it.
#[derive(Debug, Clone)]
pub struct RenewalHandle {
    trigger: Arc<Notify>,
    status: Arc<Mutex<Status>>,
    orders: watch::Sender<Option<Reissue>>,
    trust: Option<TrustHandle>,
}

/// Renewal cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// The address of the control plane.
    #[error("certificates.control.server")]
    Server(#[from] InvalidServer),
    /// The roots cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The roots are no trust bundle.
    #[error("certificates.control.caFile")]
    Bundle(#[from] InvalidBundle),
    /// The state directory cannot be made.
    #[error("certificates.stateDirectory")]
    State(#[source] StateError),
    /// Files cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
}

impl Renewal {
    /// Reads what is there: roots, and a stored certificate or the files. A certificate that is good is
    /// published at once, before [`Renewal::run`]. None yet is no error.
    ///
    /// # Errors
    /// When the configuration cannot work: a bad address, no roots, no state directory.
    pub fn new(config: &Config, workload: SpiffeId, clock: Clock) -> Result<Self, RenewalError> {
        Self::trusting(config, None, workload, clock)
    }

    /// The same for a workload that was told whom to trust in an earlier run. A stored certificate is verified against
    /// that. Files are trusted as they are: nothing is told for them.
    ///
    /// # Errors
    /// As [`Renewal::new`].
    pub fn trusting(
        config: &Config,
        told: Option<Told>,
        workload: SpiffeId,
        clock: Clock,
    ) -> Result<Self, RenewalError> {
        let shelf = Shelf::new();
        let orders = watch::Sender::new(None);
        let (task, trust) = match &config.source {
            Source::Control(source) => {
                let state = config.state_directory.as_deref();
                let orders = orders.subscribe();
                let (mut task, trust) =
                    ControlTask::new(source, (state, told), orders, (workload, clock))?;
                if let Some(file_system) = state.and_then(kept_on_disk) {
                    shelf.state_on_disk(file_system);
                }
                task.restore(&shelf);
                (Task::Control(Box::new(task)), Some(trust))
            }
            Source::Files(source) => {
                let mut task = FileTask::new(source, workload, clock)?;
                task.reload(&shelf);
                (Task::Files(Box::new(task)), None)
            }
            Source::WorkloadApi(source) => {
                let task = WorkloadApiTask::new(source, workload, clock);
                (Task::WorkloadApi(Box::new(task)), None)
            }
        };
        Ok(Self { shelf, trigger: Arc::default(), orders, trust, task })
    }

    /// The current identity; `None` while there is none that may be served.
    #[must_use]
    pub fn identity(&self) -> watch::Receiver<Option<Arc<WorkloadIdentity>>> {
        self.shelf.subscribe()
    }

    /// A handle to renew by hand and to ask how things stand.
    #[must_use]
    pub fn handle(&self) -> RenewalHandle {
        RenewalHandle {
            trigger: Arc::clone(&self.trigger),
            status: self.shelf.status(),
            orders: self.orders.clone(),
            trust: self.trust.clone(),
        }
    }

    /// Renews until the process drains. An attempt under way is finished first: it may have used up a
    /// join token, and its certificate must not be lost.
    ///
    /// # Errors
    /// Never yet; it has the form of an essential task.
    pub async fn run(self, drain: Drain) -> Result<(), RenewalError> {
        match self.task {
            Task::Control(mut task) => task.run(&self.shelf, &self.trigger, &drain).await,
            Task::Files(mut task) => task.run(&self.shelf, &self.trigger, &drain).await,
            Task::WorkloadApi(mut task) => task.run(&self.shelf, &self.trigger, &drain).await,
        }
        Ok(())
    }
}

impl RenewalHandle {
    /// Asks for a new certificate now, whatever the schedule says (files are read again). Returns at once;
    /// the outcome shows on the watch channel and in [`RenewalHandle::status`]. Requests while one is under
    /// way are one request.
    pub fn renew_now(&self) {
        self.trigger.notify_one();
    }

    /// Offers bundles that the control plane told, and waits for the answer. Once they are taken, the identity shows
    /// them, and the next certificate is verified against them.
    ///
    /// # Errors
    /// When they are not taken; what is trusted stays as it is.
    pub async fn trust(&self, bundles: Bundles) -> Result<(), TrustRefused> {
        match &self.trust {
            Some(trust) => trust.offer(bundles).await,
            None => Err(TrustRefused::Files),
        }
    }

    /// Whom the workload trusts; `None` when it takes its roots from files.
    #[must_use]
    pub fn trusted(&self) -> Option<watch::Receiver<Arc<Trusted>>> {
        self.trust.as_ref().map(|trust| trust.state.clone())
    }

    /// Orders that a certificate issued before a moment be replaced within a window; `None` takes the order back.
    pub fn reissue(&self, order: Option<Reissue>) {
        self.orders.send_if_modified(|held| {
            let differs = *held != order;
            *held = order;
            differs
        });
    }

    /// How the certificate stands.
    #[must_use]
    pub fn status(&self) -> Status {
        shelf::lock(&self.status).clone()
    }
}

/// The file system of a state directory that is not kept in memory.
fn kept_on_disk(directory: &Path) -> Option<String> {
    let mounts = read_limited(Path::new("/proc/self/mountinfo"), MAX_MOUNTS).ok()?;
    let directory = std::fs::canonicalize(directory).ok()?;
    let file_system = on_disk(&mounts, &directory)?.to_owned();
    tracing::warn!(
        directory = %directory.display(),
        file_system,
        "certificates.stateDirectory is on a disk, where the private key may be read later; put it on a tmpfs"
    );
    Some(file_system)
}

/// One random draw.
pub(super) fn draw() -> Jitter {
    Jitter::new(dice())
}
