//! The configuration of the Envoy beside this sidecar, where all traffic of the pod is captured: made of what is known, and
//! sent to that Envoy by aggregated discovery, together with its secrets.
//!
//! Nothing is answered before there is a whole configuration, and while there is no certificate nobody who comes anew is
//! answered: an Envoy that runs keeps what it has. A configuration that cannot be made is told in log, metrics and
//! `/config`, and the last good one stays.

mod config;
mod drain;
mod leaving;
mod publisher;
mod services;
mod session;
mod snapshot;
mod status;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use super::certificates::{Certificates, Told};
use super::config::invalid;
use super::discovery::Services;
use super::standing::Standing;
use super::{Config, StartError};
use crate::authz::Gate;
use crate::mesh::captured::ServicesFrom;
use crate::mesh::{Endpoint, Sidecar, discovering_bootstrap};
use crate::runtime::{Clock, Ready, Tasks, write_atomic};
use crate::telemetry::Metrics;
use crate::xds::{AggregatedService, Catalogue};

pub use drain::{Drained, EnvoyDrain};
use leaving::Leaving;
use publisher::Publisher;
pub use services::InvalidServices;
use services::ServicesTask;
pub(super) use session::EnvoyDoor;
use snapshot::Snapshots;
pub(super) use status::AdsStatus;

/// The condition that Envoy has taken a configuration.
pub(super) const CONFIGURED: &str = "envoy-configuration";

/// The parts of aggregated discovery.
pub(super) struct Ads {
    /// To be served beside the secrets.
    pub(super) service: AggregatedService<EnvoyDoor>,
    pub(super) status: Arc<AdsStatus>,
    /// What is done with Envoy at the end.
    pub(super) drain: EnvoyDrain,
}

/// Starts what makes the configuration, if the pod's traffic is captured.
pub(super) fn start(
    config: &Config,
    (gate, certificates, standing): (&Arc<Gate>, &Certificates, &Standing),
    (ready, clock, metrics): (&Ready, &Clock, &Metrics),
    tasks: &mut Tasks,
) -> Result<Option<Ads>, StartError> {
    let Some(capture) = &config.capture else { return Ok(None) };
    let sidecar = config.for_envoy(Vec::new())?;
    if let Some(path) = &capture.bootstrap {
        write_bootstrap(path, &sidecar, &capture.admin)?;
    }
    let parts = (config, certificates.told.as_ref());
    let services = follow_services(capture.services.as_ref(), parts, tasks)?;
    let status = Arc::new(AdsStatus::default());
    status.register(metrics);
    let catalogues = watch::Sender::new(Arc::new(Catalogue::new(Vec::new())));
    let sds = Arc::clone(&certificates.sds_status);
    let door = EnvoyDoor::new(
        catalogues.subscribe(),
        certificates.identity.clone(),
        (sds, Arc::clone(&status), ready.require(CONFIGURED)),
    );
    let service = AggregatedService::new(door, catalogues.subscribe(), tasks.drain());
    let publisher = Publisher {
        own: sidecar.identity.clone(),
        snapshots: Snapshots::new((capture.clone(), config.workload.namespace.clone()), sidecar)?,
        secrets: certificates.secrets.clone(),
        services,
        leaving: Leaving::new(capture.drain_time),
        gate: Arc::clone(gate),
        orders: standing.orders(),
        clock: clock.clone(),
        catalogues,
        status: Arc::clone(&status),
    };
    tasks.spawn("envoy-configuration", publisher.run(tasks.drain()));
    let drain = EnvoyDrain::new(capture.admin.clone(), capture.drain_time);
    Ok(Some(Ads { service, status, drain }))
}

/// For an Envoy that starts after this sidecar. Its group reads it: Envoy is another user.
fn write_bootstrap(path: &Path, sidecar: &Sidecar, admin: &Endpoint) -> Result<(), StartError> {
    let bootstrap = discovering_bootstrap(sidecar, admin)
        .map_err(|error| invalid("capture", error.to_string()))?;
    write_atomic(path, bootstrap.to_string().as_bytes(), 0o640).map_err(StartError::Bootstrap)
}

fn follow_services(
    from: Option<&ServicesFrom>,
    (config, told): (&Config, Option<&Told>),
    tasks: &mut Tasks,
) -> Result<Services, StartError> {
    let path = match from {
        None => return Ok(watch::Sender::new(Some(Arc::new(Vec::new()))).subscribe()),
        Some(ServicesFrom::Control(_)) => {
            // Where nobody tells them they are never known; the configuration was checked for that.
            let told = told.and_then(|told| told.services.clone());
            return Ok(told.unwrap_or_else(|| watch::Sender::new(None).subscribe()));
        }
        Some(ServicesFrom::File(path)) => path.clone(),
    };
    let domain = config.identity()?.workload.trust_domain;
    let task = ServicesTask::new(path, domain)?;
    let services = task.subscribe();
    tasks.spawn("services", task.run(tasks.drain()));
    Ok(services)
}
