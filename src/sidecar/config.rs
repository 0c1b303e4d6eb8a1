//! The configuration of a sidecar, as it stands in its file.

mod shown;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::callers::{BrakeConfig, Proxy};
use super::discovery::DiscoveryConfig;
use super::doors::{self, DoorAddress, DoorConfig};
use super::ext_authz::CheckLimits;
use super::outbound::OutboundConfig;
use super::pod::PodConfig;
use super::sds::config::Sds;
use super::sources::Sources;
use super::workload_api::{self, WorkloadApiConfig};
use crate::authz::CallerAttributes;
use crate::identity::{SpiffeId, TrustDomain};
use crate::policy::yaml::present;
use crate::runtime::Address;
use crate::{certs, mesh, policy};

/// `hopgate sidecar --config FILE`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Whom this sidecar guards.
    pub workload: Workload,
    /// Files and directories with resources, and whether the control plane assigns some.
    pub resources: Sources,
    /// Where Envoy asks by gRPC, and the bounds of every Check.
    #[serde(default)]
    pub ext_authz: ExtAuthz,
    /// Where proxies ask that do not do so by gRPC.
    #[serde(default)]
    pub doors: Vec<DoorConfig>,
    /// Where Envoy gets its certificate.
    #[serde(default, deserialize_with = "present")]
    pub sds: Option<Sds>,
    /// Where the workload's application gets its certificates and tokens.
    #[serde(default, deserialize_with = "present")]
    pub workload_api: Option<WorkloadApiConfig>,
    /// Health, metrics and dumps; loopback or a unix socket.
    pub admin: Admin,
    /// Where the certificate comes from. Needed when `sds` or `workloadApi` is there.
    #[serde(default, deserialize_with = "present")]
    pub certificates: Option<certs::Config>,
    /// How what the control plane tells is taken.
    #[serde(default)]
    pub discovery: DiscoveryConfig,
    /// Where decision records go.
    #[serde(default)]
    pub decision_log: DecisionLogConfig,
    /// Traces, if any.
    #[serde(default, deserialize_with = "present")]
    pub tracing: Option<Tracing>,
    /// A directory of this sidecar's own, where fetched keys are kept over restarts.
    #[serde(default, deserialize_with = "present")]
    pub state_dir: Option<PathBuf>,
    /// Tokens for the application's own calls.
    #[serde(default, deserialize_with = "present")]
    pub outbound: Option<OutboundConfig>,
    /// Which proxies are believed about the certificates of their clients.
    #[serde(default, deserialize_with = "present")]
    pub proxies: Option<Vec<Proxy>>,
    /// When whoever sends bad credentials has to wait.
    #[serde(default, deserialize_with = "present")]
    pub brake: Option<BrakeConfig>,
    /// What it does for its pod on Kubernetes.
    #[serde(default, deserialize_with = "present")]
    pub pod: Option<PodConfig>,
    /// How long requests in flight may take once the process is told to stop.
    #[serde(default = "default_drain_timeout", with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// The listeners of the Envoy beside this sidecar, for `hopgate envoy bootstrap`.
    #[serde(default, deserialize_with = "present")]
    pub envoy: Option<mesh::Config>,
    /// The pod whose traffic is captured: its Envoy hears of its listeners from this sidecar.
    #[serde(default, deserialize_with = "present")]
    pub capture: Option<mesh::captured::CaptureConfig>,
}

/// The workload behind the gate.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Workload {
    /// The mesh's trust domain, such as `mesh.example`.
    pub trust_domain: String,
    /// Its namespace: only policies and providers of this namespace apply. A variable may say it instead.
    #[serde(default)]
    pub namespace: String,
    /// Its service account. A variable may say it instead.
    #[serde(default)]
    pub service_account: String,
    /// Its labels, for the selectors of policies in files.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The UID of its pod, by which the control plane knows its labels.
    #[serde(default, deserialize_with = "present")]
    pub pod_uid: Option<String>,
}

/// The external authorization server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExtAuthz {
    /// Unix sockets and TCP addresses. Nobody asks by gRPC where there are none.
    #[serde(default)]
    pub listen: Vec<Address>,
    /// The largest CheckRequest, and the largest body at an HTTP door, in bytes.
    #[serde(default = "default_max_request_bytes")]
    pub max_request_bytes: usize,
    /// A `FileDescriptorSet` of the gRPC services whose messages rules ask about. Read once, at the start.
    #[serde(default, deserialize_with = "present")]
    pub grpc_descriptors: Option<PathBuf>,
    /// How long a Check may wait for what only the network can tell: a key that is not known yet, a token's introspection.
    #[serde(default = "default_longest_wait", with = "humantime_serde")]
    pub longest_wait: Duration,
}

