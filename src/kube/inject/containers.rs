//! The containers of the gate, in the order in which they start.

use serde_json::{Map, Value, json};

use super::annotations::Overrides;
use super::resources::Resources;
use super::seen::PortSaid;
use super::settings::{CaptureBy, Settings};
use super::volumes::{self, ROOTS_FILE, STATE, TOKEN_FILE};
use super::{CAPTURE_CONTAINER, ENVOY_CONTAINER, Refused, SIDECAR_CONTAINER};
use crate::mesh::capture::Exclusions;
use crate::mesh::pod::{
    AUTHZ_SOCKET, ENVOY_BOOTSTRAP, ENVOY_UID, GATE_GID, HEALTH_PORT, RUN, SIDECAR_PORT,
    SIDECAR_UID, XDS_SOCKET,
};
use crate::mesh::probe::Probes;

/// A user without any meaning: its connections are captured like everybody's.
const NOBODY: u32 = 65532;
/// Where Envoy is in its own images.
const ENVOY_PROGRAM: &str = "/usr/local/bin/envoy";
/// Connections of Envoy that drain are closed after this long.
const ENVOY_DRAIN: &str = "10";

pub(super) fn gate(
    settings: &Settings,
    overrides: &Overrides,
    probes: &Probes,
    ports: &[PortSaid],
) -> Result<Vec<Value>, Refused> {
    let config = config(settings, probes, ports)?;
    Ok(vec![
        capture(settings, &overrides.exclusions),
        sidecar(settings, overrides, &config),
        envoy(settings, overrides),
    ])
}

/// Before anything else of the pod runs: a connection that is open before the rules come is not captured.
fn capture(settings: &Settings, exclusions: &Exclusions) -> Value {
    let (verb, user, capabilities) = match settings.injection.capture {
        CaptureBy::InitContainer => ("up", 0, json!({ "drop": ["ALL"], "add": ["NET_ADMIN"] })),
        CaptureBy::Cni => ("check", NOBODY, json!({ "drop": ["ALL"] })),
    };
    let mut arguments = vec!["capture".to_owned(), verb.to_owned()];
    for (flag, list) in [
        ("--exclude-inbound-ports", exclusions.inbound_ports.to_string()),
        ("--exclude-outbound-ports", exclusions.outbound_ports.to_string()),
        ("--exclude-outbound-cidrs", exclusions.outbound_networks.to_string()),
        ("--exclude-uids", exclusions.uids.to_string()),
    ] {
        if !list.is_empty() {
            arguments.extend([flag.to_owned(), list]);
        }
    }
    let capture = json!({
        "args": arguments,
        "resources": Resources::of(["10m", "16Mi"], "64Mi").to_json(),
        "securityContext": security(user, user, &capabilities),
    });
    container(CAPTURE_CONTAINER, &settings.injection.image, settings, capture)
}

fn sidecar(settings: &Settings, overrides: &Overrides, config: &Value) -> Value {
    let config = config.to_string();
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let sidecar = json!({
        "args": ["sidecar"],
        "restartPolicy": "Always",
        "env": [
            field("HOPGATE_SIDECAR_NAMESPACE", "metadata.namespace"),
            field("HOPGATE_SIDECAR_SERVICE_ACCOUNT", "spec.serviceAccountName"),
            field("HOPGATE_SIDECAR_POD_UID", "metadata.uid"),
            field("HOPGATE_SIDECAR_POD_IP", "status.podIP"),
            field("HOPGATE_SIDECAR_POD_IPS", "status.podIPs"),
            { "name": "HOPGATE_LOG", "value": overrides.log_level.as_str() },
            { "name": "HOPGATE_LOG_FORMAT", "value": "json" },
            // The kubelet replaces $(NAME) in values; a dollar that is doubled stays a dollar.
            { "name": "HOPGATE_SIDECAR_CONFIG_TEXT", "value": config.replace('$', "$$") },
        ],
        "ports": [{ "name": "hopgate-metrics", "containerPort": SIDECAR_PORT, "protocol": "TCP" }],
        "startupProbe": health("/started", 1, 120),
        "readinessProbe": health("/ready", 2, 3),
        // At the end of the pod, before anything in it is told to stop: callers turn elsewhere while all of it still serves.
        "lifecycle": { "preStop": { "exec": { "command": [
            "/hopgate", "envoy", "drain", "--within", format!("{ENVOY_DRAIN}s"),
        ] } } },
        "resources": overrides.resources.hopgate.to_json(),
        "volumeMounts": volumes::of_sidecar(),
        "securityContext": security(SIDECAR_UID, GATE_GID, &json!({ "drop": ["ALL"] })),
    });
    container(SIDECAR_CONTAINER, &settings.injection.image, settings, sidecar)
}

