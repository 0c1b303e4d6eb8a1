//! Every task is owned and named. One that ends before the process drains ends the process.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

/// Says when to stop taking new work. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Drain(CancellationToken);

impl Drain {
    /// A drain that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that begins with this one, or alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    /// Begins to drain.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// True once draining began.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until draining begins.
    pub async fn begun(&self) {
        self.0.cancelled().await;
    }
}

/// An essential task ended while the process should have run on.
#[derive(Debug, thiserror::Error)]
pub enum TaskEnded {
    /// It returned an error.
    #[error("task {name} failed")]
    Failed {
        /// The task.
        name: &'static str,
        /// Its error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It returned without being asked to.
    #[error("task {name} ended early")]
    Early {
        /// The task.
        name: &'static str,
    },
    /// It panicked.
    #[error("task {name} panicked")]
    Panicked {
        /// The task.
        name: &'static str,
    },
}

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// The tasks of one process.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<Outcome>,
    names: HashMap<Id, &'static str>,
    drain: Drain,
}

impl Tasks {
    /// No tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The drain of this process, for tasks to listen to.
    #[must_use]
    pub fn drain(&self) -> Drain {
        self.drain.clone()
    }

    /// Starts an essential task.
    pub fn spawn<F, E>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let handle = self.set.spawn(async move { task.await.map_err(Into::into) });
        self.names.insert(handle.id(), name);
    }

    /// Runs until `shutdown` resolves or a task ends; then drains, and after `deadline` aborts what is left.
    ///
    /// # Errors
    /// When a task ended before `shutdown` did, whichever way.
    pub async fn run(
        mut self,
        shutdown: impl Future<Output = ()>,
        deadline: Duration,
    ) -> Result<(), TaskEnded> {
        let first = tokio::select! {
            () = shutdown => None,
            ended = self.set.join_next_with_id() => ended.map(|e| self.explain(e)),
        };
        self.drain.begin();
        let drained = async {
            while let Some(ended) = self.set.join_next_with_id().await {
                if let Err(TaskEnded::Failed { name, source }) = self.explain(ended) {
                    tracing::warn!(task = name, error = %source, "task failed while draining");
                }
            }
        };
        if tokio::time::timeout(deadline, drained).await.is_err() {
            tracing::warn!(?deadline, "drain deadline passed, aborting what is left");
        }
        first.unwrap_or(Ok(()))
    }

    /// What it means that a task ended: always an error, unless the drain had begun.
    fn explain(
        &self,
        ended: Result<(Id, Outcome), tokio::task::JoinError>,
    ) -> Result<(), TaskEnded> {
        let name = |id| self.names.get(&id).copied().unwrap_or("unknown");
        match ended {
            Ok((id, Err(source))) => Err(TaskEnded::Failed { name: name(id), source }),
            Ok((_, Ok(()))) if self.drain.has_begun() => Ok(()),
            Ok((id, Ok(()))) => Err(TaskEnded::Early { name: name(id) }),
            Err(error) => Err(TaskEnded::Panicked { name: name(error.id()) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ends_early_ends_the_process() {
        let mut tasks = Tasks::new();
        tasks.spawn("server", async { std::future::pending::<Result<(), std::io::Error>>().await });
        tasks.spawn("renewal", async { Ok::<(), std::io::Error>(()) });
        let ended = tasks.run(std::future::pending(), Duration::from_secs(1)).await;
        assert!(matches!(ended, Err(TaskEnded::Early { name: "renewal" })));
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_drains_and_is_no_error() {
        let mut tasks = Tasks::new();
        let drain = tasks.drain();
        tasks.spawn("server", async move {
            drain.begun().await;
            Ok::<(), std::io::Error>(())
        });
        assert!(tasks.run(std::future::ready(()), Duration::from_secs(1)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_named() {
        let mut tasks = Tasks::new();
        tasks.spawn("feed", async { Err::<(), std::io::Error>(panics()) });
        let ended = tasks.run(std::future::pending(), Duration::from_secs(1)).await;
        assert!(matches!(ended, Err(TaskEnded::Panicked { name: "feed" })));
    }

    fn panics() -> std::io::Error {
        panic!("on purpose")
    }
}
