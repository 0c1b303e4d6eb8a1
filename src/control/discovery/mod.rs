//! Discovery: what the control plane tells its sidecars, and what each of them has of it.
//!
//! The parts of the control plane change a [`Published`] through its [`Publisher`]; sidecars that prove themselves with a
//! certificate of the mesh get it over a stream, and [`Fleet`] tells who is connected and what each acknowledged. A
//! sidecar acknowledges only what its own Envoy has.

mod admission;
mod fleet;
mod follow;
mod page;
mod published;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::runtime::{Clock, Drain};
use crate::xds::{AggregatedService, Catalogue};

use super::replicas::Replicas;

pub use admission::NotAdmitted;
pub(super) use fleet::Audience;
pub use fleet::{Acknowledgement, Certificate, Connected, Fleet, Lagging, Programming};
pub use page::FleetPage;
pub use published::{Published, Publisher};

use admission::Admission;
pub(super) use follow::{follow, say};
use published::catalogue;

/// How often the certificates of those who are connected are looked at.
const TICK: Duration = Duration::from_secs(2);

/// The parts of discovery: a service to add to a server, and a task to run.
pub(super) struct Discovery {
    pub(super) service: AggregatedService<Admission>,
    pub(super) task: Task,
}

/// Brings what is published to the streams, and ends those whose certificate is no longer good.
pub(super) struct Task {
    published: watch::Receiver<Arc<Published>>,
    catalogues: watch::Sender<Arc<Catalogue>>,
    fleet: Fleet,
    replicas: Replicas,
    clock: Clock,
    drain: Drain,
}

impl Discovery {
    pub(super) fn new(
        mut published: watch::Receiver<Arc<Published>>,
        (fleet, replicas): (Fleet, Replicas),
        clock: &Clock,
        drain: Drain,
    ) -> Self {
        let first = Arc::clone(&published.borrow_and_update());
        let catalogues = watch::Sender::new(Arc::new(catalogue(&first, None)));
        let admission =
            Admission::new(published.clone(), (fleet.clone(), replicas.clone()), clock.clone());
        let service = AggregatedService::new(admission, catalogues.subscribe(), drain.clone());
        let task = Task { published, catalogues, fleet, replicas, clock: clock.clone(), drain };
        Self { service, task }
    }
}

impl Task {
    /// Runs until the drain begins. Holds a writer's end, so that what is published stays in force when no other part of
    /// the control plane has anything to change.
    pub(super) async fn run(mut self, _publisher: Publisher) -> Result<(), Infallible> {
        let mut look = tokio::time::interval(TICK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.drain.begun() => return Ok(()),
                // Never an error: a writer's end is held here.
                Ok(()) = self.published.changed() => {
                    let published = Arc::clone(&self.published.borrow_and_update());
                    let before = Arc::clone(&self.catalogues.borrow());
                    self.catalogues.send_replace(Arc::new(catalogue(&published, Some(&before))));
                    // Whoever is revoked hears of it before its stream ends, so that it withdraws by itself.
                    continue;
                }
                _ = look.tick() => {}
            }
            let published = Arc::clone(&self.published.borrow());
            let in_touch = self.replicas.is_in_touch();
            self.fleet.end_those_that(|certificate| {
                if !in_touch {
                    return Err(NotAdmitted::OutOfTouch);
                }
                admission::still_good(certificate, &published, self.clock.now())
            });
        }
    }
}
