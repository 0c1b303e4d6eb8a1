//! Waiting for a fetch that others wait for too.

use std::sync::Arc;

use tokio_util::sync::{CancellationToken, DropGuard};

/// What an unknown key can hope for.
#[derive(Debug)]
pub enum KeyWait {
    /// Nothing will come: the provider was asked lately, or its keys are not fetched.
    Cooling,
    /// A fetch is out, or about to be.
    Fetching(KeyFetch),
}

/// A fetch that is out.
#[derive(Debug)]
pub struct KeyFetch(CancellationToken);

impl KeyFetch {
    /// Resolves when the fetch has ended, whatever it brought; if it brought other keys, when whoever takes them has
    /// dropped their [`super::KeyUpdate`]. Bounded by nothing but the fetch: give it a deadline.
    pub async fn ended(self) {
        self.0.cancelled_owned().await;
    }
}

/// One fetch, from when somebody first hopes for it until its keys are in force.
pub(super) struct Flight {
    landed: CancellationToken,
    /// Here until the fetch begins, then with the fetch, then with its keys. Dropped anywhere, it wakes the waiters.
    ticket: Option<Ticket>,
}

/// Wakes the waiters when its last clone is dropped.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    _guard: Arc<DropGuard>,
}

impl Flight {
    pub(super) fn new() -> Self {
        let landed = CancellationToken::new();
        let guard = Arc::new(landed.clone().drop_guard());
        Self { landed, ticket: Some(Ticket { _guard: guard }) }
    }

    /// To wait for it; nothing when it is over.
    pub(super) fn join(&self) -> Option<KeyFetch> {
        (!self.landed.is_cancelled()).then(|| KeyFetch(self.landed.clone()))
    }

    /// The fetch begins. Nothing when it has before.
    pub(super) fn begin(&mut self) -> Option<Ticket> {
        self.ticket.take()
    }
}
