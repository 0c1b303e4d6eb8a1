//! Documents to resources: which kind, what name, then the kind's own fields.

use super::access::AccessPolicy;
use super::engine::{PolicyEngine, RawPolicyEngine};
use super::field::FieldPath;
use super::mesh::{MeshPolicy, RawMeshPolicy};
use super::problem::{InvalidResource, Origin, Problem, did_you_mean, quoted};
use super::provider::{IdentityProvider, RawIdentityProvider};
use super::raw::{RawAccessPolicy, RawHead, RawMetadata, RawResource};
use super::yaml::{self, Document, YamlError};

/// The only version there is.
pub const API_VERSION: &str = "hopgate.dev/v1alpha1";
/// The kinds that can be written.
pub const KINDS: [&str; 4] = ["AccessPolicy", "IdentityProvider", "MeshPolicy", "PolicyEngine"];

/// One resource.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "read once and taken apart at once")]
pub enum Resource {
    /// Rules of a workload.
    AccessPolicy(AccessPolicy),
    /// Whose tokens count.
    IdentityProvider(IdentityProvider),
    /// What holds for the whole mesh.
    MeshPolicy(MeshPolicy),
    /// Another engine that rules may ask.
    PolicyEngine(PolicyEngine),
}

/// The name of a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Metadata {
    /// The name, unique for its kind in its namespace.
    pub name: String,
    /// The namespace.
    pub namespace: String,
}

/// Reads all resources of a text of one or more YAML documents. `source` is only used in errors.
///
/// # Errors
/// The first mistake, with its place, its field and what is allowed there. No resource of a text with a mistake is
/// used: half a policy is not a policy.
pub fn parse(source: &str, text: &str) -> Result<Vec<Resource>, InvalidResource> {
    yaml::documents(source, text)?.into_iter().map(|document| resource(source, &document)).collect()
}

/// The mistake of a field, before its place is looked up.
pub(super) type Checked<T> = Result<T, Problem>;

/// Where the fields of one document stand.
pub(super) struct Context<'a> {
    source: &'a str,
    places: &'a yaml::Places,
}

impl Context<'_> {
    /// The name of the file.
    pub(super) fn source(&self) -> &str {
        self.source
    }

    pub(super) fn origin(&self, path: &FieldPath) -> Origin {
        Origin::new(self.source, self.places.find(path).map(|(line, _)| line))
    }
}

pub(super) fn resource(source: &str, document: &Document<'_>) -> Result<Resource, InvalidResource> {
    let head: RawHead = document.read(source)?;
    let places = document.places();
    let context = Context { source, places: &places };
    let invalid = |resource: String, problem: Problem| InvalidResource {
        source_name: source.to_owned(),
        place: places.find(&problem.path),
        resource,
        problem: Box::new(problem),
    };
    let kind = check_head(head).map_err(|problem| invalid(String::new(), problem))?;
    match kind {
        Kind::AccessPolicy => {
            let raw: RawResource<RawAccessPolicy> = document.read(source)?;
            let RawResource { _api_version: _, _kind: _, metadata, spec } = raw;
            let title = title("AccessPolicy", &metadata);
            Metadata::check(metadata)
                .and_then(|metadata| AccessPolicy::check(metadata, spec, &context))
                .map(Resource::AccessPolicy)
                .map_err(|problem| invalid(title, problem))
        }
        Kind::IdentityProvider => {
            let raw: RawResource<RawIdentityProvider> = document.read(source)?;
            let RawResource { _api_version: _, _kind: _, metadata, spec } = raw;
            let title = title("IdentityProvider", &metadata);
            Metadata::check(metadata)
                .and_then(|metadata| IdentityProvider::check(metadata, spec, source))
                .map(Resource::IdentityProvider)
                .map_err(|problem| invalid(title, problem))
        }
        Kind::MeshPolicy => {
            let raw: RawResource<RawMeshPolicy> = document.read(source)?;
            let RawResource { _api_version: _, _kind: _, metadata, spec } = raw;
            let title = title("MeshPolicy", &metadata);
            Metadata::check(metadata)
                .and_then(|metadata| MeshPolicy::check(metadata, spec, &context))
                .map(Resource::MeshPolicy)
                .map_err(|problem| invalid(title, problem))
        }
        Kind::PolicyEngine => {
            let raw: RawResource<RawPolicyEngine> = document.read(source)?;
            let RawResource { _api_version: _, _kind: _, metadata, spec } = raw;
            let title = title("PolicyEngine", &metadata);
            Metadata::check(metadata)
                .and_then(|metadata| PolicyEngine::check(metadata, spec, &context))
                .map(Resource::PolicyEngine)
                .map_err(|problem| invalid(title, problem))
        }
    }
}

