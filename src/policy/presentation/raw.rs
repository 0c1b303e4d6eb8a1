//! `identity` and `response` of a policy as they are written.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use crate::policy::yaml::present;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::policy) struct RawIdentity {
    #[serde(default, deserialize_with = "present")]
    pub(super) user_header: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) peer_header: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) credentials: Option<RawCredentials>,
    #[serde(default, deserialize_with = "present")]
    pub(super) headers: Option<Vec<RawNamed>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum RawCredentials {
    Strip,
    Keep,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::policy) struct RawResponse {
    #[serde(default, deserialize_with = "present")]
    pub(super) headers: Option<Vec<RawContent>>,
    #[serde(default, deserialize_with = "present")]
    pub(super) query: Option<RawQuery>,
    #[serde(default, deserialize_with = "present")]
    pub(super) login: Option<RawLogin>,
    #[serde(default, deserialize_with = "present")]
    pub(super) bodies: Option<RawBodies>,
    #[serde(default, deserialize_with = "present")]
    pub(super) metadata: Option<Vec<RawNamed>>,
}

/// A header or a field of the metadata whose value is told by who calls.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawNamed {
    pub(super) name: String,
    pub(super) from: RawSource,
    #[serde(default, rename = "as", deserialize_with = "present")]
    pub(super) form: Option<RawForm>,
    #[serde(default, deserialize_with = "present")]
    pub(super) max_bytes: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    pub(super) too_long: Option<RawTooLong>,
}

/// A header or parameter with a text of its own or a value that is told by who calls.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawContent {
    pub(super) name: String,
    #[serde(default, deserialize_with = "present")]
    pub(super) value: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) from: Option<RawSource>,
    #[serde(default, rename = "as", deserialize_with = "present")]
    pub(super) form: Option<RawForm>,
    #[serde(default, deserialize_with = "present")]
    pub(super) max_bytes: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    pub(super) too_long: Option<RawTooLong>,
    #[serde(default, deserialize_with = "present")]
    pub(super) when_present: Option<RawWhenPresent>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum RawForm {
    Text,
    Json,
    Base64Url,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum RawTooLong {
    Drop,
    Refuse,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum RawWhenPresent {
    Replace,
    Keep,
}

/// `user.roles`, or `{ user: [plan, tier] }`.
#[derive(Debug)]
pub(super) enum RawSource {
    Field(String),
    Claim(RawClaim),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawClaim {
    #[serde(default, deserialize_with = "present")]
    pub(super) user: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    pub(super) client: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawQuery {
    #[serde(default, deserialize_with = "present")]
    pub(super) set: Option<Vec<RawContent>>,
    #[serde(default, deserialize_with = "present")]
    pub(super) remove: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawLogin {
    pub(super) url: String,
    #[serde(default, deserialize_with = "present")]
    pub(super) return_parameter: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) origins: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawBodies {
    #[serde(default, deserialize_with = "present")]
    pub(super) api: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) browser: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) grpc: Option<String>,
}

impl<'de> Deserialize<'de> for RawSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldOrClaim;
        impl<'de> Visitor<'de> for FieldOrClaim {
            type Value = RawSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field such as user.roles, or a claim such as { user: [plan] }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawSource, E> {
                Ok(RawSource::Field(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawSource, A::Error> {
                RawClaim::deserialize(MapAccessDeserializer::new(map)).map(RawSource::Claim)
            }
        }
        deserializer.deserialize_any(FieldOrClaim)
    }
}