/// The admin pages.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Admin {
    /// A loopback address or a unix socket.
    pub listen: Address,
}

/// The decision log.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DecisionLogConfig {
    /// A file, or `stdout` (the default).
    #[serde(default, deserialize_with = "present")]
    pub path: Option<PathBuf>,
    /// Whether records hold the roles, groups, scopes and tenants of users and clients.
    #[serde(default)]
    pub caller_attributes: RawCallerAttributes,
}

/// `decisionLog.callerAttributes`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum RawCallerAttributes {
    /// Records say who they are, and no more.
    #[default]
    Omit,
    /// Records can be judged again by `hopgate policy replay`. They are personal data.
    Record,
}

/// Traces.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Tracing {
    /// The collector's gRPC endpoint, such as `http://127.0.0.1:4317`.
    pub otlp_endpoint: String,
}

/// A field that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidConfig {
    /// The path of the field, such as `admin.listen`.
    pub field: String,
    /// What is wrong and what to write instead.
    pub problem: String,
}

/// The identity part of a configuration, validated.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The workload's SPIFFE ID.
    pub id: SpiffeId,
    /// What selects policies for it.
    pub workload: policy::Workload,
}

impl Default for ExtAuthz {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            max_request_bytes: default_max_request_bytes(),
            grpc_descriptors: None,
            longest_wait: default_longest_wait(),
        }
    }
}

fn default_drain_timeout() -> Duration {
    Duration::from_secs(10)
}

fn default_longest_wait() -> Duration {
    Duration::from_secs(2)
}

fn default_max_request_bytes() -> usize {
    8 * 1024 * 1024
}

pub(super) fn invalid(field: &str, problem: impl Into<String>) -> InvalidConfig {
    InvalidConfig { field: field.to_owned(), problem: problem.into() }
}

impl From<RawCallerAttributes> for CallerAttributes {
    fn from(raw: RawCallerAttributes) -> Self {
        match raw {
            RawCallerAttributes::Omit => Self::Omit,
            RawCallerAttributes::Record => Self::Record,
        }
    }
}

impl Config {
    /// Makes relative paths relative to `base`, the directory of the configuration file.
    pub fn resolve(&mut self, base: &Path) {
        let resolve = |path: &mut PathBuf| *path = base.join(&*path);
        let resolve_address = |address: &mut Address| {
            if let Address::Unix(path) = address {
                *path = base.join(&*path);
            }
        };
        self.resources.resolve(base);
        self.ext_authz.listen.iter_mut().for_each(resolve_address);
        self.doors.iter_mut().for_each(|door| door.resolve(base));
        self.ext_authz.grpc_descriptors.iter_mut().for_each(resolve);
        self.sds.iter_mut().for_each(|sds| sds.resolve(base));
        if let Some(api) = &mut self.workload_api {
            resolve_address(&mut api.listen);
        }
        resolve_address(&mut self.admin.listen);
        if let Some(path) =
            self.decision_log.path.as_mut().filter(|path| *path != Path::new("stdout"))
        {
            resolve(path);
        }
        if let Some(outbound) = &mut self.outbound {
            resolve_address(&mut outbound.listen);
            outbound.tokens.iter_mut().for_each(|target| target.resolve(base));
        }
        if let Some(pod) = &mut self.pod {
            pod.resolve(base);
        }
        if let Some(directory) = &mut self.state_dir {
            *directory = base.join(&*directory);
        }
        if let Some(certificates) = &mut self.certificates {
            certificates.resolve(base);
        }
        self.envoy = self.envoy.take().map(|envoy| envoy.relative_to(base));
        self.capture = self.capture.take().map(|capture| capture.relative_to(base));
    }

    /// Has the doors that are named listen at these addresses instead of theirs.
    ///
    /// # Errors
    /// When there is no such door.
    pub fn relocate_doors(&mut self, addresses: &[DoorAddress]) -> Result<(), InvalidConfig> {
        doors::relocate(&mut self.doors, addresses)
    }

