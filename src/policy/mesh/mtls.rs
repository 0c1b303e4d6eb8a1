//! Who may come to the ports of workloads without a certificate.

use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::{Checked, FieldPath, Problem};
use crate::policy::yaml::present;

/// Who may come without a certificate. Whoever comes, the gate is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MtlsMode {
    /// Nobody.
    Strict,
    /// Anybody; workloads of the mesh come with one, others in plaintext and without an identity.
    Permissive,
    /// Everybody comes in plaintext and without an identity. (Not `Off`, which many readers of YAML take for `false`.)
    Disabled,
}

/// The mode of every port of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mtls {
    /// Where no exception says anything else.
    pub mode: MtlsMode,
    /// Namespaces, and ports in them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<MtlsException>,
}

/// Another mode for a namespace, or for one port of its workloads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MtlsException {
    /// The namespace.
    pub namespace: String,
    /// The port; every port without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<NonZeroU16>,
    /// The mode.
    pub mode: MtlsMode,
}

impl Mtls {
    /// A certificate everywhere.
    #[must_use]
    pub fn strict() -> Self {
        Self { mode: MtlsMode::Strict, exceptions: Vec::new() }
    }

    /// The mode of one port: what is said of it, else of its namespace, else of the mesh.
    #[must_use]
    pub fn mode(&self, namespace: &str, port: u16) -> MtlsMode {
        let here = || self.exceptions.iter().filter(|one| one.namespace == namespace);
        let of_port = here().find(|one| one.port.is_some_and(|of| of.get() == port));
        let found = of_port.or_else(|| here().find(|one| one.port.is_none()));
        found.map_or(self.mode, |one| one.mode)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawMtls {
    #[serde(default, deserialize_with = "present")]
    mode: Option<MtlsMode>,
    #[serde(default, deserialize_with = "present")]
    exceptions: Option<Vec<RawException>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawException {
    namespace: String,
    #[serde(default, deserialize_with = "present")]
    port: Option<u64>,
    mode: MtlsMode,
}

impl RawMtls {
    pub(super) fn check(self, at: &FieldPath) -> Checked<Mtls> {
        let mut exceptions: Vec<MtlsException> = Vec::new();
        for (place, raw) in self.exceptions.unwrap_or_default().into_iter().enumerate() {
            let at = at.field("exceptions").item(place);
            let RawException { namespace, port, mode } = raw;
            let port = port.map(|port| check_port(port, at.field("port"))).transpose()?;
            if namespace.is_empty() {
                return Err(Problem::new(at.field("namespace"), "is empty".to_owned()));
            }
            let is_same = |one: &MtlsException| one.namespace == namespace && one.port == port;
            if exceptions.iter().any(is_same) {
                let message = "says of a port what another entry says already".to_owned();
                return Err(Problem::new(at, message));
            }
            exceptions.push(MtlsException { namespace, port, mode });
        }
        Ok(Mtls { mode: self.mode.unwrap_or(MtlsMode::Strict), exceptions })
    }
}

fn check_port(raw: u64, at: FieldPath) -> Checked<NonZeroU16> {
    u16::try_from(raw)
        .ok()
        .and_then(NonZeroU16::new)
        .ok_or_else(|| Problem::new(at, format!("{raw} is not from 1 to 65535")))
}