enum Kind {
    AccessPolicy,
    IdentityProvider,
    MeshPolicy,
    PolicyEngine,
}

fn check_head(head: RawHead) -> Checked<Kind> {
    let RawHead { api_version, kind } = head;
    let at = FieldPath::root();
    let version = api_version.ok_or_else(|| {
        Problem::new(at.clone(), format!("the field `apiVersion` is missing: write {API_VERSION}"))
    })?;
    if version != API_VERSION {
        let message = format!("`{version}` is not known, expected only `{API_VERSION}`");
        let problem = Problem::new(at.field("apiVersion"), message);
        // Not passed over: a rule that is taken for somebody else's resource would be missed.
        let ours = version.starts_with("hopgate.dev/")
            || kind.is_some_and(|kind| KINDS.contains(&kind.as_str()));
        let hint = (!ours).then(|| "keep resources of other systems in another folder".to_owned());
        return Err(problem.maybe_hint(hint));
    }
    let kind = kind.ok_or_else(|| {
        Problem::new(at.clone(), format!("the field `kind` is missing: one of {}", quoted(KINDS)))
    })?;
    match kind.as_str() {
        "AccessPolicy" => Ok(Kind::AccessPolicy),
        "IdentityProvider" => Ok(Kind::IdentityProvider),
        "MeshPolicy" => Ok(Kind::MeshPolicy),
        "PolicyEngine" => Ok(Kind::PolicyEngine),
        other => Err(Problem::new(
            at.field("kind"),
            format!("unknown kind `{other}`, expected one of {}", quoted(KINDS)),
        )
        .maybe_hint(did_you_mean(other, KINDS))),
    }
}

fn title(kind: &str, metadata: &RawMetadata) -> String {
    format!("{kind} {}/{}", metadata.namespace, metadata.name)
}

impl Metadata {
    fn check(raw: RawMetadata) -> Checked<Self> {
        let RawMetadata { name, namespace, _labels: _, _annotations: _ } = raw;
        let at = FieldPath::root().field("metadata");
        if name.len() > 253 || !name.split('.').all(is_dns_label) {
            return Err(dns_problem(at.field("name"), &name));
        }
        if !is_dns_label(&namespace) {
            return Err(dns_problem(at.field("namespace"), &namespace));
        }
        Ok(Self { name, namespace })
    }
}

impl std::fmt::Display for Metadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

fn dns_problem(path: FieldPath, written: &str) -> Problem {
    Problem::new(path, format!("`{written}` is no name of lower-case letters, digits and dashes"))
        .hint("it starts and ends with a letter or digit, at most 63 characters between dots")
}

/// RFC 1123: what Kubernetes allows in a name.
pub(super) fn is_dns_label(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.len() <= 63
        && edge(text.chars().next())
        && edge(text.chars().next_back())
        && text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-'))
}

/// A list that restricts: absent is fine, empty is a mistake, and so is a repeated member.
pub(super) fn check_list<T: PartialEq + std::fmt::Debug>(
    list: Vec<T>,
    path: &FieldPath,
) -> Checked<Vec<T>> {
    if list.is_empty() {
        return Err(Problem::new(path.clone(), "is empty")
            .hint("an empty list does not mean no restriction"));
    }
    // Long lists are compared by text, so that a file of many thousand members is not read for minutes.
    let mut seen = std::collections::HashSet::with_capacity(list.len());
    for (place, member) in list.iter().enumerate() {
        if !seen.insert(format!("{member:?}")) {
            return Err(Problem::new(path.item(place), "is written twice in this list"));
        }
    }
    Ok(list)
}

/// A token of RFC 9110, section 5.6.2: what methods, header names and authentication schemes are made of.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Text that must say something.
pub(super) fn check_text(text: String, path: FieldPath) -> Checked<String> {
    if text.trim().is_empty() {
        return Err(Problem::new(path, "is empty"));
    }
    if text.trim() != text || text.chars().any(char::is_control) {
        return Err(Problem::new(path, "has white space around it or a control character in it"));
    }
    Ok(text)
}

impl From<YamlError> for InvalidResource {
    fn from(error: YamlError) -> Self {
        let (source_name, place, problem) = error.into_parts();
        Self { source_name, place, resource: String::new(), problem: Box::new(problem) }
    }
}
