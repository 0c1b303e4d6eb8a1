//! Gives a pod its gate: a pure function from a pod, what is known of its namespace, and the settings of the mesh, to the
//! pod with the gate, or to the reason why it gets none.
//!
//! The pod is edited as the JSON that it came as: fields that this version does not know stay as they are.
//!
//! What is promised:
//! - the order is capture, sidecar, Envoy, then everything of the pod's own, init containers included;
//! - what runs for long passes the Pod Security level `restricted`; only the step that captures needs `NET_ADMIN`;
//! - what cannot be understood is refused, never guessed: a pod that should have a gate does not run without one;
//! - a pod that has its gate is left alone, byte for byte.

mod annotations;
mod containers;
mod probes;
mod refused;
mod resources;
mod seen;
mod settings;
mod skip;
mod standing;
mod volumes;
mod wish;

use serde_json::{Map, Value, json};

pub use probes::ProbeKey;
pub use refused::Refused;
pub use resources::{InvalidQuantity, Quantity, Resources};
pub use settings::{
    CaptureBy, ExcludeSettings, GateResources, Injection, InvalidInjection, LogLevel, PullPolicy,
    Settings, Unguarded,
};
pub use skip::Skip;
pub use standing::{Injected, Standing};
pub use wish::{DEFAULT_REVISION, INJECT, Namespace, Place, REVISION};

use annotations::Overrides;
use seen::Seen;

/// What the gate that a pod got is known by: who put it there.
pub const INJECTED: &str = "hopgate.dev/injected";
/// The init step that captures.
pub const CAPTURE_CONTAINER: &str = "hopgate-capture";
/// The sidecar.
pub const SIDECAR_CONTAINER: &str = "hopgate";
/// The proxy.
pub const ENVOY_CONTAINER: &str = "envoy";

/// What came of a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It has its gate now.
    Injected {
        /// The pod.
        pod: Value,
        /// What its owner should know, each a sentence.
        remarks: Vec<String>,
    },
    /// It gets none.
    Skipped(Skip),
}

/// Gives `pod` its gate. `pod` has `metadata` and `spec`: a pod, or the template of one.
///
/// # Errors
/// When the pod, or what its labels and annotations ask for, is not understood or cannot be had. It must not run then.
pub fn inject(
    pod: &Value,
    namespace: &Namespace,
    settings: &Settings,
    key: &ProbeKey,
) -> Result<Outcome, Refused> {
    let seen = Seen::read(pod)?;
    if let Some(skip) = wish::unwanted(&seen, namespace, settings)? {
        return Ok(Outcome::Skipped(skip));
    }
    if seen.has_gate() {
        return Ok(Outcome::Skipped(Skip::AlreadyInjected));
    }
    if let Some(skip) = skip::impossible(&seen) {
        return match settings.injection.unguarded {
            Unguarded::Admit => Ok(Outcome::Skipped(skip)),
            Unguarded::Refuse => Err(Refused::Unguarded(skip)),
        };
    }
    seen.refuse_conflicts()?;
    let overrides = Overrides::read(&seen, &settings.injection)?;
    let mut pod = pod.clone();
    let probes = probes::rewrite(&mut pod, &seen, key)?;
    let gate = containers::gate(settings, &overrides, &probes, &seen.ports_said())?;
    let stopped = settings.injection.stop_delay_seconds();
    let spec = object(&mut pod, "spec")?;
    prepend(spec, "initContainers", gate)?;
    append(spec, "volumes", volumes::all(settings))?;
    if seen.is_long_running() {
        delay_stop(spec, stopped)?;
    }
    let metadata = object(&mut pod, "metadata")?;
    if metadata.get("annotations").is_none_or(Value::is_null) {
        metadata.insert("annotations".to_owned(), json!({}));
    }
    let said =
        json!({ "revision": settings.injection.revision, "version": env!("CARGO_PKG_VERSION") });
    object_in(metadata, "annotations")?.insert(INJECTED.to_owned(), json!(said.to_string()));
    let remarks = remarks(&seen, namespace, settings);
    Ok(Outcome::Injected { pod, remarks })
}

/// What works, and may not be what its owner expects.
fn remarks(seen: &Seen, namespace: &Namespace, settings: &Settings) -> Vec<String> {
    let mut remarks = Vec::new();
    if settings.injection.capture == CaptureBy::InitContainer
        && let Some(level) = namespace.pod_security_without_net_admin()
    {
        remarks.push(format!(
            "the namespace enforces Pod Security {level:?}, which refuses the init container {CAPTURE_CONTAINER} for its capability NET_ADMIN; \
             set `capture: Cni` where a CNI plugin captures, or exempt the namespace"
        ));
    }
    if seen.shares_processes() {
        remarks.push(
            "shareProcessNamespace lets containers of this pod that run as root, or as the gate's users, look into the gate"
                .to_owned(),
        );
    }
    remarks
}

/// Lets the application live on for a moment once the pod is told to stop, so that callers learn of it before. Containers
/// with a hook of their own know better.
fn delay_stop(spec: &mut Map<String, Value>, seconds: u64) -> Result<(), Refused> {
    let Some(Value::Array(containers)) = spec.get_mut("containers") else {
        return Err(Refused::unreadable("spec.containers", "must be a list"));
    };
    if seconds == 0 {
        return Ok(());
    }
    for container in containers.iter_mut().filter_map(Value::as_object_mut) {
        if container.get("lifecycle").is_none_or(Value::is_null) {
            container.insert("lifecycle".to_owned(), json!({}));
        }
        let lifecycle = object_in(container, "lifecycle")?;
        if lifecycle.get("preStop").is_none_or(Value::is_null) {
            lifecycle.insert("preStop".to_owned(), json!({ "sleep": { "seconds": seconds } }));
        }
    }
    Ok(())
}

fn object<'a>(
    pod: &'a mut Value,
    field: &'static str,
) -> Result<&'a mut Map<String, Value>, Refused> {
    let Value::Object(fields) = pod else {
        return Err(Refused::unreadable("", "must be an object"));
    };
    object_in(fields, field)
}

fn object_in<'a>(
    fields: &'a mut Map<String, Value>,
    field: &'static str,
) -> Result<&'a mut Map<String, Value>, Refused> {
    match fields.entry(field).or_insert_with(|| json!({})) {
        Value::Object(object) => Ok(object),
        _ => Err(Refused::unreadable(field, "must be an object")),
    }
}

fn list<'a>(
    spec: &'a mut Map<String, Value>,
    field: &'static str,
) -> Result<&'a mut Vec<Value>, Refused> {
    if spec.get(field).is_none_or(Value::is_null) {
        spec.insert(field.to_owned(), json!([]));
    }
    match spec.get_mut(field) {
        Some(Value::Array(list)) => Ok(list),
        _ => Err(Refused::unreadable(field, "must be a list")),
    }
}

fn prepend(
    spec: &mut Map<String, Value>,
    field: &'static str,
    items: Vec<Value>,
) -> Result<(), Refused> {
    list(spec, field)?.splice(0..0, items);
    Ok(())
}

fn append(
    spec: &mut Map<String, Value>,
    field: &'static str,
    items: Vec<Value>,
) -> Result<(), Refused> {
    list(spec, field)?.extend(items);
    Ok(())
}

#[cfg(test)]
mod tests;
