//! Rules as they are written: every field by name, nothing checked but its type.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::policy::access::ClaimValue;
use crate::policy::yaml::present;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::policy) struct RawRule {
    pub(super) name: String,
    #[serde(default, deserialize_with = "present")]
    pub(super) allow: Option<RawMatch>,
    #[serde(default, deserialize_with = "present")]
    pub(super) deny: Option<RawMatch>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawMatch {
    #[serde(deserialize_with = "present")]
    pub(super) peers: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(super) not_peers: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(super) users: Option<RawUsers>,
    #[serde(deserialize_with = "present")]
    pub(super) not_users: Option<RawUsers>,
    #[serde(deserialize_with = "present")]
    pub(super) clients: Option<RawUsers>,
    #[serde(deserialize_with = "present")]
    pub(super) not_clients: Option<RawUsers>,
    #[serde(deserialize_with = "present")]
    pub(super) requests: Option<Vec<RawRequest>>,
    #[serde(deserialize_with = "present")]
    pub(super) not_requests: Option<Vec<RawRequest>>,
    #[serde(deserialize_with = "present")]
    pub(super) sources: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(super) not_sources: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(super) forwarded_for: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(super) not_forwarded_for: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(super) times: Option<Vec<RawTimes>>,
    #[serde(deserialize_with = "present")]
    pub(super) not_times: Option<Vec<RawTimes>>,
    #[serde(deserialize_with = "present")]
    pub(super) engine: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) when: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) step_up: Option<RawStepUp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::policy) struct RawUsers {
    #[serde(deserialize_with = "present")]
    pub(in crate::policy) anonymous: Option<RawAnonymous>,
    #[serde(deserialize_with = "present")]
    pub(in crate::policy) providers: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(in crate::policy) subjects: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(in crate::policy) roles: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(in crate::policy) groups: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(in crate::policy) scopes: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(in crate::policy) tenants: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(in crate::policy) emails: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(in crate::policy) claims: Option<BTreeMap<String, Vec<ClaimValue>>>,
    #[serde(deserialize_with = "present")]
    pub(in crate::policy) bound_by: Option<Vec<RawConfirmed>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(in crate::policy) enum RawAnonymous {
    Only,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(in crate::policy) enum RawConfirmed {
    Dpop,
    Certificate,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawRequest {
    #[serde(deserialize_with = "present")]
    pub(super) hosts: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(super) ports: Option<Vec<u64>>,
    #[serde(deserialize_with = "present")]
    pub(super) methods: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(super) paths: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(super) grpc: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(super) headers: Option<BTreeMap<String, Vec<String>>>,
    #[serde(deserialize_with = "present")]
    pub(super) query: Option<BTreeMap<String, Vec<String>>>,
    #[serde(deserialize_with = "present")]
    pub(super) rpc: Option<Vec<RawRpc>>,
    #[serde(deserialize_with = "present")]
    pub(super) sni: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawRpc {
    #[serde(deserialize_with = "present")]
    pub(super) method: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) tool: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawTimes {
    #[serde(deserialize_with = "present")]
    pub(super) zone: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) days: Option<Vec<RawDay>>,
    #[serde(deserialize_with = "present")]
    pub(super) from: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) to: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) since: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) until: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum RawDay {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawStepUp {
    #[serde(deserialize_with = "present")]
    pub(super) amr: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(super) acr: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(super) max_age: Option<String>,
}
