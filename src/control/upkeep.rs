//! Keeps the issuing certificate, the server's own certificate and the tokens fresh.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::ca::{Authority, TokenStore};
use crate::runtime::{Clock, Drain};

use super::ControlError;
use super::own::{self, OwnCertificate};
use super::replicas::Replicas;

/// How often the authority looks after itself.
const TICK: Duration = Duration::from_secs(2);
const SWEEP: Duration = Duration::from_secs(60);

/// Runs until the drain begins. A failure is said and tried again: what is in use stays.
pub(super) async fn run(
    (authority, own, tokens): (Arc<Authority>, Arc<OwnCertificate>, Arc<TokenStore>),
    replicas: Replicas,
    clock: Clock,
    drain: Drain,
) -> Result<(), ControlError> {
    let mut next_sweep = clock.now();
    let mut trust = authority.trust();
    loop {
        tokio::select! {
            () = drain.begun() => return Ok(()),
            // A retired generation must not vouch for this process a moment longer.
            _ = trust.changed() => {}
            () = tokio::time::sleep(TICK) => {}
        }
        let now = clock.now();
        let sweep = now >= next_sweep;
        if sweep {
            next_sweep = now.checked_add(SWEEP).unwrap_or(now);
        }
        let (authority, own) = (Arc::clone(&authority), Arc::clone(&own));
        let tokens = (sweep && replicas.leads()).then(|| Arc::clone(&tokens));
        // Files are read and the vault is written, which blocks.
        let done = tokio::task::spawn_blocking(move || {
            own::refresh(&authority, now);
            own.renew_if_due(now);
            if let Some(tokens) = tokens {
                own::look_after(&authority, now);
                swept(&tokens, now);
            }
        });
        done.await.map_err(|_| ControlError::Panicked("the upkeep of the authority"))?;
    }
}

fn swept(tokens: &TokenStore, now: SystemTime) {
    match tokens.sweep(now) {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "removed expired join tokens"),
        Err(error) => tracing::warn!(%error, "join tokens cannot be swept"),
    }
}
