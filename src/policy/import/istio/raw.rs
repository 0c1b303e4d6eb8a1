//! Istio's resources as they are written. A field that is not known here is an error: it may be one that restricts.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::super::out::Selector;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawPolicy {
    pub(super) selector: Option<RawSelector>,
    pub(super) target_ref: Option<Value>,
    #[serde(default)]
    pub(super) target_refs: Vec<Value>,
    #[serde(default)]
    pub(super) action: RawAction,
    pub(super) provider: Option<Value>,
    #[serde(default)]
    pub(super) rules: Vec<RawRule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawSelector {
    #[serde(default)]
    match_labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum RawAction {
    #[default]
    Allow,
    Deny,
    Audit,
    Custom,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawRule {
    #[serde(default)]
    pub(super) from: Vec<RawFrom>,
    #[serde(default)]
    pub(super) to: Vec<RawTo>,
    #[serde(default)]
    pub(super) when: Vec<RawCondition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawFrom {
    pub(super) source: RawSource,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawSource {
    pub(super) principals: Vec<String>,
    pub(super) not_principals: Vec<String>,
    pub(super) service_accounts: Vec<String>,
    pub(super) not_service_accounts: Vec<String>,
    pub(super) request_principals: Vec<String>,
    pub(super) not_request_principals: Vec<String>,
    pub(super) namespaces: Vec<String>,
    pub(super) not_namespaces: Vec<String>,
    pub(super) ip_blocks: Vec<String>,
    pub(super) not_ip_blocks: Vec<String>,
    pub(super) remote_ip_blocks: Vec<String>,
    pub(super) not_remote_ip_blocks: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawTo {
    pub(super) operation: RawOperation,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawOperation {
    pub(super) hosts: Vec<String>,
    pub(super) not_hosts: Vec<String>,
    pub(super) ports: Vec<String>,
    pub(super) not_ports: Vec<String>,
    pub(super) methods: Vec<String>,
    pub(super) not_methods: Vec<String>,
    pub(super) paths: Vec<String>,
    pub(super) not_paths: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawCondition {
    pub(super) key: String,
    #[serde(default)]
    pub(super) values: Vec<String>,
    #[serde(default)]
    pub(super) not_values: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawAuthentication {
    pub(super) selector: Option<RawSelector>,
    pub(super) target_ref: Option<Value>,
    #[serde(default)]
    pub(super) target_refs: Vec<Value>,
    #[serde(default)]
    pub(super) jwt_rules: Vec<RawJwtRule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawJwtRule {
    pub(super) issuer: String,
    #[serde(default)]
    pub(super) audiences: Vec<String>,
    #[serde(alias = "jwks_uri")]
    pub(super) jwks_uri: Option<String>,
    pub(super) jwks: Option<String>,
    #[serde(default)]
    pub(super) from_headers: Vec<RawHeader>,
    #[serde(default)]
    pub(super) from_params: Vec<String>,
    #[serde(default)]
    pub(super) from_cookies: Vec<String>,
    pub(super) output_payload_to_header: Option<String>,
    #[serde(default)]
    pub(super) output_claim_to_headers: Vec<Value>,
    #[serde(default)]
    pub(super) forward_original_token: Option<bool>,
    #[serde(rename = "timeout")]
    pub(super) _timeout: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawHeader {
    pub(super) name: String,
    #[serde(default)]
    pub(super) prefix: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawPeerAuthentication {
    pub(super) selector: Option<RawSelector>,
    pub(super) mtls: Option<RawMtls>,
    #[serde(default)]
    pub(super) port_level_mtls: BTreeMap<String, RawMtls>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawMtls {
    #[serde(default)]
    pub(super) mode: RawMode,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum RawMode {
    #[default]
    Unset,
    Disable,
    Permissive,
    Strict,
}

/// An empty selector selects everything in the namespace, as none does.
pub(super) fn selector(raw: Option<RawSelector>) -> Option<Selector> {
    let RawSelector { match_labels } = raw.unwrap_or_default();
    (!match_labels.is_empty()).then_some(Selector { match_labels })
}
