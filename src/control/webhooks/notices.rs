//! Events for the owners of pods: told beside the answer, never before it, and each once in a while.

use std::convert::Infallible;
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::mpsc;

use crate::kube::{Namespaces, Notice, Subject};
use crate::runtime::{Clock, Drain, with_causes};

/// More are dropped: events are a courtesy, answers are not.
const WAITING: usize = 256;
/// A ReplicaSet that makes pods again and again is told once in this time.
const AGAIN: Duration = Duration::from_secs(600);
const REMEMBERED: u64 = 4096;
/// Between two events, so that no burst of pods becomes one of events.
const PAUSE: Duration = Duration::from_millis(50);
/// An API server that takes longer takes no event.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes what is to be told. Cloning shares it.
#[derive(Clone)]
pub(super) struct Notices {
    queue: mpsc::Sender<Notice>,
    told: Cache<(Subject, String), ()>,
}

/// Tells it.
pub(super) struct Telling {
    queue: mpsc::Receiver<Notice>,
    namespaces: Namespaces,
    clock: Clock,
}

impl Notices {
    pub(super) fn new(namespaces: Namespaces, clock: Clock) -> (Self, Telling) {
        let (sender, queue) = mpsc::channel(WAITING);
        let told = Cache::builder().max_capacity(REMEMBERED).time_to_live(AGAIN).build();
        (Self { queue: sender, told }, Telling { queue, namespaces, clock })
    }

    pub(super) fn tell(&self, notice: Notice) {
        let key = (notice.subject.clone(), notice.message.clone());
        if self.told.contains_key(&key) {
            return;
        }
        match self.queue.try_send(notice) {
            Ok(()) => self.told.insert(key, ()),
            Err(_) => tracing::warn!("too many events are waiting, one is dropped"),
        }
    }
}

impl Telling {
    pub(super) async fn run(mut self, drain: Drain) -> Result<(), Infallible> {
        loop {
            // The queue ends with the webhooks, and those with the drain.
            let notice = tokio::select! {
                () = drain.begun() => return Ok(()),
                Some(notice) = self.queue.recv() => notice,
            };
            let told = self.namespaces.tell(&notice, self.clock.now());
            match tokio::time::timeout(PATIENCE, told).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = with_causes(&error), "an event is not told")
                }
                Err(_) => tracing::warn!("the API server takes no event"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
