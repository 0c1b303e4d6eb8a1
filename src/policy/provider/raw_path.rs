//! Paths of claims as they are written: a name, a list of names, or a list with the shape of what stands there.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

/// A name, or a list of names that leads into objects.
#[derive(Debug, Clone)]
pub(super) struct RawPath(pub(super) Vec<String>);

/// A path, or a path with the shape of what stands there.
#[derive(Debug, Clone)]
pub(super) struct RawClaimPath {
    pub(super) path: Vec<String>,
    pub(super) shape: Option<RawShape>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum RawShape {
    Words,
    List,
    Keys,
    Text,
}

impl<'de> Deserialize<'de> for RawPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Path;
        impl<'de> Visitor<'de> for Path {
            type Value = RawPath;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a claim, or a list of names that leads to it")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<RawPath, E> {
                Ok(RawPath(vec![name.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<RawPath, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(names)).map(RawPath)
            }
        }
        deserializer.deserialize_any(Path)
    }
}

impl<'de> Deserialize<'de> for RawClaimPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Shaped {
            path: Vec<String>,
            #[serde(rename = "as")]
            shape: RawShape,
        }
        struct Path;
        impl<'de> Visitor<'de> for Path {
            type Value = RawClaimPath;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of claim names such as [realm_access, roles], or { path: [..], as: Words }")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<RawClaimPath, A::Error> {
                let path = Vec::deserialize(de::value::SeqAccessDeserializer::new(names))?;
                Ok(RawClaimPath { path, shape: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawClaimPath, A::Error> {
                let Shaped { path, shape } =
                    Shaped::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(RawClaimPath { path, shape: Some(shape) })
            }
        }
        deserializer.deserialize_any(Path)
    }
}
