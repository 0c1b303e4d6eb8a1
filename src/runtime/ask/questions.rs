//! Carries questions to their end, whoever still waits for them.

use std::convert::Infallible;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Flight;
use crate::runtime::Drain;

/// Carries questions to their end. One for each [`super::Asker`]; run it for as long as the process serves.
pub struct Questions<A>(mpsc::Receiver<Flight<A>>);

impl<A: Clone + Send + Sync + 'static> Questions<A> {
    pub(super) fn channel(most: usize) -> (mpsc::Sender<Flight<A>>, Self) {
        let (sender, receiver) = mpsc::channel(most);
        (sender, Self(receiver))
    }

    /// Until draining begins; then those who still wait carry their own.
    ///
    /// # Errors
    /// Never: a question that fails is an answer too.
    pub async fn run(mut self, drain: Drain) -> Result<(), Infallible> {
        let mut out = JoinSet::new();
        loop {
            tokio::select! {
                () = drain.begun() => return Ok(()),
                flight = self.0.recv() => match flight {
                    Some(flight) => drop(out.spawn(flight)),
                    // Nobody can ask any more.
                    None => {
                        drain.begun().await;
                        return Ok(());
                    }
                },
                Some(_ended) = out.join_next() => {}
            }
        }
    }
}
