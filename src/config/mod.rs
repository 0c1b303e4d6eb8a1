//! Files, environment and flags become validated configuration.
//!
//! A flag beats its `HOPGATE_*` variable, the variable beats the file. Unknown keys are errors with file, line and field.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::policy::yaml::{self, YamlError};
use crate::runtime::{Address, FileError, read_limited};
use crate::{control, sidecar};

/// No configuration file is larger.
const MAX_FILE: u64 = 1024 * 1024;

/// A configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not what it should be: tells file, line, column and field.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// A field of a sidecar's configuration cannot be used.
    #[error("{path}: {source}")]
    Sidecar {
        /// The file.
        path: PathBuf,
        /// The field and what to write.
        source: sidecar::InvalidConfig,
    },
    /// A field of the control plane's configuration cannot be used.
    #[error("{path}: {source}")]
    Control {
        /// The file.
        path: PathBuf,
        /// The field and what to write.
        source: control::InvalidConfig,
    },
}

/// What flags and variables set over the file of a sidecar.
#[derive(Debug, Clone, Default)]
pub struct SidecarOverrides {
    /// Replaces `workload.namespace`.
    pub namespace: Option<String>,
    /// Replaces `workload.serviceAccount`.
    pub service_account: Option<String>,
    /// Replaces `pod.address`, where there is a section `pod`.
    pub pod_address: Option<IpAddr>,
    /// Replaces `capture.addresses`, where there is a section `capture`.
    pub pod_addresses: Vec<IpAddr>,
    /// Replaces the files and directories of `resources`.
    pub resources: Vec<PathBuf>,
    /// Replaces `workload.podUid`.
    pub pod_uid: Option<String>,
    /// Replaces `extAuthz.listen`.
    pub listen: Vec<Address>,
    /// Replaces `listen` of the doors that are named.
    pub doors: Vec<sidecar::DoorAddress>,
    /// Replaces `admin.listen`.
    pub admin: Option<Address>,
    /// Replaces `decisionLog.path`.
    pub decision_log: Option<PathBuf>,
    /// Replaces `tracing.otlpEndpoint`.
    pub otlp_endpoint: Option<String>,
    /// Replaces `drainTimeout`.
    pub drain_timeout: Option<std::time::Duration>,
}

/// Reads and validates the configuration of a sidecar. Relative paths in the file are relative to the file.
///
/// # Errors
/// With the file, the line and the field, and what may stand there.
pub fn sidecar(path: &Path, overrides: SidecarOverrides) -> Result<sidecar::Config, ConfigError> {
    let mut config: sidecar::Config = read(path)?;
    config.resolve(directory(path));
    overridden(config, overrides, path)
}

/// The same for a configuration that stands in a variable. Relative paths in it are relative to the root directory.
///
/// # Errors
/// With the line and the field, and what may stand there.
pub fn sidecar_text(
    text: &str,
    overrides: SidecarOverrides,
) -> Result<sidecar::Config, ConfigError> {
    let name = Path::new("the configuration");
    let mut config: sidecar::Config = yaml::parse_one(&name.display().to_string(), text)?;
    config.resolve(Path::new("/"));
    overridden(config, overrides, name)
}

fn overridden(
    mut config: sidecar::Config,
    overrides: SidecarOverrides,
    path: &Path,
) -> Result<sidecar::Config, ConfigError> {
    let SidecarOverrides {
        namespace,
        service_account,
        pod_address,
        pod_addresses,
        resources,
        pod_uid,
        listen,
        doors,
        admin,
        decision_log,
        otlp_endpoint,
        drain_timeout,
    } = overrides;
    let wrong = |source| ConfigError::Sidecar { path: path.to_path_buf(), source };
    if let Some(namespace) = namespace {
        config.workload.namespace = namespace;
    }
    if let Some(account) = service_account {
        config.workload.service_account = account;
    }
    if let (Some(pod), Some(address)) = (&mut config.pod, pod_address) {
        pod.address = Some(address);
    }
    if let Some(capture) = config.capture.as_mut().filter(|_| !pod_addresses.is_empty()) {
        capture.addresses = pod_addresses;
    }
    if !resources.is_empty() {
        config.resources.files = resources;
    }
    if pod_uid.is_some() {
        config.workload.pod_uid = pod_uid;
    }
    if !listen.is_empty() {
        config.ext_authz.listen = listen;
    }
    config.relocate_doors(&doors).map_err(wrong)?;
    if let Some(admin) = admin {
        config.admin.listen = admin;
    }
    if let Some(path) = decision_log {
        config.decision_log.path = Some(path);
    }
    if let Some(otlp_endpoint) = otlp_endpoint {
        config.tracing = Some(sidecar::Tracing { otlp_endpoint });
    }
    if let Some(timeout) = drain_timeout {
        config.drain_timeout = timeout;
    }
    config.validate().map_err(wrong)?;
    Ok(config)
}

/// Reads and validates the configuration of the control plane.
///
/// # Errors
/// With the file, the line and the field, and what may stand there.
pub fn control(path: &Path) -> Result<control::Config, ConfigError> {
    let mut config: control::Config = read(path)?;
    config.resolve(directory(path));
    config
        .validate()
        .map_err(|source| ConfigError::Control { path: path.to_path_buf(), source })?;
    Ok(config)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = read_limited(path, MAX_FILE)?;
    Ok(yaml::parse_one(&path.display().to_string(), &text)?)
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}