    /// Checks what a type cannot say.
    ///
    /// # Errors
    /// With the field and what to write instead.
    pub fn validate(&self) -> Result<Identity, InvalidConfig> {
        self.resources.validate(self.certificates.as_ref())?;
        if self.ext_authz.listen.is_empty() && self.doors.is_empty() {
            return Err(invalid(
                "extAuthz.listen",
                "list at least one address, such as unix:run/authz.sock, or open a door under `doors`",
            ));
        }
        if !self.admin.listen.is_local() {
            return Err(invalid(
                "admin.listen",
                "must be a loopback address or a unix socket: the pages have no authentication",
            ));
        }
        if let Some(sds) = &self.sds {
            sds.validate()?;
        }
        if self.sds.is_some() && self.certificates.is_none() {
            let problem = "is needed when sds is there: say where the certificate comes from";
            return Err(invalid("certificates", problem));
        }
        workload_api::validate(self)?;
        if !(1024..=64 * 1024 * 1024).contains(&self.ext_authz.max_request_bytes) {
            return Err(invalid("extAuthz.maxRequestBytes", "must be between 1024 and 67108864"));
        }
        let doors = self.envoy.as_ref().and_then(mesh::Config::largest_body);
        let captured = self.capture.as_ref().and_then(mesh::captured::CaptureConfig::largest_body);
        if let Some(bytes) = doors.max(captured) {
            // Headers, certificate and framing travel in the same message.
            let room = bytes.saturating_add(256 * 1024);
            if room > self.ext_authz.max_request_bytes {
                let message = format!("must be at least {room}: a requestBody.maxBytes is {bytes}");
                return Err(invalid("extAuthz.maxRequestBytes", message));
            }
        }
        if self.ext_authz.longest_wait > Duration::from_secs(60) {
            return Err(invalid("extAuthz.longestWait", "must be at most 60s"));
        }
        if let Some(OutboundConfig { listen: Address::Tcp(_), .. }) = &self.outbound {
            return Err(invalid(
                "outbound.listen",
                "must be a unix socket (unix:/path): tokens travel there",
            ));
        }
        self.check_capture()?;
        if let Some(pod) = &self.pod {
            pod.validate()?;
        }
        doors::validate(&self.doors)?;
        self.forward_rules()?;
        self.identity()
    }

    /// The bounds of one Check.
    #[must_use]
    pub fn check_limits(&self) -> CheckLimits {
        CheckLimits {
            max_request_bytes: self.ext_authz.max_request_bytes,
            longest_wait: self.ext_authz.longest_wait,
        }
    }

    /// Whom the Envoy beside this sidecar works for, and where it finds the sidecar.
    ///
    /// # Errors
    /// When there is no SDS, from which that Envoy would get its certificate, or the identity is invalid.
    pub fn for_envoy(&self, aliases: Vec<TrustDomain>) -> Result<mesh::Sidecar, InvalidConfig> {
        let endpoint = |address: &Address| match address {
            Address::Tcp(address) => mesh::Endpoint::Tcp(*address),
            Address::Unix(path) => mesh::Endpoint::Unix(path.clone()),
        };
        let sds = self.sds.as_ref().ok_or_else(|| {
            invalid("sds", "is needed: the Envoy gets its certificate from there")
        })?;
        let is_unix = |address: &&Address| matches!(address, Address::Unix(_));
        let listen = &self.ext_authz.listen;
        let authz = listen.iter().find(is_unix).or(listen.first()).ok_or_else(|| {
            invalid("extAuthz.listen", "list at least one address, such as unix:run/authz.sock")
        })?;
        Ok(mesh::Sidecar {
            identity: self.identity()?.id,
            sds: endpoint(&sds.listen),
            authz: endpoint(authz),
            forwarded: self.forwarded_certificates(),
            aliases,
            tokens: self.outbound.as_ref().map(|outbound| endpoint(&outbound.listen)),
        })
    }

    pub(super) fn identity(&self) -> Result<Identity, InvalidConfig> {
        let Workload { trust_domain, namespace, service_account, labels, pod_uid: _ } =
            &self.workload;
        let domain = TrustDomain::parse(trust_domain).map_err(|error| {
            invalid("workload.trustDomain", format!("{trust_domain:?} {error}"))
        })?;
        let id = SpiffeId::for_service_account(&domain, namespace, service_account).map_err(|error| {
            invalid("workload", format!("namespace {namespace:?} and serviceAccount {service_account:?} make no SPIFFE ID: it {error}"))
        })?;
        let workload = policy::Workload {
            trust_domain: domain,
            namespace: namespace.clone(),
            labels: labels.clone(),
        };
        Ok(Identity { id, workload })
    }
}
