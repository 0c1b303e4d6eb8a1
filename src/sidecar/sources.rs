//! `resources` of the configuration: where a sidecar's policies and providers come from.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};

use super::config::{InvalidConfig, invalid};
use crate::certs;
use crate::policy::yaml::present;

/// Files, and the control plane.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<RawSource>")]
pub struct Sources {
    /// Files and directories (their `*.yaml` and `*.yml`).
    pub files: Vec<PathBuf>,
    /// What the control plane tells counts too.
    pub control: Option<ControlResources>,
}

/// The control plane tells what is for this workload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ControlResources {
    /// The directory of the files that such resources may name, each by its name in there. Without it one that names a file
    /// is refused: whoever writes a resource in the cluster is not to choose among the files of this process.
    #[serde(default, deserialize_with = "present")]
    pub files: Option<PathBuf>,
}

/// One entry of the list: a path, or `control: {}`.
enum RawSource {
    Path(PathBuf),
    Control(ControlResources),
}

impl Sources {
    /// Makes relative paths relative to `base`, the directory of the configuration file.
    pub(super) fn resolve(&mut self, base: &Path) {
        let named = self.control.iter_mut().filter_map(|control| control.files.as_mut());
        self.files.iter_mut().chain(named).for_each(|path| *path = base.join(&*path));
    }

    pub(super) fn validate(
        &self,
        certificates: Option<&certs::Config>,
    ) -> Result<(), InvalidConfig> {
        let certified = certificates.map(|certificates| &certificates.source);
        let problem = match (&self.control, certified) {
            (None, _) if self.files.is_empty() => {
                "list at least one file or directory of resources, or control: {}"
            }
            (None, _) | (Some(_), Some(certs::Source::Control(_))) => return Ok(()),
            (Some(_), _) => {
                "control needs certificates.control: the control plane tells its resources to whom it certified"
            }
        };
        Err(invalid("resources", problem))
    }

    /// The list as it is written, and read again.
    pub(super) fn to_json(&self) -> Value {
        let files = self.files.iter().map(|path| json!(path));
        let control =
            self.control.iter().map(|control| json!({ "control": { "files": control.files } }));
        files.chain(control).collect()
    }
}

impl TryFrom<Vec<RawSource>> for Sources {
    type Error = &'static str;

    fn try_from(list: Vec<RawSource>) -> Result<Self, Self::Error> {
        let mut sources = Self::default();
        for source in list {
            match source {
                RawSource::Path(path) => sources.files.push(path),
                RawSource::Control(_) if sources.control.is_some() => {
                    return Err("`control` is written twice");
                }
                RawSource::Control(control) => sources.control = Some(control),
            }
        }
        Ok(sources)
    }
}

impl<'de> Deserialize<'de> for RawSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entry;
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Named {
            control: ControlResources,
        }
        impl<'de> Visitor<'de> for Entry {
            type Value = RawSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path, or control: {}")
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<RawSource, E> {
                Ok(RawSource::Path(path.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawSource, A::Error> {
                let Named { control } = Named::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RawSource::Control(control))
            }
        }
        deserializer.deserialize_any(Entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::yaml;

    fn read(text: &str) -> Result<Sources, String> {
        yaml::parse_one("sidecar.yaml", text).map_err(|error| error.to_string())
    }

    #[test]
    fn files_and_the_control_plane_stand_in_one_list() {
        assert_eq!(read("[a, b]").unwrap().files, [Path::new("a"), Path::new("b")]);
        let mut both = read("- a\n- control: { files: f }\n").unwrap();
        both.resolve(Path::new("/etc"));
        assert_eq!(serde_json::from_value::<Sources>(both.to_json()).unwrap(), both);
        assert_eq!(both.files, [Path::new("/etc/a")]);
        assert_eq!(both.control.unwrap().files.as_deref(), Some(Path::new("/etc/f")));
        assert_eq!(read("[control: {}]").unwrap().control, Some(ControlResources::default()));
        assert!(read("[]").unwrap().validate(None).is_err());
        assert!(read("[a]").unwrap().validate(None).is_ok());
        assert!(read("[control: {}]").unwrap().validate(None).is_err());
    }

    #[test]
    fn what_is_neither_is_refused() {
        for bad in [
            "[1]",
            "[true]",
            "[contol: {}]",
            "[{ control: { file: a } }]",
            "a",
            "[control: null]",
            "[[a]]",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let twice = read("[control: {}, control: {}]").unwrap_err();
        assert!(twice.contains("written twice"), "{twice}");
        let typing = read("[contol: {}]").unwrap_err();
        assert!(typing.contains("did you mean `control`?"), "{typing}");
    }
}
