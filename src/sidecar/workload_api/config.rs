//! The section `workloadApi` of a sidecar's configuration.

use std::io;
use std::os::unix::fs::PermissionsExt as _;

use serde::Deserialize;
use serde_json::{Value, json};

use super::callers::{Callers, InvalidCallers};
use crate::policy::yaml::present;
use crate::runtime::{Address, BindError, Listener};
use crate::sidecar::config::{Config, InvalidConfig, invalid};

/// Only the sidecar's own user can connect; anybody else is refused by the file system.
const OWN_USER: u32 = 0o600;
/// Anybody who reaches the file can connect: who they are is asked of the kernel, for each connection.
const EVERYBODY: u32 = 0o666;

/// Where the Workload API is served, and to whom.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct WorkloadApiConfig {
    /// A unix socket: private keys and tokens travel here.
    pub listen: Address,
    /// Who gets the workload's identity; the user of the sidecar alone, if absent.
    #[serde(default, deserialize_with = "present")]
    pub callers: Option<CallerUsers>,
}

/// Users and groups of this machine (or container), by number. One of them is enough.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CallerUsers {
    /// Effective users.
    #[serde(default)]
    pub uids: Vec<u32>,
    /// Effective groups. Supplementary groups do not count: the kernel does not tell them.
    #[serde(default)]
    pub gids: Vec<u32>,
}

/// Checks what a type cannot say.
pub(in crate::sidecar) fn validate(config: &Config) -> Result<(), InvalidConfig> {
    let Some(api) = &config.workload_api else { return Ok(()) };
    if let Address::Tcp(_) = api.listen {
        let problem = "must be a unix socket (unix:/path): private keys and tokens travel there";
        return Err(invalid("workloadApi.listen", problem));
    }
    if let Some(Err(refused)) = api.callers.as_ref().map(Callers::listed) {
        return Err(invalid("workloadApi.callers", refused.to_string()));
    }
    if config.certificates.is_none() {
        let needed = "is needed when workloadApi is there: say where the certificate comes from";
        return Err(invalid("certificates", needed));
    }
    Ok(())
}

impl WorkloadApiConfig {
    /// What `/config` shows.
    pub(in crate::sidecar) fn to_json(&self) -> Value {
        let callers = self.callers.as_ref();
        json!({
            "listen": self.listen,
            "callers": callers.map(|CallerUsers { uids, gids }| json!({ "uids": uids, "gids": gids })),
        })
    }

    pub(super) fn callers(&self) -> Result<Callers, InvalidCallers> {
        match &self.callers {
            Some(listed) => Callers::listed(listed),
            None => Callers::own_user(),
        }
    }

    /// Binds the socket with a mode that fits who may call.
    pub(super) async fn bind(&self) -> Result<Listener, BindError> {
        let listener = self.listen.bind().await?;
        let Address::Unix(path) = &self.listen else { return Ok(listener) };
        let mode = if self.callers.is_some() { EVERYBODY } else { OWN_USER };
        let changed: io::Result<()> =
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
        match changed {
            Ok(()) => Ok(listener),
            Err(source) => Err(BindError::Io { address: self.listen.clone(), source }),
        }
    }
}
