//! Authorino's `AuthConfig` (`authorino.kuadrant.io/v1beta3`) as it is written. A field that is not known here is an
//! error: it may be one that restricts.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawAuthConfig {
    pub(super) hosts: Vec<String>,
    #[serde(default)]
    pub(super) patterns: BTreeMap<String, RawNamedPatterns>,
    #[serde(default)]
    pub(super) when: Vec<RawPattern>,
    #[serde(default)]
    pub(super) authentication: BTreeMap<String, RawAuthentication>,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, Value>,
    #[serde(default)]
    pub(super) authorization: BTreeMap<String, RawAuthorization>,
    pub(super) response: Option<Value>,
    #[serde(default)]
    pub(super) callbacks: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawNamedPatterns {
    #[serde(default)]
    pub(super) all_of: Vec<RawPattern>,
}

/// One comparison, the name of some, or a group.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawPattern {
    pub(super) selector: Option<String>,
    pub(super) operator: Option<String>,
    pub(super) value: Option<String>,
    pub(super) pattern_ref: Option<String>,
    pub(super) all: Option<Vec<Self>>,
    pub(super) any: Option<Vec<Self>>,
    pub(super) predicate: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawAuthentication {
    pub(super) jwt: Option<RawJwt>,
    pub(super) api_key: Option<Value>,
    pub(super) x509: Option<Value>,
    pub(super) anonymous: Option<Map<String, Value>>,
    pub(super) kubernetes_token_review: Option<Value>,
    pub(super) oauth2_introspection: Option<Value>,
    pub(super) plain: Option<Value>,
    pub(super) credentials: Option<RawCredentials>,
    pub(super) when: Vec<RawPattern>,
    pub(super) overrides: Option<Value>,
    pub(super) defaults: Option<Value>,
    #[serde(rename = "priority")]
    pub(super) _priority: Option<u32>,
    #[serde(rename = "cache")]
    pub(super) _cache: Option<Value>,
    #[serde(rename = "metrics")]
    pub(super) _metrics: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawJwt {
    pub(super) issuer_url: Option<String>,
    pub(super) jwks_url: Option<String>,
    #[serde(default, rename = "ttl")]
    pub(super) _ttl: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawCredentials {
    pub(super) authorization_header: Option<RawPrefix>,
    pub(super) custom_header: Option<RawName>,
    pub(super) query_string: Option<RawName>,
    pub(super) cookie: Option<RawName>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPrefix {
    pub(super) prefix: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawName {
    pub(super) name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawAuthorization {
    pub(super) pattern_matching: Option<RawPatterns>,
    pub(super) opa: Option<Value>,
    pub(super) kubernetes_subject_access_review: Option<Value>,
    pub(super) spicedb: Option<Value>,
    pub(super) when: Vec<RawPattern>,
    #[serde(rename = "priority")]
    pub(super) _priority: Option<u32>,
    #[serde(rename = "cache")]
    pub(super) _cache: Option<Value>,
    #[serde(rename = "metrics")]
    pub(super) _metrics: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPatterns {
    pub(super) patterns: Vec<RawPattern>,
}
