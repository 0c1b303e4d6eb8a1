//! The types that an Envoy hears of on one aggregated stream, and their order.
//!
//! Measured of Envoy 1.40: it accepts clusters only once all of them are warm, for which each needs its endpoints and
//! secrets; after a change of a cluster it does not ask for its endpoints again; a listener or a route that names a cluster
//! which is not there is accepted, and fails its traffic. So listeners and routes wait for the clusters, endpoints follow
//! each change of theirs, and what nothing names any more goes last.

use super::kind::{Batch, Kind, Order};
use super::secret_service::SECRET_TYPE;

/// The type URL of `envoy.config.cluster.v3.Cluster`.
pub const CLUSTER_TYPE: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
/// The type URL of `envoy.config.endpoint.v3.ClusterLoadAssignment`.
pub const ENDPOINT_TYPE: &str =
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
/// The type URL of `envoy.config.listener.v3.Listener`.
pub const LISTENER_TYPE: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
/// The type URL of `envoy.config.route.v3.RouteConfiguration`.
pub const ROUTE_TYPE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";

/// The largest resource: a listener with a chain for each of some ten thousand destinations.
const MAX_BYTES: usize = 32 * 1024 * 1024;
/// The most clusters of which an Envoy asks for the endpoints.
const MAX_NAMES: usize = 50_000;

/// Every type, in the order in which they are sent. One resource stands in each answer: of several, Envoy applies the good
/// ones and refuses all.
pub const KINDS: [Kind; 5] = [
    of(CLUSTER_TYPE, &[], &[LISTENER_TYPE, ROUTE_TYPE], Some(ENDPOINT_TYPE)),
    of(ENDPOINT_TYPE, &[], &[LISTENER_TYPE], None),
    of(SECRET_TYPE, &[], &[], None),
    of(LISTENER_TYPE, &[CLUSTER_TYPE], &[], None),
    of(ROUTE_TYPE, &[CLUSTER_TYPE], &[LISTENER_TYPE], None),
];

const fn of(
    type_url: &'static str,
    after: &'static [&'static str],
    removed_after: &'static [&'static str],
    renews: Option<&'static str>,
) -> Kind {
    let order = Order { after, removed_after, renews };
    Kind::new(type_url, Batch::One).ordered(order).bounded(MAX_BYTES, MAX_NAMES)
}
