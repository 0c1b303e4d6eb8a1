//! What a sidecar does for its pod on Kubernetes, beside guarding it: it asks the application's probes in the kubelet's
//! place, and tells the kubelet whether the gate works.
//!
//! Both ports are reached by everybody who reaches the pod. So nothing but probes of the table can be asked, each by one
//! question at a time, however many ask; no more than a fixed number of connections is open; and what is told of the gate
//! is whether it works, not why not.

mod ask;
mod config;
mod health;
mod probing;
mod server;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;

pub use config::PodConfig;

use super::StartError;
use crate::admin::metrics_page;
use crate::runtime::{Address, Ready, Tasks};
use crate::telemetry::Metrics;
use probing::Probing;

/// Where the sidecar serves its pod.
#[derive(Debug, Clone)]
pub struct PodAddresses {
    /// Metrics, and the application's probes.
    pub listen: Address,
    /// Whether the gate works.
    pub health: Address,
}

/// Binds both ports and serves them as tasks of `tasks`.
pub(super) async fn start(
    config: &PodConfig,
    (ready, metrics): (&Ready, &Metrics),
    tasks: &mut Tasks,
) -> Result<PodAddresses, StartError> {
    let listener = config.listen.bind().await?;
    let health_listener = config.health.bind().await?;
    let addresses = PodAddresses {
        listen: listener.address().map_err(StartError::Address)?,
        health: health_listener.address().map_err(StartError::Address)?,
    };
    let text = metrics.clone();
    let mut pages =
        Router::new().route("/metrics", get(move || async move { metrics_page(&text) }));
    if let (Some(probes), Some(address)) = (&config.probes, config.address) {
        pages = pages.merge(probes_of(probes, address)?);
    }
    tasks.spawn("pod", server::serve(listener, pages, tasks.drain()));
    let routes = health::routes(ready.clone(), config.envoy_admin.clone());
    // Until the end: the kubelet asks while the pod drains, too.
    tasks.spawn("health", server::serve(health_listener, routes, tasks.drain()));
    Ok(addresses)
}

fn probes_of(probes: &crate::mesh::probe::Probes, address: IpAddr) -> Result<Router, StartError> {
    let probing = Arc::new(Probing::new(probes, address)?);
    let asked = move |path: axum::http::Uri| {
        let probing = Arc::clone(&probing);
        async move { probing.answer(path.path()).await }
    };
    Ok(Router::new().route("/probe/{*rest}", get(asked)))
}
