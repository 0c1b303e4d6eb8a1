//! Resources that the control plane assigned to this workload: what is known of them, and how they come into force.

use std::collections::BTreeMap;
use std::path::{Component, Path};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::resources::InvalidResources;
use super::sources::ControlResources;
use crate::policy::{self, FileRef, Metadata, Resource};
use crate::xds::own::PolicyResource;

/// Resources by their name on the way here.
pub(super) type AssignedSet = BTreeMap<String, PolicyResource>;

/// What the control plane assigned to this workload.
#[derive(Debug, Clone)]
pub(super) enum Assigned {
    /// It is not asked: files alone count.
    NotAsked,
    /// Nothing yet, or not all of it: nothing may pass.
    NotYet,
    /// All of this.
    All(Arc<AssignedSet>),
}

/// What the control plane assigned, as `/config` of the admin pages shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssignedPage {
    /// All of it is known, and in force.
    whole: bool,
    resources: Vec<AssignedResource>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AssignedResource {
    kind: String,
    namespace: String,
    name: String,
    generation: u64,
    document: String,
}

/// A set to be put into force, and where to say whether it is.
pub(super) struct Proposal {
    pub(super) assigned: Arc<AssignedSet>,
    pub(super) answer: oneshot::Sender<Result<(), String>>,
}

/// One resource that was assigned, as a text for the parser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AssignedText {
    /// What stands for a file name; files that the resource names are looked for in its directory.
    source: String,
    /// What the resource is, on the way here.
    name: String,
    text: String,
}

impl Assigned {
    /// For `/config`; `None` when the control plane is not asked.
    pub(super) fn page(&self) -> Option<AssignedPage> {
        let set = match self {
            Self::NotAsked => return None,
            Self::NotYet => return Some(AssignedPage::default()),
            Self::All(set) => set,
        };
        let resources = set.values().cloned().map(|resource| {
            let PolicyResource { kind, namespace, name, generation, document } = resource;
            AssignedResource { kind, namespace, name, generation, document }
        });
        Some(AssignedPage { whole: true, resources: resources.collect() })
    }

    /// What a page shows.
    pub(super) fn of_page(page: Option<&AssignedPage>) -> Self {
        let Some(AssignedPage { whole, resources }) = page else { return Self::NotAsked };
        if !whole {
            return Self::NotYet;
        }
        let set = resources.iter().cloned().map(|resource| {
            let AssignedResource { kind, namespace, name, generation, document } = resource;
            let resource = PolicyResource { kind, namespace, name, generation, document };
            (resource.resource_name(), resource)
        });
        Self::All(Arc::new(set.collect()))
    }

    /// Their texts, in order. Files that they name are in the directory of `source`.
    pub(super) fn texts(&self, source: Option<&ControlResources>) -> Vec<AssignedText> {
        let Self::All(assigned) = self else { return Vec::new() };
        let directory = source.and_then(|source| source.files.as_deref());
        let texts = assigned.iter().map(|(name, resource)| {
            let PolicyResource { kind, namespace, name: own, generation: _, document } = resource;
            let label = format!("{kind} {namespace}.{own}");
            let source = match directory {
                Some(directory) => directory.join(label).display().to_string(),
                None => label,
            };
            AssignedText { source, name: name.clone(), text: document.clone() }
        });
        texts.collect()
    }
}

impl AssignedText {
    /// All that a digest is made of.
    pub(super) fn parts(&self) -> [&str; 2] {
        [&self.source, &self.text]
    }

    /// What stands for a file name in messages.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// The resource. It must be the one that its name says, and name no file outside the directory.
    pub(super) fn parse(&self) -> Result<Resource, InvalidResources> {
        let invalid = |words: String| InvalidResources::Assigned { name: self.name.clone(), words };
        let mut resources = policy::parse(&self.source, &self.text)
            .map_err(|error| invalid(error.without_source()))?;
        let (Some(resource), None) = (resources.pop(), resources.pop()) else {
            return Err(invalid("is not one resource".to_owned()));
        };
        let (kind, metadata, files) = taken_apart(&resource);
        let name = format!("{kind}/{}/{}", metadata.namespace, metadata.name);
        if name != self.name {
            return Err(invalid(format!("is {name}")));
        }
        let directory = Path::new(&self.source).parent().filter(|p| !p.as_os_str().is_empty());
        for file in files {
            check_file(file, directory).map_err(invalid)?;
        }
        Ok(resource)
    }
}

