//! Where decision records go: a file or stdout, written in batches by one thread of its own.
//!
//! A Check only copies its line into a buffer. The thread sleeps while nothing comes, collects for a
//! tenth of a second when something does, and writes whole lines. When the disk refuses, lines wait in the buffer
//! and are tried again; past the buffer's bound new lines are counted as lost, never waited for.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::recent::Recent;

/// How long lines are collected before they are written.
const COLLECT: Duration = Duration::from_millis(100);
/// A batch this large is written at once.
const BATCH: usize = 256 * 1024;
/// Lines beyond this many waiting bytes are lost and counted.
const MAX_WAITING: usize = 32 * 1024 * 1024;

/// Where records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// A file: appended to, made with mode 0640, opened anew when somebody renames it away.
    File(PathBuf),
}

/// The decision log. Cloning shares it; the last clone to go flushes and ends the thread.
#[derive(Debug, Clone)]
pub struct DecisionLog(Arc<Owner>);

#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    phase: Phase,
    recent: Recent,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The thread collects or writes.
    #[default]
    Busy,
    /// The thread sleeps until it is woken.
    Idle,
    /// No more lines come.
    Closed,
}

impl DecisionLog {
    /// Opens the target and starts the thread.
    ///
    /// # Errors
    /// When the file cannot be opened for appending, or no thread can be started.
    pub fn open(target: &LogTarget) -> io::Result<Self> {
        let output = Output::open(target)?;
        let shared = Arc::new(Shared::default());
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("decision-log".to_owned())
                .spawn(move || write_batches(&shared, output))?
        };
        Ok(Self(Arc::new(Owner { shared, thread: Some(thread) })))
    }

    /// Takes one line (or several), each with its line break. Never blocks on the disk.
    pub fn append(&self, line: &[u8]) {
        let shared = &self.0.shared;
        let mut state = shared.lock();
        state.recent.push(line);
        if state.waiting.len() + line.len() > MAX_WAITING {
            shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let was_small = state.waiting.len() < BATCH;
        state.waiting.extend_from_slice(line);
        // Woken once for each reason: waking costs more than the line.
        if state.phase == Phase::Idle || (was_small && state.waiting.len() >= BATCH) {
            state.phase = Phase::Busy;
            drop(state);
            shared.wake.notify_one();
        }
    }

    /// The last records, each as it was taken, the newest last. A bounded number, whatever became of the target.
    #[must_use]
    pub fn recent(&self) -> Vec<Vec<u8>> {
        self.0.shared.lock().recent.copies()
    }

    /// Lines lost since the start, because the target took none for too long.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.shared.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.lock().phase = Phase::Closed;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported already; nothing can be saved here.
            drop(thread.join());
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until there is something, collects, and takes it. `false`: closed, this is the last batch.
    fn next_batch(&self, batch: &mut Vec<u8>) -> bool {
        let mut state = self.lock();
        while state.waiting.is_empty() && state.phase != Phase::Closed {
            state.phase = Phase::Idle;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.phase != Phase::Closed && state.waiting.len() < BATCH {
            state =
                self.wake.wait_timeout(state, COLLECT).unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::swap(&mut state.waiting, batch);
        state.phase != Phase::Closed
    }
}

fn write_batches(shared: &Shared, mut output: Output) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut failing = false;
    loop {
        let more = shared.next_batch(&mut batch);
        match output.write(&batch) {
            Ok(()) => {
                failing = false;
                batch.clear();
            }
            Err(error) => {
                if !failing {
                    tracing::error!(%error, "decision log cannot be written, lines are waiting");
                }
                failing = true;
                shared.put_back(&mut batch);
            }
        }
        if !more {
            return;
        }
    }
}

impl Shared {
    /// What could not be written goes before what came since, then the thread pauses.
    fn put_back(&self, batch: &mut Vec<u8>) {
        let mut state = self.lock();
        batch.extend_from_slice(&state.waiting);
        std::mem::swap(&mut state.waiting, batch);
        batch.clear();
        if state.phase != Phase::Closed {
            drop(self.wake.wait_timeout(state, COLLECT * 10));
        }
    }
}

enum Output {
    Stdout,
    File { path: PathBuf, file: File },
}

impl Output {
    fn open(target: &LogTarget) -> io::Result<Self> {
        match target {
            LogTarget::Stdout => Ok(Self::Stdout),
            LogTarget::File(path) => Ok(Self::File { path: path.clone(), file: append_to(path)? }),
        }
    }

    fn write(&mut self, batch: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(batch)?;
                stdout.flush()
            }
            Self::File { path, file } => {
                let open = file.metadata()?;
                let moved = std::fs::metadata(&*path)
                    .map_or(true, |named| (named.dev(), named.ino()) != (open.dev(), open.ino()));
                if moved {
                    *file = append_to(path)?;
                }
                file.write_all(batch)
            }
        }
    }
}

fn append_to(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_and_follow_a_renamed_file() {
        let directory = std::env::temp_dir().join(format!("hopgate-dlog-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("decisions.log");
        let log = DecisionLog::open(&LogTarget::File(path.clone())).unwrap();
        log.append(b"{\"a\":1}\n");
        drop(log);
        let log = DecisionLog::open(&LogTarget::File(path.clone())).unwrap();
        std::fs::rename(&path, directory.join("decisions.1")).unwrap();
        for _ in 0..1000 {
            log.append(b"{\"b\":2}\n");
        }
        assert_eq!(log.lost(), 0);
        drop(log);
        let first = std::fs::read_to_string(directory.join("decisions.1")).unwrap();
        let second = std::fs::read_to_string(&path).unwrap();
        assert_eq!(first, "{\"a\":1}\n");
        assert_eq!(second, "{\"b\":2}\n".repeat(1000));
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_target_that_cannot_be_opened_is_an_error_at_once() {
        let target = LogTarget::File("/nonexistent/decisions.log".into());
        assert!(DecisionLog::open(&target).is_err());
    }
}
