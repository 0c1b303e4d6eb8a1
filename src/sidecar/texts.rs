//! Resource files, read and parsed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::assigned::AssignedText;
use super::resources::InvalidResources;
use crate::policy::{self, AccessPolicy, IdentityProvider, MeshPolicy, PolicyEngine, Resource};
use crate::runtime::read_limited;

/// No resource file is larger.
const MAX_FILE: u64 = 16 * 1024 * 1024;
/// So often are files read again that change while they are read.
const MAX_READINGS: usize = 4;

/// The files as they are, each with its name, and what the control plane assigned.
pub(super) struct Texts {
    pub(super) files: Vec<(String, String)>,
    assigned: Vec<AssignedText>,
    /// Of names and texts: files that a resource names are looked for beside it, so a text elsewhere is another one.
    pub(super) digest: String,
    /// Of the texts alone: the same wherever the files lie.
    pub(super) content: String,
}

/// What all texts say.
#[derive(Default)]
pub(super) struct Parsed {
    pub(super) policies: Vec<AccessPolicy>,
    pub(super) providers: Vec<IdentityProvider>,
    pub(super) engines: Vec<PolicyEngine>,
    /// At most one: two would have to be weighed against each other.
    pub(super) mesh: Option<MeshPolicy>,
}

impl Texts {
    pub(super) fn parse(&self, workload: &policy::Workload) -> Result<Parsed, InvalidResources> {
        let mut parsed = Parsed::default();
        let mut seen = Seen::default();
        for (source, text) in &self.files {
            let resources = policy::parse(source, text)?;
            if resources.is_empty() {
                return Err(InvalidResources::Empty { source_name: source.clone() });
            }
            for resource in resources {
                seen.once(&resource, source)?;
                parsed.add(resource, |namespace| namespace == workload.namespace)?;
            }
        }
        for assigned in &self.assigned {
            let resource = match assigned.parse()? {
                Resource::AccessPolicy(policy) => Resource::AccessPolicy(policy.chosen()),
                other => other,
            };
            seen.once(&resource, assigned.source())?;
            parsed.add(resource, |_| true)?;
        }
        parsed.refuse_shared_names()?;
        Ok(parsed)
    }

    /// The same files with what the control plane assigned.
    pub(super) fn with_assigned(self, assigned: Vec<AssignedText>) -> Self {
        if assigned.is_empty() {
            return self;
        }
        let with = |files: &str| {
            let parts = assigned.iter().flat_map(AssignedText::parts);
            digest(std::iter::once(files).chain(parts))
        };
        let (digest, content) = (with(&self.digest), with(&self.content));
        Self { assigned, digest, content, ..self }
    }

    /// Reads until two readings in a row are the same: what is written or swapped meanwhile would be applied by halves.
    pub(super) fn read(paths: &[PathBuf]) -> Result<Self, InvalidResources> {
        Self::read_until_steady(|| Self::read_once(paths))
    }

    fn read_until_steady(
        mut read: impl FnMut() -> Result<Self, InvalidResources>,
    ) -> Result<Self, InvalidResources> {
        let mut before = read()?;
        for _ in 0..MAX_READINGS {
            let now = read()?;
            if now.digest == before.digest {
                return Ok(now);
            }
            before = now;
        }
        Err(InvalidResources::Unsteady)
    }

    fn read_once(paths: &[PathBuf]) -> Result<Self, InvalidResources> {
        let mut texts = Vec::new();
        for file in files(paths)? {
            let text = read_limited(&file, MAX_FILE)?;
            texts.push((file.display().to_string(), text));
        }
        Ok(Self::of(texts))
    }

    /// Texts that were read already, each with its name.
    pub(super) fn of(files: Vec<(String, String)>) -> Self {
        let digest = digest(files.iter().flat_map(|(name, text)| [name.as_str(), text]));
        let content = self::digest(files.iter().map(|(_, text)| text.as_str()));
        Self { files, assigned: Vec::new(), digest, content }
    }
}

fn digest<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for text in texts {
        hash.update(text.as_bytes());
        hash.update(b"\0");
    }
    hash.finish().as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

