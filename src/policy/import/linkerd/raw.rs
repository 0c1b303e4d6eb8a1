//! Linkerd's resources as they are written. A field that is not known here is an error: it may be one that restricts.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawServer {
    pub(super) pod_selector: Option<RawSelector>,
    pub(super) external_workload_selector: Option<Value>,
    pub(super) port: RawPort,
    #[serde(default, rename = "proxyProtocol")]
    pub(super) _proxy_protocol: Option<String>,
    pub(super) access_policy: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum RawPort {
    Number(u16),
    Name(String),
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawSelector {
    #[serde(default)]
    pub(super) match_labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) match_expressions: Vec<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawPolicy {
    pub(super) target_ref: RawRef,
    #[serde(default)]
    pub(super) required_authentication_refs: Vec<RawRef>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawRef {
    #[serde(default, rename = "group")]
    pub(super) _group: Option<String>,
    pub(super) kind: String,
    #[serde(default)]
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    #[serde(default, rename = "sectionName")]
    pub(super) _section_name: Option<String>,
    #[serde(default, rename = "port")]
    pub(super) _port: Option<u16>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawMeshTls {
    #[serde(default)]
    pub(super) identities: Vec<String>,
    #[serde(default)]
    pub(super) identity_refs: Vec<RawRef>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawNetworks {
    pub(super) networks: Vec<RawNetwork>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawNetwork {
    pub(super) cidr: String,
    #[serde(default)]
    pub(super) except: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawRoute {
    #[serde(default)]
    pub(super) parent_refs: Vec<RawRef>,
    #[serde(default)]
    pub(super) hostnames: Vec<String>,
    #[serde(default)]
    pub(super) rules: Vec<RawRouteRule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawRouteRule {
    #[serde(default)]
    pub(super) matches: Vec<RawMatch>,
    #[serde(default)]
    pub(super) filters: Vec<Value>,
    #[serde(default, rename = "backendRefs")]
    pub(super) _backend_refs: Vec<Value>,
    #[serde(default, rename = "timeouts")]
    pub(super) _timeouts: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawMatch {
    pub(super) path: Option<RawPath>,
    #[serde(default)]
    pub(super) headers: Vec<RawNamed>,
    #[serde(default)]
    pub(super) query_params: Vec<RawNamed>,
    pub(super) method: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPath {
    #[serde(default = "prefix")]
    pub(super) r#type: String,
    #[serde(default = "root")]
    pub(super) value: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNamed {
    #[serde(default = "exact")]
    pub(super) r#type: String,
    pub(super) name: String,
    pub(super) value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawServerAuthorization {
    pub(super) server: RawServerRef,
    pub(super) client: RawClient,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawServerRef {
    pub(super) name: Option<String>,
    pub(super) selector: Option<RawSelector>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawClient {
    #[serde(default)]
    pub(super) networks: Vec<RawNetwork>,
    #[serde(default)]
    pub(super) unauthenticated: bool,
    #[serde(rename = "meshTLS")]
    pub(super) mesh_tls: Option<RawClientTls>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawClientTls {
    #[serde(default, rename = "unauthenticatedTLS")]
    pub(super) unauthenticated_tls: bool,
    #[serde(default)]
    pub(super) identities: Vec<String>,
    #[serde(default)]
    pub(super) service_accounts: Vec<RawAccount>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAccount {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
}

fn prefix() -> String {
    "PathPrefix".to_owned()
}

fn root() -> String {
    "/".to_owned()
}

fn exact() -> String {
    "Exact".to_owned()
}
