//! Resources as they are written: every field by name, nothing checked but its type.
//!
//! A field that is written without a value is an error (`present`): `peers:` with all its members commented out must
//! not become "any peer".

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::access::ClaimValue;
use super::presentation::{RawIdentity, RawResponse};
use super::rule::RawRule;
use super::yaml::present;

/// Only what tells which kind a document is; the rest is read once the kind is known.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawHead {
    pub(super) api_version: Option<String>,
    pub(super) kind: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawResource<S> {
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: String,
    #[serde(rename = "kind")]
    pub(super) _kind: String,
    pub(super) metadata: RawMetadata,
    pub(super) spec: S,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawMetadata {
    pub(super) name: String,
    pub(super) namespace: String,
    /// Accepted because every tool writes them; they mean nothing to a decision.
    #[serde(default, rename = "labels")]
    pub(super) _labels: BTreeMap<String, String>,
    #[serde(default, rename = "annotations")]
    pub(super) _annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawAccessPolicy {
    #[serde(default, deserialize_with = "present")]
    pub(super) selector: Option<RawSelector>,
    #[serde(default, deserialize_with = "present")]
    pub(super) mode: Option<RawMode>,
    #[serde(default, deserialize_with = "present")]
    pub(super) roles: Option<BTreeMap<String, Vec<String>>>,
    #[serde(default, deserialize_with = "present")]
    pub(super) rules: Option<Vec<RawRule>>,
    #[serde(default, deserialize_with = "present")]
    pub(super) identity: Option<RawIdentity>,
    #[serde(default, deserialize_with = "present")]
    pub(super) response: Option<RawResponse>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum RawMode {
    Enforce,
    Audit,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawSelector {
    pub(super) match_labels: BTreeMap<String, String>,
}

/// Text, a whole number or a boolean, told apart as YAML does: quote what only looks like a number.
impl<'de> Deserialize<'de> for ClaimValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;
        impl Visitor<'_> for Scalar {
            type Value = ClaimValue;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text, a whole number, true or false")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ClaimValue, E> {
                Ok(ClaimValue::Text(text.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<ClaimValue, E> {
                Ok(ClaimValue::Number(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<ClaimValue, E> {
                i64::try_from(number)
                    .map(ClaimValue::Number)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }

            fn visit_bool<E: de::Error>(self, truth: bool) -> Result<ClaimValue, E> {
                Ok(ClaimValue::Boolean(truth))
            }
        }
        deserializer.deserialize_any(Scalar)
    }
}