impl Parsed {
    /// Takes a resource; a provider or engine only of a namespace that counts.
    fn add(
        &mut self,
        resource: Resource,
        counts: impl Fn(&str) -> bool,
    ) -> Result<(), InvalidResources> {
        match resource {
            Resource::AccessPolicy(policy) => self.policies.push(policy),
            Resource::IdentityProvider(provider) if counts(&provider.metadata.namespace) => {
                self.providers.push(provider);
            }
            Resource::PolicyEngine(engine) if counts(&engine.metadata.namespace) => {
                self.engines.push(engine);
            }
            Resource::IdentityProvider(_) | Resource::PolicyEngine(_) => {}
            Resource::MeshPolicy(policy) => {
                if let Some(first) = &self.mesh {
                    let (first, second) = (first.origin(), policy.origin());
                    let (first, second) = (first.to_string(), second.to_string());
                    return Err(InvalidResources::SecondMeshPolicy { first, second });
                }
                self.mesh = Some(policy);
            }
        }
        Ok(())
    }

    /// Rules name providers and engines by their name alone.
    fn refuse_shared_names(&self) -> Result<(), InvalidResources> {
        let providers =
            self.providers.iter().map(|provider| ("IdentityProvider", &provider.metadata));
        let engines = self.engines.iter().map(|engine| ("PolicyEngine", &engine.metadata));
        let mut seen = BTreeMap::new();
        for (kind, metadata) in providers.chain(engines) {
            let Some(first) = seen.insert((kind, &metadata.name), metadata) else { continue };
            return Err(InvalidResources::Duplicate {
                kind,
                name: metadata.name.clone(),
                first: format!("the namespace {}", first.namespace),
                second: format!("the namespace {}", metadata.namespace),
            });
        }
        Ok(())
    }
}

