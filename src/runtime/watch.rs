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
        let watched = paths.to_vec();
        let report = move |event: notify::Result<notify::Event>| {
            let matters = match &event {
                Ok(event) => !event.kind.is_access() && concerns(&watched, &event.paths),
                // Events were lost: anything may have changed.
                Err(_) => true,
            };
            if matters {
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

/// True when an event may concern a watched path. Other files of the same directory do not: a log that grows beside a
/// policy must not have the policy read again and again.
fn concerns(watched: &[PathBuf], changed: &[PathBuf]) -> bool {
    // An event that names no path (an overflow) may be about anything.
    changed.is_empty()
        || changed.iter().any(|changed| {
            // The link that a mounted volume swaps, and the directories behind it.
            let is_volume_link =
                changed.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."));
            is_volume_link
                || watched.iter().any(|path| {
                    changed.file_name() == path.file_name()
                        || (changed.parent().is_some_and(|parent| parent == path)
                            && !is_log(changed))
                })
        })
}

/// Logs may stand in a watched directory too.
fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_watched_is_reported() {
        let watched = ["/etc/h/policy.yaml", "/etc/h/resources"].map(PathBuf::from);
        let seen = |path: &str| concerns(&watched, &[PathBuf::from(path)]);
        for path in
            ["/etc/h/policy.yaml", "/etc/h/resources/a.yaml", "/etc/h/..data", "/etc/h/resources"]
        {
            assert!(seen(path), "{path}");
        }
        for path in
            ["/etc/h/decisions.log", "/etc/h/resources/decisions.log", "/etc/h/.policy.yaml.1.tmp"]
        {
            assert!(!seen(path), "{path}");
        }
        assert!(concerns(&watched, &[]));
    }
}