fn taken_apart(resource: &Resource) -> (&'static str, &Metadata, Vec<&FileRef>) {
    match resource {
        Resource::AccessPolicy(policy) => ("AccessPolicy", &policy.metadata, Vec::new()),
        Resource::IdentityProvider(provider) => {
            ("IdentityProvider", &provider.metadata, provider.spec.files())
        }
        Resource::MeshPolicy(policy) => ("MeshPolicy", &policy.metadata, Vec::new()),
        Resource::PolicyEngine(engine) => ("PolicyEngine", &engine.metadata, engine.files()),
    }
}

/// Whoever writes resources in the cluster may not have this process read, and send to a server of their choice, any file
/// that it can read.
fn check_file(file: &FileRef, directory: Option<&Path>) -> Result<(), String> {
    let Some(directory) = directory else {
        return Err(format!(
            "names the file {file}, and this sidecar has no directory for them (resources: control.files)"
        ));
    };
    let inside = file.path().strip_prefix(directory).is_ok_and(|inside| {
        inside.components().all(|component| matches!(component, Component::Normal(_)))
    });
    if inside {
        return Ok(());
    }
    Err(format!("names the file {file}, which is not in {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kind: &str, spec: &str, directory: Option<&str>) -> AssignedText {
        let document = format!(
            r#"{{"apiVersion":"hopgate.dev/v1alpha1","kind":"{kind}","metadata":{{"name":"a","namespace":"shop"}},"spec":{spec}}}"#
        );
        let resource = PolicyResource {
            kind: kind.to_owned(),
            namespace: "shop".to_owned(),
            name: "a".to_owned(),
            generation: 1,
            document,
        };
        let assigned = Assigned::All(Arc::new([(resource.resource_name(), resource)].into()));
        let source = ControlResources { files: directory.map(Into::into) };
        assigned.texts(Some(&source)).remove(0)
    }

    #[test]
    fn a_resource_is_the_one_that_its_name_says() {
        let good = text("AccessPolicy", r#"{"rules":[{"name":"r","deny":{}}]}"#, None);
        assert!(good.parse().is_ok());
        let other = AssignedText { name: "AccessPolicy/shop/b".to_owned(), ..good.clone() };
        assert!(other.parse().unwrap_err().to_string().contains("is AccessPolicy/shop/a"));
        let two =
            AssignedText { text: format!("{}\n---\n{}", good.text, good.text), ..good.clone() };
        assert!(two.parse().is_err());
        let none = AssignedText { text: String::new(), ..good };
        assert!(none.parse().is_err());
        let bad = text("AccessPolicy", r#"{"rules":[{"name":"r","deny":{"usres":{}}}]}"#, None);
        let said = bad.parse().unwrap_err().to_string();
        assert!(
            said.starts_with("AccessPolicy/shop/a: spec.rules[0].deny.usres: unknown"),
            "{said}"
        );
    }

    #[test]
    fn a_page_says_all_of_it() {
        let shown = |assigned: &Assigned| serde_json::to_value(assigned.page()).unwrap();
        let read = |value| {
            Assigned::of_page(
                serde_json::from_value::<Option<AssignedPage>>(value).unwrap().as_ref(),
            )
        };
        assert!(matches!(read(shown(&Assigned::NotAsked)), Assigned::NotAsked));
        assert!(matches!(read(shown(&Assigned::NotYet)), Assigned::NotYet));
        let resource = PolicyResource {
            kind: "AccessPolicy".to_owned(),
            namespace: "shop".to_owned(),
            name: "a".to_owned(),
            generation: 1,
            document: "{}".to_owned(),
        };
        let set = Arc::new(AssignedSet::from([(resource.resource_name(), resource)]));
        let Assigned::All(read) = read(shown(&Assigned::All(Arc::clone(&set)))) else {
            panic!("all")
        };
        assert_eq!(read, set);
    }

    #[test]
    fn files_are_taken_from_one_directory_only() {
        let provider = |file: &str, directory| {
            let spec = format!(
                r#"{{"issuer":"https://sso.example","audiences":["a"],"keys":{{"pemFile":"{file}"}}}}"#
            );
            text("IdentityProvider", &spec, directory).parse().map_err(|error| error.to_string())
        };
        let files = Some("/run/hopgate/files");
        assert!(provider("sso.pem", files).is_ok());
        assert!(provider("sso/keys.pem", files).is_ok());
        for outside in
            ["/etc/passwd", "../key.pem", "sso/../../key.pem", "/run/hopgate/filesystem/a"]
        {
            let said = provider(outside, files).unwrap_err();
            assert!(said.contains("is not in /run/hopgate/files"), "{said}");
        }
        assert!(provider("sso.pem", None).unwrap_err().contains("has no directory for them"));
        assert!(provider("/run/hopgate/key.pem", None).is_err());
    }
}
