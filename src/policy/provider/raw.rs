//! An `IdentityProvider` as it is written: every field by name, nothing checked but its type.
//!
//! A preset fills what is left out here, before anything is checked, so that a default passes the same checks as what a
//! person wrote.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::keys::Algorithm;
use super::preset::Preset;
pub(super) use super::raw_path::{RawClaimPath, RawPath, RawShape};
use crate::policy::access::ClaimValue;
use crate::policy::yaml::present;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(in crate::policy) struct RawIdentityProvider {
    #[serde(deserialize_with = "present")]
    pub(super) preset: Option<Preset>,
    #[serde(deserialize_with = "present")]
    pub(super) principal: Option<RawPrincipal>,
    #[serde(deserialize_with = "present")]
    pub(super) issuer: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) other_issuers: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(super) audiences: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(super) audience_claims: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(super) audience_check: Option<RawAudienceCheck>,
    #[serde(deserialize_with = "present")]
    pub(super) algorithms: Option<Vec<Algorithm>>,
    #[serde(deserialize_with = "present")]
    pub(super) keys: Option<RawKeys>,
    #[serde(deserialize_with = "present")]
    pub(super) leeway: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) max_age: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) types: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(super) require: Option<Vec<RawClaimTest>>,
    #[serde(deserialize_with = "present")]
    pub(super) refuse: Option<Vec<RawClaimTest>>,
    #[serde(deserialize_with = "present")]
    pub(super) from: Option<Vec<RawPlace>>,
    #[serde(deserialize_with = "present")]
    pub(super) choose: Option<RawChoose>,
    #[serde(deserialize_with = "present")]
    pub(super) introspection: Option<RawIntrospection>,
    #[serde(deserialize_with = "present")]
    pub(super) userinfo: Option<RawUserinfo>,
    #[serde(deserialize_with = "present")]
    pub(super) token_review: Option<RawTokenReview>,
    #[serde(deserialize_with = "present")]
    pub(super) api_keys: Option<RawApiKeys>,
    #[serde(deserialize_with = "present")]
    pub(super) certificates: Option<RawCertificates>,
    #[serde(deserialize_with = "present")]
    pub(super) confirmation: Option<RawConfirmation>,
    #[serde(deserialize_with = "present")]
    pub(super) claims: Option<RawClaimMapping>,
    #[serde(deserialize_with = "present")]
    pub(super) http: Option<RawHttp>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum RawPrincipal {
    User,
    Client,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum RawAudienceCheck {
    Required,
    Off,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawKeys {
    #[serde(deserialize_with = "present")]
    pub(super) discovery: Option<RawDiscovery>,
    #[serde(deserialize_with = "present")]
    pub(super) jwks_uri: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) inline: Option<Value>,
    #[serde(deserialize_with = "present")]
    pub(super) pem: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) pem_file: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) secret_file: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) bundle_file: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) refresh_interval: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) max_stale: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawDiscovery {
    #[serde(deserialize_with = "present")]
    pub(super) url: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) jwks_uri: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawClaimTest {
    pub(super) claim: RawPath,
    #[serde(default, deserialize_with = "present")]
    pub(super) values: Option<Vec<ClaimValue>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawPlace {
    #[serde(default, deserialize_with = "present")]
    pub(super) header: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) scheme: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) cookie: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) csrf: Option<RawCsrf>,
    #[serde(default, deserialize_with = "present")]
    pub(super) query: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawCsrf {
    #[serde(default, deserialize_with = "present")]
    pub(super) origins: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    pub(super) double_submit: Option<RawDoubleSubmit>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawDoubleSubmit {
    pub(super) cookie: String,
    pub(super) header: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum RawChoose {
    ExactlyOne,
    First,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum RawWhen {
    Opaque,
    Always,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawIntrospection {
    #[serde(default, deserialize_with = "present")]
    pub(super) url: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) when: Option<RawWhen>,
    pub(super) auth: RawClientAuth,
    #[serde(default, deserialize_with = "present")]
    pub(super) ttl: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) negative_ttl: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) timeout: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) token_type_hint: Option<String>,
}

/// `none`, or one member that says how.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum RawClientAuth {
    None,
    Basic(RawSharedSecret),
    Post(RawSharedSecret),
    PrivateKeyJwt(RawPrivateKeyJwt),
    Mtls(RawMtls),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawSharedSecret {
    pub(super) client_id: String,
    pub(super) secret_file: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawPrivateKeyJwt {
    pub(super) client_id: String,
    pub(super) key_file: String,
    pub(super) algorithm: Algorithm,
    #[serde(default, deserialize_with = "present")]
    pub(super) key_id: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) audience: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawMtls {
    #[serde(default, deserialize_with = "present")]
    pub(super) client_id: Option<String>,
    pub(super) cert_file: String,
    pub(super) key_file: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawUserinfo {
    #[serde(default, deserialize_with = "present")]
    pub(super) url: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) when: Option<RawWhen>,
    #[serde(default, deserialize_with = "present")]
    pub(super) root: Option<RawPath>,
    #[serde(default, deserialize_with = "present")]
    pub(super) refusals: Option<Vec<u16>>,
    #[serde(default, deserialize_with = "present")]
    pub(super) ttl: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) negative_ttl: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) timeout: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawTokenReview {
    pub(super) url: String,
    pub(super) token_file: String,
    pub(super) audiences: Vec<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) ttl: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) negative_ttl: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) timeout: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawApiKeys {
    pub(super) file: String,
    #[serde(default, deserialize_with = "present")]
    pub(super) prefix: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawCertificates {
    pub(super) ca_file: String,
    #[serde(default, deserialize_with = "present")]
    pub(super) crl_file: Option<String>,
    pub(super) subject: RawCertificateSubject,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum RawCertificateSubject {
    Uri,
    Dns,
    Email,
    CommonName,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawConfirmation {
    #[serde(deserialize_with = "present")]
    pub(super) dpop: Option<RawDemand>,
    #[serde(deserialize_with = "present")]
    pub(super) certificate: Option<RawDemand>,
    #[serde(deserialize_with = "present")]
    pub(super) nonce: Option<RawNonce>,
    #[serde(deserialize_with = "present")]
    pub(super) origins: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum RawDemand {
    Accepted,
    Required,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum RawNonce {
    Off,
    Required,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawClaimMapping {
    #[serde(deserialize_with = "present")]
    pub(super) subject: Option<Vec<RawClaimPath>>,
    #[serde(deserialize_with = "present")]
    pub(super) roles: Option<Vec<RawClaimPath>>,
    #[serde(deserialize_with = "present")]
    pub(super) groups: Option<Vec<RawClaimPath>>,
    #[serde(deserialize_with = "present")]
    pub(super) scopes: Option<Vec<RawClaimPath>>,
    #[serde(deserialize_with = "present")]
    pub(super) tenant: Option<Vec<RawClaimPath>>,
    #[serde(deserialize_with = "present")]
    pub(super) email: Option<Vec<RawClaimPath>>,
    #[serde(deserialize_with = "present")]
    pub(super) role_aliases: Option<BTreeMap<String, String>>,
    #[serde(deserialize_with = "present")]
    pub(super) groups_unknown_when: Option<Vec<RawClaimTest>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(in crate::policy) struct RawHttp {
    #[serde(deserialize_with = "present")]
    pub(super) ca_file: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) proxy: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) allow_addresses: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(super) plaintext_hosts: Option<Vec<String>>,
}
