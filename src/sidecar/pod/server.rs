//! HTTP for strangers: the ports of a pod are reached by everybody in its cluster.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinSet;

use crate::runtime::{Connection, Drain, Listener};

/// Connections at once.
const MOST: usize = 256;
/// Connections at once from one address, so that one caller leaves room for the kubelet.
const MOST_FROM_ONE: usize = 32;
/// A caller that sends no whole head for so long is gone.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than any answer takes: hooks may take as long as the pod lets them.
const LONGEST: Duration = Duration::from_secs(3660);
const MAX_HEADERS: usize = 64;
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Serves until the drain begins; whoever is connected then is answered.
pub(super) async fn serve(listener: Listener, routes: Router, drain: Drain) -> io::Result<()> {
    let mut connections: JoinSet<IpAddr> = JoinSet::new();
    let mut from: HashMap<IpAddr, usize> = HashMap::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MOST => match accepted {
                Ok(connection) => {
                    // One that is gone already has no address any more.
                    let Ok(Some(address)) = connection.peer_address() else { continue };
                    let address = address.ip().to_canonical();
                    let count = from.entry(address).or_default();
                    if *count < MOST_FROM_ONE {
                        *count += 1;
                        connections.spawn(one(connection, routes.clone(), address));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                match ended {
                    Ok(address) => {
                        let left = from.get(&address).map_or(0, |count| count.saturating_sub(1));
                        if left == 0 {
                            from.remove(&address);
                        } else {
                            from.insert(address, left);
                        }
                    }
                    // It does not say whose it was: all that are left are counted too high, until none are.
                    Err(error) => tracing::error!(%error, "a connection ended in a panic"),
                }
                if connections.is_empty() {
                    from.clear();
                }
            }
            () = drain.begun() => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn one(connection: Connection, routes: Router, address: IpAddr) -> IpAddr {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .keep_alive(false)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(connection), TowerToHyperService::new(routes));
    match tokio::time::timeout(LONGEST, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, %address, "a connection ended"),
        Err(_) => tracing::debug!(%address, "a connection took too long"),
    }
    address
}