/// Names that were met, with the file they stand in.
#[derive(Default)]
struct Seen(Vec<(&'static str, String, String)>);

impl Seen {
    fn once(&mut self, resource: &Resource, source: &str) -> Result<(), InvalidResources> {
        let (kind, metadata) = match resource {
            Resource::AccessPolicy(policy) => ("AccessPolicy", &policy.metadata),
            Resource::IdentityProvider(provider) => ("IdentityProvider", &provider.metadata),
            Resource::PolicyEngine(engine) => ("PolicyEngine", &engine.metadata),
            // Of these there may not be two whatever their names.
            Resource::MeshPolicy(_) => return Ok(()),
        };
        let name = format!("{}/{}", metadata.namespace, metadata.name);
        if let Some((_, _, first)) = self.0.iter().find(|(k, n, _)| *k == kind && *n == name) {
            let (first, second) = (first.clone(), source.to_owned());
            return Err(InvalidResources::Duplicate { kind, name, first, second });
        }
        self.0.push((kind, name, source.to_owned()));
        Ok(())
    }
}

/// The files themselves, and the `*.yaml` and `*.yml` of directories, in order of their names. Hidden files are left
/// out: a mounted volume keeps its old content in them.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, InvalidResources> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let list = |source| InvalidResources::List { path: path.clone(), source };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(list)? {
            let file = entry.map_err(list)?.path();
            if !is_resource_name(&file) {
                continue;
            }
            // One that cannot be read might hold a deny: it is never left out in silence.
            match std::fs::metadata(&file) {
                Ok(metadata) if metadata.is_file() => found.push(file),
                Ok(_) => return Err(InvalidResources::NoFile { path: file }),
                Err(source) => return Err(InvalidResources::Missing { path: file, source }),
            }
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

fn is_resource_name(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().first() == Some(&b'.'));
    let yaml = path.extension().is_some_and(|extension| {
        extension.eq_ignore_ascii_case("yaml") || extension.eq_ignore_ascii_case("yml")
    });
    yaml && !hidden
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_resource_file_is_read_or_named_in_an_error() {
        let directory =
            std::env::temp_dir().join(format!("hopgate-resources-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("..data")).unwrap();
        for name in ["..data/b.yaml", "a.yaml", "c.yml", "d.YAML", ".hidden.yaml", "notes.txt"] {
            std::fs::write(directory.join(name), "").unwrap();
        }
        symlink("..data/b.yaml", directory.join("b.yaml")).unwrap();
        let found = |directory: &Path| files(&[directory.to_path_buf()]);
        let names: Vec<String> = found(&directory)
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["a.yaml", "b.yaml", "c.yml", "d.YAML"]);

        let bad = directory.join("deny.yaml");
        symlink("nowhere.yaml", &bad).unwrap();
        let error = found(&directory).expect_err("a dangling link");
        assert!(error.to_string().contains("deny.yaml"), "{error}");
        std::fs::remove_file(&bad).unwrap();

        std::fs::create_dir(&bad).unwrap();
        let error = found(&directory).expect_err("a directory");
        assert!(error.to_string().contains("deny.yaml"), "{error}");
        std::fs::remove_dir(&bad).unwrap();

        symlink(&directory, directory.join("loop.yml")).unwrap();
        let error = found(&directory).expect_err("a link to a directory");
        assert!(error.to_string().contains("loop.yml"), "{error}");
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_changes_while_it_is_read_is_read_again() {
        let texts = |digest: u32| Texts { digest: digest.to_string(), ..Texts::of(Vec::new()) };
        let mut readings = [1, 2, 3, 3].into_iter();
        let steady = Texts::read_until_steady(|| Ok(texts(readings.next().unwrap())));
        assert_eq!(steady.unwrap().digest, "3");

        let mut count = 0;
        let never = Texts::read_until_steady(|| {
            count += 1;
            Ok(texts(count))
        });
        assert!(matches!(never, Err(InvalidResources::Unsteady)));
        assert!(count <= 10, "{count}");
    }

    fn workload() -> policy::Workload {
        policy::Workload {
            trust_domain: crate::identity::TrustDomain::parse("test.mesh").unwrap(),
            namespace: "shop".to_owned(),
            labels: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn a_mesh_has_one_mesh_policy() {
        let document = |name: &str| {
            format!(
                "apiVersion: hopgate.dev/v1alpha1\nkind: MeshPolicy\n\
                 metadata: {{ name: {name}, namespace: {name} }}\nspec: {{ trustedHops: 1 }}\n"
            )
        };
        let files = |names: &[&str]| {
            Texts::of(names.iter().map(|name| (format!("{name}.yaml"), document(name))).collect())
        };
        let mesh = files(&["a"]).parse(&workload()).unwrap().mesh.unwrap();
        assert_ne!(mesh.spec, policy::MeshPolicySpec::absent());
        assert!(files(&[]).parse(&workload()).unwrap().mesh.is_none());
        // Whatever their names and namespaces.
        let error = files(&["a", "b"]).parse(&workload()).err().unwrap().to_string();
        assert_eq!(
            error,
            "there are two MeshPolicies, in a.yaml:3 and in b.yaml:3; a mesh has one: join them"
        );
    }

    #[test]
    fn the_same_texts_elsewhere_say_the_same_and_are_another_reading() {
        let of = |name: &str, text: &str| Texts::of(vec![(name.to_owned(), text.to_owned())]);
        let (here, elsewhere) = (of("policies/a.yaml", "a: 1"), of("/etc/policies/a.yaml", "a: 1"));
        assert_eq!(here.content, elsewhere.content);
        assert_ne!(here.digest, elsewhere.digest);
        assert_ne!(here.content, of("policies/a.yaml", "a: 2").content);
    }

    #[test]
    fn an_emptied_file_is_refused() {
        for text in ["", "# nothing\n", "---\n", "---\n---\n# nothing\n"] {
            let texts = Texts::of(vec![("deny.yaml".to_owned(), text.to_owned())]);
            let error = texts
                .parse(&workload())
                .and_then(|parsed| {
                    super::super::resources::Resources::compile(&texts, parsed, &workload())
                })
                .expect_err(text)
                .to_string();
            assert!(error.contains("deny.yaml holds no resource"), "{error}");
        }
    }
}
