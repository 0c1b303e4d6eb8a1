//! Policies of other systems, translated into resources of this one.
//!
//! Two promises hold for whatever is read. A translated allow admits nothing that the original refused: what cannot be
//! said here makes it narrower, or it is left out. A translated deny refuses everything that the original refused: what
//! cannot be said here makes it refuse more. Every such difference is a [`Note`]; none is silent. Text that is not
//! understood as a whole is an error, because an unknown field may be the one that restricts.

mod authorino;
mod bound;
mod cel;
mod document;
mod istio;
mod linkerd;
mod note;
mod out;

use serde_json::Value;

pub use bound::Difference;
pub use note::Note;

use document::Foreign;
use note::Notes;
use out::Resource;

/// The system that policies come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// `AuthorizationPolicy`, `RequestAuthentication`, `PeerAuthentication`.
    Istio,
    /// `Server`, `HTTPRoute`, `AuthorizationPolicy` and its authentications, `ServerAuthorization`.
    Linkerd,
    /// `AuthConfig`.
    Authorino,
}

/// What the files themselves do not say.
#[derive(Debug, Clone)]
pub struct Options {
    /// The trust domain of the mesh. `cluster.local` in a policy stands for it too.
    pub trust_domain: String,
    /// The namespace whose policies hold in the whole mesh.
    pub root_namespace: String,
    /// Into which namespaces policies of the root namespace are copied.
    pub namespaces: Vec<String>,
}

/// What came of it.
#[derive(Debug)]
pub struct Translation {
    resources: Vec<Resource>,
    notes: Vec<Note>,
}

/// Why nothing is translated.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file is no YAML.
    #[error(transparent)]
    Yaml(#[from] super::yaml::YamlError),
    /// A document is not what its kind says, or holds a field that is not known here.
    #[error("{subject}: {field}: {problem}")]
    Document {
        /// The kind, the name and the file.
        subject: String,
        /// The path of the field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A deny has no translation that refuses at least as much.
    #[error("{subject}: {problem}")]
    Deny {
        /// The kind, the name and the file.
        subject: String,
        /// Why not, and what to do.
        problem: String,
    },
    /// The translation is not accepted here. This is a mistake of the translation, never of the files.
    #[error(
        "the translation is not accepted by this program's own parser, so nothing is printed: {0}"
    )]
    Unaccepted(String),
}

/// Translates all documents of all files, each given with its name.
///
/// # Errors
/// When a document is not understood as a whole, or a deny cannot be translated.
pub fn import(
    system: System,
    files: &[(String, String)],
    options: &Options,
) -> Result<Translation, ImportError> {
    let mut documents = Vec::new();
    for (source, text) in files {
        documents.extend(document::read(source, text)?);
    }
    let mut notes = Notes::default();
    let resources = match system {
        System::Istio => istio::translate(&documents, options, &mut notes)?,
        System::Linkerd => linkerd::translate(&documents, &mut notes)?,
        System::Authorino => authorino::translate(&documents, &mut notes)?,
    };
    let translation = Translation { resources, notes: notes.into_list() };
    let text = translation.yaml()?;
    super::parse("translation", &text)
        .map_err(|error| ImportError::Unaccepted(error.to_string()))?;
    Ok(translation)
}

impl Translation {
    /// The resources, as the documents of one YAML text.
    ///
    /// # Errors
    /// When a value cannot be written, which is a mistake of the translation.
    pub fn yaml(&self) -> Result<String, ImportError> {
        let mut text = String::new();
        for resource in &self.resources {
            if !text.is_empty() {
                text.push_str("---\n");
            }
            text.push_str(&resource.yaml()?);
        }
        Ok(text)
    }

    /// The resources as JSON values.
    #[must_use]
    pub fn resources(&self) -> Vec<Value> {
        self.resources.iter().map(Resource::json).collect()
    }

    /// Everything that does not carry over as it was, in the order of the files.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }
}

/// An error about one field of a document.
fn wrong(document: &Foreign, field: impl Into<String>, problem: impl Into<String>) -> ImportError {
    ImportError::Document {
        subject: document.subject(),
        field: field.into(),
        problem: problem.into(),
    }
}

/// The host of an address without TLS, which has to be named here.
fn plaintext_host(uri: &str) -> Option<&str> {
    let host = uri.strip_prefix("http://")?.split(['/', '?', '#']).next()?;
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    (!name.is_empty()).then_some(name)
}
