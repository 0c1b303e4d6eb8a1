//! What Envoy is started with: all that it will ever do, or where it hears of it.

use serde_json::{Map, Value, json};

use crate::identity::SpiffeId;

use super::address::Endpoint;
use super::cluster::{self, AUTHZ_CLUSTER, SDS_CLUSTER, TOKENS_CLUSTER, blackhole};
use super::fault::{Faults, InvalidMesh};
use super::model::{Edge, Mesh, Sidecar};
use super::tls::delta_source;

/// The most connections that one Envoy takes. Without a bound Envoy warns, and ends when descriptors run out.
const MAX_CONNECTIONS: u32 = 50_000;

/// An Envoy bootstrap, complete in itself. Keys stand in the order in which a person wants to read them.
#[must_use]
pub fn bootstrap(mesh: &Mesh) -> Value {
    let mut clusters = sidecar_clusters(&mesh.sidecar);
    let sidecar = &mesh.sidecar.sds;
    clusters.extend(mesh.inbound.iter().map(|one| one.cluster(sidecar)));
    clusters.extend(mesh.edge.iter().map(Edge::cluster));
    clusters.extend(mesh.outbound.iter().map(|one| one.cluster(mesh.trust(), sidecar)));
    clusters.push(blackhole());
    json!({
        "node": node(&mesh.sidecar.identity),
        "admin": { "address": mesh.admin.to_private_envoy() },
        "static_resources": { "listeners": mesh.listeners(), "clusters": clusters },
        "overload_manager": overload_manager(),
    })
}

/// The bootstrap of an Envoy that hears everything else from its sidecar, by aggregated discovery.
///
/// # Errors
/// When a socket can be reached from other machines, or its path is none.
pub fn discovering_bootstrap(sidecar: &Sidecar, admin: &Endpoint) -> Result<Value, InvalidMesh> {
    let mut faults = Faults::in_section("capture.");
    faults.check_endpoint("admin", admin);
    for (field, endpoint) in [("sds", &sidecar.sds), ("extAuthz", &sidecar.authz)] {
        faults.check_endpoint(field, endpoint);
    }
    faults.none()?;
    // Without a limit of time: an Envoy without its listeners must not pass for one that is ready.
    let discovered =
        json!({ "ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s" });
    Ok(json!({
        "node": node(&sidecar.identity),
        "admin": { "address": admin.to_shared_envoy() },
        "dynamic_resources": {
            "ads_config": delta_source(SDS_CLUSTER),
            "cds_config": discovered,
            "lds_config": discovered,
        },
        "static_resources": { "clusters": sidecar_clusters(sidecar) },
        "overload_manager": overload_manager(),
    }))
}

/// The services of the sidecar.
fn sidecar_clusters(sidecar: &Sidecar) -> Vec<Value> {
    let mut clusters = vec![
        cluster::sidecar(SDS_CLUSTER, &sidecar.sds),
        cluster::sidecar(AUTHZ_CLUSTER, &sidecar.authz),
    ];
    let tokens = sidecar.tokens.iter();
    clusters.extend(tokens.map(|door| cluster::sidecar(TOKENS_CLUSTER, door)));
    clusters
}

fn overload_manager() -> Value {
    json!({
        "resource_monitors": [{
            "name": "envoy.resource_monitors.global_downstream_max_connections",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                "max_active_downstream_connections": MAX_CONNECTIONS,
            },
        }],
    })
}

/// A bootstrap as block YAML.
///
/// # Errors
/// When the value cannot be written as YAML; none that [`bootstrap`] makes.
pub fn to_yaml(bootstrap: &Value) -> Result<String, serde_saphyr::ser::Error> {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(bootstrap, options)
}

/// Both fields are needed by discovery; the cluster is what `x-envoy-downstream-service-cluster` shows.
fn node(identity: &SpiffeId) -> Value {
    let (id, cluster) = match identity.service_account() {
        Some((namespace, account)) => (format!("{namespace}/{account}"), account.to_owned()),
        None => {
            let path = identity.path().trim_start_matches('/');
            (path.to_owned(), path.to_owned())
        }
    };
    let mut metadata = Map::new();
    metadata.insert("spiffe_id".to_owned(), json!(identity.as_str()));
    json!({ "id": id, "cluster": cluster, "metadata": metadata })
}
