//! The volumes of the gate. None of them is on a disk, and the application sees none of them.

use serde_json::{Value, json};

use super::Settings;
use crate::mesh::pod::{RUN, WORKLOAD_RUN};

/// Sockets between the sidecar and Envoy.
const RUN_VOLUME: &str = "hopgate-run";
/// The socket of the Workload API.
const WORKLOAD_VOLUME: &str = "hopgate-workload";
/// What the sidecar remembers over restarts of its container: its key is in it.
const STATE_VOLUME: &str = "hopgate-state";
/// The token and the roots.
const IDENTITY_VOLUME: &str = "hopgate-identity";

/// Where the sidecar keeps what it remembers.
pub(super) const STATE: &str = "/var/lib/hopgate";
const IDENTITY: &str = "/var/run/secrets/hopgate";
/// The token by which the pod proves itself.
pub(super) const TOKEN_FILE: &str = "/var/run/secrets/hopgate/token";
/// The roots of the mesh.
pub(super) const ROOTS_FILE: &str = "/var/run/secrets/hopgate/roots.pem";
/// The roots in the ConfigMap.
const ROOTS_KEY: &str = "roots.pem";

pub(super) fn all(settings: &Settings) -> Vec<Value> {
    let memory = |name: &str, size: &str| json!({ "name": name, "emptyDir": { "medium": "Memory", "sizeLimit": size } });
    let token = json!({ "serviceAccountToken": {
        "audience": settings.audience,
        "expirationSeconds": settings.injection.token_lifetime.as_secs(),
        "path": "token",
    }});
    let roots = json!({ "configMap": {
        "name": settings.injection.trust_config_map,
        "items": [{ "key": ROOTS_KEY, "path": ROOTS_KEY }],
    }});
    vec![
        memory(RUN_VOLUME, "16Mi"),
        memory(WORKLOAD_VOLUME, "1Mi"),
        memory(STATE_VOLUME, "64Mi"),
        json!({ "name": IDENTITY_VOLUME, "projected": { "sources": [token, roots] } }),
    ]
}

pub(super) fn of_sidecar() -> Value {
    json!([
        { "name": RUN_VOLUME, "mountPath": RUN },
        { "name": WORKLOAD_VOLUME, "mountPath": WORKLOAD_RUN },
        { "name": STATE_VOLUME, "mountPath": STATE },
        { "name": IDENTITY_VOLUME, "mountPath": IDENTITY, "readOnly": true },
    ])
}

pub(super) fn of_envoy() -> Value {
    json!([{ "name": RUN_VOLUME, "mountPath": RUN }])
}
