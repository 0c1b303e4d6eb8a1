//! Tells when files changed, also through the symlink swap of a mounted volume.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// How long to wait for a burst of changes to end before it is reported.
const SETTLE: Duration = Duration::from_millis(50);
/// A burst is reported after this long even if it goes on: a steady writer must not hold a revocation back.
const LONGEST: Duration = Duration::from_secs(1);

/// A watch over some files and directories. Events are hints: the reader reads everything again and compares.
#[derive(Debug)]
pub struct FileWatch {
    events: mpsc::Receiver<()>,
    watched: Arc<Mutex<Vec<PathBuf>>>,
    /// Kept alive: dropping it ends the watch.
    watcher: notify::RecommendedWatcher,
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
        let watched = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&watched);
        let report = move |event: notify::Result<notify::Event>| {
            let matters = match &event {
                Ok(event) => {
                    let watched = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    !event.kind.is_access() && concerns(&watched, &event.paths)
                }
                // Events were lost: anything may have changed.
                Err(_) => true,
            };
            if matters {
                let _full = sender.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(report)
            .map_err(|source| failed(Path::new("files"), source))?;
        let mut watch = Self { events, watched, watcher };
        for path in paths {
            watch.also(path)?;
        }
        Ok(watch)
    }

    /// Watches one more file or directory; one that is watched already is left as it is.
    ///
    /// # Errors
    /// As [`FileWatch::new`].
    pub fn also(&mut self, path: &Path) -> Result<(), WatchError> {
        // Never held while the watcher is spoken to: it answers from the thread that reports events, which takes it too.
        {
            let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            if watched.iter().any(|known| known == path) {
                return Ok(());
            }
            watched.push(path.to_path_buf());
        }
        let directory = if path.is_dir() {
            path
        } else {
            path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
        };
        self.watcher.watch(directory, RecursiveMode::NonRecursive).map_err(|source| {
            // Tried again the next time.
            let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            watched.retain(|known| known != path);
            failed(directory, source)
        })
    }

    /// Waits for a change, then for the burst to settle. `None` when the watch ended.
    pub async fn changed(&mut self) -> Option<()> {
        self.events.recv().await?;
        settle(&mut self.events).await;
        Some(())
    }
}

fn failed(path: &Path, source: notify::Error) -> WatchError {
    WatchError { path: path.to_path_buf(), source }
}

/// Waits until nothing came for [`SETTLE`], and no longer than [`LONGEST`].
async fn settle(events: &mut mpsc::Receiver<()>) {
    let end = tokio::time::Instant::now() + LONGEST;
    loop {
        let quiet = (tokio::time::Instant::now() + SETTLE).min(end);
        match tokio::time::timeout_at(quiet, events.recv()).await {
            Ok(Some(())) if tokio::time::Instant::now() < end => {}
            Ok(_) | Err(_) => return,
        }
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

    #[tokio::test(start_paused = true)]
    async fn a_burst_settles_and_a_steady_writer_holds_nothing_back() {
        let (sender, mut events) = mpsc::channel(1);
        let began = tokio::time::Instant::now();
        settle(&mut events).await;
        assert_eq!(began.elapsed(), SETTLE, "quiet");

        let writer = async move {
            loop {
                let _full = sender.try_send(());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let began = tokio::time::Instant::now();
        tokio::select! {
            () = settle(&mut events) => {}
            () = writer => {}
            () = tokio::time::sleep(Duration::from_secs(60)) => {}
        }
        assert!(began.elapsed() <= Duration::from_millis(1100), "{:?}", began.elapsed());
    }

    #[test]
    fn paths_are_added_while_events_come() {
        let directory = std::env::temp_dir().join(format!("hopgate-watch-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut watch = FileWatch::new(std::slice::from_ref(&directory)).unwrap();
        let (noisy, (done, ended)) = (directory.clone(), std::sync::mpsc::channel::<()>());
        let writer = std::thread::spawn(move || {
            while ended.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                std::fs::write(noisy.join("noise"), "x").unwrap();
            }
        });
        for number in 0..200 {
            let inner = directory.join(number.to_string());
            std::fs::create_dir(&inner).unwrap();
            watch.also(&inner.join("file")).unwrap();
        }
        drop(done);
        writer.join().unwrap();
        assert!(watch.also(Path::new("/no/such/directory/file")).is_err());
        std::fs::remove_dir_all(&directory).unwrap();
    }

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
