//! A `PolicyEngine` as it is written: every field by name, nothing checked but its type.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::policy::provider::RawHttp;
use crate::policy::yaml::present;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(in crate::policy) struct RawPolicyEngine {
    #[serde(deserialize_with = "present")]
    pub(super) rego: Option<RawRego>,
    #[serde(deserialize_with = "present")]
    pub(super) casbin: Option<RawCasbin>,
    #[serde(deserialize_with = "present")]
    pub(super) opa: Option<RawOpa>,
    #[serde(deserialize_with = "present")]
    pub(super) subject_access_review: Option<RawSubjectAccessReview>,
    #[serde(deserialize_with = "present")]
    pub(super) open_fga: Option<RawOpenFga>,
    #[serde(deserialize_with = "present")]
    pub(super) ext_authz: Option<RawExtAuthz>,
    #[serde(deserialize_with = "present")]
    pub(super) http: Option<RawHttp>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawRego {
    pub(super) policy_files: Vec<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) data_files: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    pub(super) rule: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) time_limit: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) credentials: Option<RawCredentials>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawCasbin {
    pub(super) model_file: String,
    pub(super) policy_file: String,
    pub(super) request: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawOpa {
    pub(super) url: String,
    #[serde(default, deserialize_with = "present")]
    pub(super) path: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) token_file: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) headers: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    pub(super) credentials: Option<RawCredentials>,
    #[serde(default, deserialize_with = "present")]
    pub(super) timeout: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) ttl: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) negative_ttl: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum RawCredentials {
    Strip,
    Keep,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawSubjectAccessReview {
    pub(super) url: String,
    pub(super) token_file: String,
    #[serde(default, deserialize_with = "present")]
    pub(super) user_prefix: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) group_prefix: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) service_accounts_of: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) resource: Option<RawResourceAttributes>,
    #[serde(default, deserialize_with = "present")]
    pub(super) non_resource: Option<RawNonResource>,
    #[serde(default, deserialize_with = "present")]
    pub(super) timeout: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) ttl: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) negative_ttl: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawResourceAttributes {
    #[serde(default, deserialize_with = "present")]
    pub(super) path: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) verbs: Option<BTreeMap<String, String>>,
    #[serde(default, deserialize_with = "present")]
    pub(super) group: Option<String>,
    pub(super) resource: String,
    #[serde(default, deserialize_with = "present")]
    pub(super) subresource: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) namespace: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawNonResource {}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawOpenFga {
    pub(super) url: String,
    pub(super) store: String,
    pub(super) model: String,
    #[serde(default, deserialize_with = "present")]
    pub(super) token_file: Option<String>,
    pub(super) user_type: String,
    pub(super) relations: BTreeMap<String, String>,
    pub(super) objects: Vec<RawObject>,
    #[serde(default, deserialize_with = "present")]
    pub(super) consistency: Option<RawConsistency>,
    #[serde(default, deserialize_with = "present")]
    pub(super) timeout: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) ttl: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) negative_ttl: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawObject {
    pub(super) path: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) id: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum RawConsistency {
    MinimizeLatency,
    HigherConsistency,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawExtAuthz {
    pub(super) url: String,
    #[serde(default, deserialize_with = "present")]
    pub(super) timeout: Option<String>,
}
