//! Suites as they are written: every field by name, nothing checked but its type.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use serde_json::{Map, Value};

use crate::policy::yaml::present;

/// Fields of one case that are only known once its table row is put in.
pub(super) type Unread = Map<String, Value>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawSuite {
    pub(super) resources: Vec<String>,
    pub(super) workload: RawWorkload,
    #[serde(default, deserialize_with = "present")]
    pub(super) providers: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    pub(super) users: Option<BTreeMap<String, Value>>,
    #[serde(default, deserialize_with = "present")]
    pub(super) defaults: Option<Unread>,
    pub(super) cases: Vec<Unread>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawWorkload {
    pub(super) namespace: String,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) trust_domain: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawCase {
    pub(super) name: String,
    #[serde(default, deserialize_with = "present")]
    pub(super) peer: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) user: Option<RawUser>,
    #[serde(default, deserialize_with = "present")]
    pub(super) client: Option<RawUser>,
    #[serde(default, deserialize_with = "present")]
    pub(super) request: Option<RawRequest>,
    #[serde(default, deserialize_with = "present")]
    pub(super) connection: Option<RawConnection>,
    #[serde(default, deserialize_with = "present")]
    pub(super) now: Option<RawTime>,
    pub(super) expect: RawExpect,
    #[serde(default, deserialize_with = "present")]
    pub(super) rule: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) code: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) status: Option<u16>,
    #[serde(default, deserialize_with = "present")]
    pub(super) headers: Option<BTreeMap<String, String>>,
    #[serde(default, deserialize_with = "present")]
    pub(super) without_headers: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    pub(super) answer_headers: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawExpect {
    Allow,
    Deny,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawUser {
    #[serde(default, deserialize_with = "present")]
    pub(super) provider: Option<String>,
    pub(super) sub: String,
    #[serde(default)]
    pub(super) roles: Vec<String>,
    #[serde(default)]
    pub(super) scopes: Vec<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) groups: Option<RawGroups>,
    #[serde(default, deserialize_with = "present")]
    pub(super) tenant: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) email: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) bound_by: Option<RawBoundBy>,
    #[serde(default, deserialize_with = "present")]
    pub(super) auth_time: Option<RawTime>,
    #[serde(default, deserialize_with = "present")]
    pub(super) acr: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) amr: Option<Vec<String>>,
    #[serde(default)]
    pub(super) claims: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum RawBoundBy {
    Dpop,
    Certificate,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawRequest {
    #[serde(default, deserialize_with = "present")]
    pub(super) method: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) host: Option<String>,
    pub(super) path: String,
    #[serde(default, deserialize_with = "present")]
    pub(super) headers: Option<BTreeMap<String, RawLines>>,
    #[serde(default, deserialize_with = "present")]
    pub(super) body: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    pub(super) source_address: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) destination_port: Option<u16>,
    #[serde(default, deserialize_with = "present")]
    pub(super) sni: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawConnection {
    #[serde(default, deserialize_with = "present")]
    pub(super) source_address: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) destination_port: Option<u16>,
    #[serde(default, deserialize_with = "present")]
    pub(super) sni: Option<String>,
}

/// Seconds since 1970, or a date of RFC 3339.
#[derive(Debug)]
pub(super) enum RawTime {
    Seconds(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for RawTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = RawTime;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a date such as 2026-01-31T12:00:00Z, or seconds since 1970")
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<RawTime, E> {
                Ok(RawTime::Seconds(seconds))
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<RawTime, E> {
                let negative = || E::invalid_value(de::Unexpected::Signed(seconds), &self);
                u64::try_from(seconds).map(RawTime::Seconds).map_err(|_| negative())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawTime, E> {
                Ok(RawTime::Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// The groups of a user, or that they are not known.
#[derive(Debug)]
pub(super) enum RawGroups {
    Known(Vec<String>),
    Unknown,
}

impl<'de> Deserialize<'de> for RawGroups {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RawGroups;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of groups, or the word Unknown")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawGroups, E> {
                match text {
                    "Unknown" => Ok(RawGroups::Unknown),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<RawGroups, A::Error> {
                let list = de::value::SeqAccessDeserializer::new(list);
                Vec::deserialize(list).map(RawGroups::Known)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// The lines of one header: one text, or a list of them.
#[derive(Debug)]
pub(super) struct RawLines(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for RawLines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RawLines;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the text of a header (in quotes where it looks like a number), or a list of such texts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawLines, E> {
                Ok(RawLines(vec![text.to_owned()]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<RawLines, A::Error> {
                let list = de::value::SeqAccessDeserializer::new(list);
                Vec::deserialize(list).map(RawLines)
            }
        }
        deserializer.deserialize_any(Either)
    }
}