/// The sidecar's configuration. Whose pod it is, the kubelet tells it by variables.
fn config(settings: &Settings, probes: &Probes, ports: &[PortSaid]) -> Result<Value, Refused> {
    let port =
        |PortSaid { number, protocol }: &PortSaid| json!({ "port": number, "protocol": protocol });
    let ports: Vec<Value> = ports.iter().map(port).collect();
    let probes = serde_json::to_value(probes)
        .map_err(|error| Refused::unreadable("probes", &error.to_string()))?;
    Ok(json!({
        "workload": { "trustDomain": settings.trust_domain.as_str() },
        "resources": [{ "control": {} }],
        "extAuthz": { "listen": [format!("unix:{AUTHZ_SOCKET}")] },
        "sds": { "listen": format!("unix:{XDS_SOCKET}") },
        "admin": { "listen": format!("unix:{RUN}/admin.sock") },
        "stateDir": format!("{STATE}/keys"),
        "certificates": {
            "control": {
                "server": settings.injection.control,
                "caFile": ROOTS_FILE,
                "serviceAccountTokenFile": TOKEN_FILE,
            },
            "stateDirectory": format!("{STATE}/certificates"),
        },
        "capture": {
            "bootstrap": ENVOY_BOOTSTRAP,
            "ports": ports,
            "services": { "control": {} },
            "outbound": settings.injection.outbound,
            "drainTime": format!("{ENVOY_DRAIN}s"),
        },
        "pod": { "probes": probes },
    }))
}

fn envoy(settings: &Settings, overrides: &Overrides) -> Value {
    let envoy = json!({
        "command": [ENVOY_PROGRAM],
        "args": [
            "--config-path",
            ENVOY_BOOTSTRAP,
            "--concurrency",
            settings.injection.envoy_concurrency.to_string(),
            "--drain-time-s",
            ENVOY_DRAIN,
            "--disable-hot-restart",
            "--log-level",
            overrides.log_level.of_envoy(),
        ],
        "restartPolicy": "Always",
        "startupProbe": health("/envoy", 1, 120),
        "resources": overrides.resources.envoy.to_json(),
        "volumeMounts": volumes::of_envoy(),
        "securityContext": security(ENVOY_UID, GATE_GID, &json!({ "drop": ["ALL"] })),
    });
    container(ENVOY_CONTAINER, &settings.injection.envoy_image, settings, envoy)
}

fn container(name: &str, image: &str, settings: &Settings, rest: Value) -> Value {
    let mut fields = Map::new();
    fields.insert("name".to_owned(), json!(name));
    fields.insert("image".to_owned(), json!(image));
    if let Some(policy) = settings.injection.image_pull_policy {
        fields.insert("imagePullPolicy".to_owned(), json!(policy.as_str()));
    }
    if let Value::Object(rest) = rest {
        fields.extend(rest);
    }
    Value::Object(fields)
}

/// Pod Security `restricted`, but for the capabilities and the user that are given.
fn security(user: u32, group: u32, capabilities: &Value) -> Value {
    json!({
        "runAsUser": user,
        "runAsGroup": group,
        "runAsNonRoot": user != 0,
        "privileged": false,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": capabilities,
        "seccompProfile": { "type": "RuntimeDefault" },
    })
}

fn health(path: &str, period: u32, failures: u32) -> Value {
    json!({
        "httpGet": { "path": path, "port": HEALTH_PORT, "scheme": "HTTP" },
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    })
}
