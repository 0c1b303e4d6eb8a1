//! The end of a pod: its Envoy lets its callers turn elsewhere before anything stops.
//!
//! Envoy has no drain of its own: told to end, it ends within milliseconds, and every request in flight with it. So it is
//! asked to drain while it still serves (`connection: close`, GOAWAY), and waited for until nothing is under way.

use std::time::Duration;

use http::Method;
use tokio::time::Instant;

use crate::mesh::Endpoint;
use crate::sidecar::envoy_admin::{Failed, ask};

/// Graceful, and without an end of the listeners: whoever has not heard yet is still served.
const DRAIN: &str = "/drain_listeners?graceful&skip_exit";
/// Requests and bare connections of both directions.
const STATS: &str = "/stats?filter=%5E(http%5C.(in%7Cout)%5C.downstream_rq_active%7Clistener%5C..*_(15001%7C15006)%5C.downstream_cx_active%7Chttp%5C.(in%7Cout)%5C.downstream_cx_active)$";
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(200);
/// So long nothing must have been under way: callers need a moment to hear that this pod is no endpoint any more.
const QUIET: Duration = Duration::from_secs(1);

/// What is done with Envoy at the end.
#[derive(Debug, Clone)]
pub struct EnvoyDrain {
    admin: Endpoint,
    longest: Duration,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drained {
    /// Nothing is under way any more.
    Quiet,
    /// Something still is, and the time is up.
    Busy,
    /// There is no Envoy that could be asked, or not any more; for this reason.
    Gone(String),
}

/// What is under way in an Envoy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct UnderWay {
    requests: u64,
    /// Connections that carry no requests.
    bare: u64,
}

impl EnvoyDrain {
    /// Of the Envoy with this admin page, for no longer than `longest`.
    #[must_use]
    pub fn new(admin: Endpoint, longest: Duration) -> Self {
        Self { admin, longest }
    }

    /// Has Envoy drain, and waits until nothing is under way, or as long as it may take. Asked again, Envoy goes on as it
    /// does.
    pub async fn run(&self) -> Drained {
        let end = Instant::now() + self.longest;
        if let Err(error) = ask(&self.admin, Method::POST, DRAIN).await {
            return Drained::Gone(error.to_string());
        }
        match tokio::time::timeout_at(end, self.quiet()).await {
            Ok(Ok(())) => Drained::Quiet,
            Ok(Err(error)) => Drained::Gone(error.to_string()),
            Err(_) => Drained::Busy,
        }
    }

    /// The same, told in the log.
    pub(in crate::sidecar) async fn run_and_tell(&self) {
        match self.run().await {
            Drained::Quiet => tracing::info!("Envoy is drained"),
            Drained::Busy => tracing::warn!(after = ?self.longest, "requests are still under way"),
            Drained::Gone(reason) => {
                tracing::warn!(reason, "Envoy cannot be drained; it may have ended before");
            }
        }
    }

    /// Returns once nothing was under way for [`QUIET`].
    async fn quiet(&self) -> Result<(), Failed> {
        let mut busy_at = Instant::now();
        loop {
            let page = ask(&self.admin, Method::GET, STATS).await?;
            let now = Instant::now();
            if under_way(&String::from_utf8_lossy(&page)) != UnderWay::default() {
                busy_at = now;
            } else if now.duration_since(busy_at) >= QUIET {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Reads `name: value` lines. A connection of requests without any under way waits for nothing.
fn under_way(page: &str) -> UnderWay {
    let (mut requests, mut all, mut http) = (0u64, 0u64, 0u64);
    for (name, value) in page.lines().filter_map(|line| line.split_once(": ")) {
        let Ok(value) = value.trim().parse::<u64>() else { continue };
        if name.ends_with(".downstream_rq_active") {
            requests = requests.saturating_add(value);
        } else if name.starts_with("listener.") {
            all = all.saturating_add(value);
        } else if name.ends_with(".downstream_cx_active") {
            http = http.saturating_add(value);
        }
    }
    UnderWay { requests, bare: all.saturating_sub(http) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_bare_connections_are_under_way_and_idle_connections_are_not() {
        let page = "http.in.downstream_cx_active: 3\nhttp.in.downstream_rq_active: 1\n\
                    http.out.downstream_cx_active: 1\nhttp.out.downstream_rq_active: 0\n\
                    listener.0.0.0.0_15006.downstream_cx_active: 5\n\
                    listener.127.0.0.1_15001.downstream_cx_active: 1\n";
        assert_eq!(under_way(page), UnderWay { requests: 1, bare: 2 });
        assert_eq!(under_way("nothing here"), UnderWay::default());
    }
}
