//! Tells when files changed, also through the symlink swap of a mounted volume.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// How long to wait for a burst of changes to end before it is reported.
const SETTLE: Duration = Duration::from_millis(50);

/// A watch over some files and directories. Events are hints: the reader reads everything again and compares.
#[derive(Debug)]
pub struct FileWatch {
    events: mpsc::Receiver<()>,
    /// Kept alive: dropping it ends the watch.
    _watcher: notify::RecommendedWatcher,
}

/// A path cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch {path}")]
pub struct WatchError {
    path: PathBuf,
    #[source]
    source: notify::Error,
}

impl FileWatch {
    /// Watches files and directories. For a file its directory is watched, because editors and mounted
    /// volumes replace files by renaming, which a watch on the file itself would miss.
    ///
    /// # Errors
    /// When a path does not exist or the system's limit of watches is reached.
    pub fn new(paths: &[PathBuf]) -> Result<Self, WatchError> {
        // One slot is enough: an event that finds it full says nothing new.
        let (sender, events) = mpsc::channel(1);
        let report = move |event: notify::Result<notify::Event>| {
            let reads_only = matches!(&event, Ok(event) if event.kind.is_access());
            if !reads_only {
                let _full = sender.try_send(());
            }
        };
        let fail = |path: &Path| {
            let path = path.to_path_buf();
            move |source| WatchError { path, source }
        };
        let mut watcher = notify::recommended_watcher(report).map_err(fail(Path::new("files")))?;
        for path in paths {
            let directory = if path.is_dir() {
                path.as_path()
            } else {
                path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
            };
            watcher.watch(directory, RecursiveMode::NonRecursive).map_err(fail(directory))?;
        }
        Ok(Self { events, _watcher: watcher })
    }

    /// Waits for a change, then for the burst to settle. `None` when the watch ended.
    pub async fn changed(&mut self) -> Option<()> {
        self.events.recv().await?;
        while let Ok(Some(())) = tokio::time::timeout(SETTLE, self.events.recv()).await {}
        Some(())
    }
}
