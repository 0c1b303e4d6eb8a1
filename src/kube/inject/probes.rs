//! Probes and hooks that the kubelet would send to the application's own ports go to the sidecar instead, which asks the
//! application.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Refused;
use super::seen::{Container, Seen};
use crate::mesh::pod::SIDECAR_PORT;
pub use crate::mesh::probe::ProbeKey;
use crate::mesh::probe::{Ask, Header, HttpAsk, Probe, Probes, Scheme};

const PROBES: [&str; 3] = ["startupProbe", "livenessProbe", "readinessProbe"];
const HOOKS: [&str; 2] = ["postStart", "preStop"];
/// A hook after the start may take as long as it likes; longer than this the sidecar waits for none.
const POST_START: u64 = 300;

/// A probe or hook, as far as it matters here. What is no field of it is an `exec` or a `sleep`, which stay as they are.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Handler {
    http_get: Option<HttpGet>,
    tcp_socket: Option<TcpSocket>,
    grpc: Option<Grpc>,
    timeout_seconds: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct HttpGet {
    path: Option<String>,
    port: Port,
    host: Option<String>,
    scheme: Option<Scheme>,
    #[serde(rename = "httpHeaders")]
    headers: Option<Vec<Header>>,
}

#[derive(Debug, Deserialize)]
struct TcpSocket {
    port: Port,
    host: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Grpc {
    port: u16,
    service: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Port {
    Number(u16),
    Name(String),
}

/// Rewrites all of them, and tells the sidecar's table.
pub(super) fn rewrite(pod: &mut Value, seen: &Seen, key: &ProbeKey) -> Result<Probes, Refused> {
    let mut found = Vec::new();
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else {
        return Err(Refused::unreadable("spec", "must be an object"));
    };
    for field in ["initContainers", "containers"] {
        let Some(Value::Array(containers)) = spec.get_mut(field) else { continue };
        for container in containers.iter_mut().filter_map(Value::as_object_mut) {
            let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
            let Some(known) = seen.containers().find(|known| known.name == name) else {
                return Err(Refused::unreadable(field, "a container has no name"));
            };
            if field == "initContainers" && !known.restarts() {
                continue;
            }
            for probe in PROBES {
                rewrite_one(container, probe, (known, 1), key, &mut found)?;
            }
            if let Some(Value::Object(lifecycle)) = container.get_mut("lifecycle") {
                for hook in HOOKS {
                    let seconds = if hook == "preStop" { seen.grace_seconds() } else { POST_START };
                    rewrite_one(lifecycle, hook, (known, seconds.max(1)), key, &mut found)?;
                }
            }
        }
    }
    Probes::new(key.clone(), found).map_err(|error| Refused::Unreadable {
        field: "probes".to_owned(),
        problem: error.to_string(),
    })
}

fn rewrite_one(
    holder: &mut Map<String, Value>,
    field: &str,
    (container, seconds): (&Container, u64),
    key: &ProbeKey,
    found: &mut Vec<Probe>,
) -> Result<(), Refused> {
    let Some(value) = holder.get_mut(field) else { return Ok(()) };
    if value.is_null() {
        return Ok(());
    }
    let handler: Handler = serde_path_to_error::deserialize(&*value).map_err(|error| {
        let field = format!("container {:?}: {field}.{}", container.name, error.path());
        Refused::Unreadable { field, problem: error.into_inner().to_string() }
    })?;
    let seconds = handler.timeout_seconds.filter(|seconds| *seconds > 0).unwrap_or(seconds);
    // The socket of a hook was never called by a kubelet.
    let is_hook = HOOKS.contains(&field);
    let Some(ask) = handler.ask(container, field)? else { return Ok(()) };
    if is_hook && !matches!(ask, Ask::Http(_)) {
        return Ok(());
    }
    let Some(written) = value.as_object_mut() else {
        return Err(Refused::unreadable(field, "must be an object"));
    };
    let name = format!("{}/{field}", container.name);
    for kind in ["httpGet", "tcpSocket", "grpc"] {
        written.remove(kind);
    }
    let http = json!({ "path": key.path(&name), "port": SIDECAR_PORT, "scheme": "HTTP" });
    written.insert("httpGet".to_owned(), http);
    found.push(Probe { name, ask, timeout: Duration::from_secs(seconds) });
    Ok(())
}

impl Handler {
    /// What the sidecar is to ask; nothing where the kubelet does not ask this pod by its network.
    fn ask(self, container: &Container, field: &str) -> Result<Option<Ask>, Refused> {
        let Self { http_get, tcp_socket, grpc, timeout_seconds: _ } = self;
        let port = |port: Port| match port {
            Port::Number(number) => Ok(number),
            Port::Name(name) => container.port(&name).ok_or_else(|| Refused::NamedPort {
                container: container.name.clone(),
                field: field.to_owned(),
                port: name,
            }),
        };
        // A host that is named is somewhere else: the node itself, for example.
        let is_here = |host: &Option<String>| host.as_ref().is_none_or(String::is_empty);
        Ok(match (http_get, tcp_socket, grpc) {
            (Some(get), None, None) if is_here(&get.host) => Some(Ask::Http(HttpAsk {
                scheme: get.scheme.unwrap_or(Scheme::Http),
                port: port(get.port)?,
                path: rooted(get.path),
                headers: get.headers.unwrap_or_default(),
            })),
            (None, Some(socket), None) if is_here(&socket.host) => {
                Some(Ask::Tcp { port: port(socket.port)? })
            }
            (None, None, Some(grpc)) => {
                Some(Ask::Grpc { port: grpc.port, service: grpc.service.unwrap_or_default() })
            }
            (Some(_), None, None) | (None, Some(_), None) | (None, None, None) => None,
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
                let field = format!("container {:?}: {field}", container.name);
                let problem = "asks in two ways; keep one of them".to_owned();
                return Err(Refused::Unreadable { field, problem });
            }
        })
    }
}

/// As the kubelet writes it: with a slash first.
fn rooted(path: Option<String>) -> String {
    match path {
        None => "/".to_owned(),
        Some(path) if path.starts_with('/') => path,
        Some(path) => format!("/{path}"),
    }
}
