//! What can be wrong with resources.

use std::path::PathBuf;

use crate::policy;
use crate::runtime::FileError;
use crate::sidecar::referenced::Unreadable;

/// Why resources are refused.
#[derive(Debug, thiserror::Error)]
pub enum InvalidResources {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A directory cannot be listed.
    #[error("cannot list {path}")]
    List {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A name in a directory stands for nothing, as a link whose target is gone.
    #[error("cannot read {path}, which is named like a resource file")]
    Missing {
        /// The name.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A name in a directory stands for something else than a file.
    #[error("{path} is named like a resource file and is none; directories are not searched")]
    NoFile {
        /// The name.
        path: PathBuf,
    },
    /// The files change faster than they can be read.
    #[error(
        "the resource files change while they are read; replace a file by renaming a new one over it"
    )]
    Unsteady,
    /// A file holds nothing: cut short, or emptied.
    #[error("{source_name} holds no resource; remove the file if that is meant")]
    Empty {
        /// The file.
        source_name: String,
    },
    /// A resource does not parse.
    #[error(transparent)]
    Parse(#[from] policy::InvalidResource),
    /// A provider cannot be used.
    #[error(transparent)]
    Provider(#[from] crate::authn::InvalidProvider),
    /// A policy engine cannot be used.
    #[error(transparent)]
    Engine(#[from] crate::authz::InvalidEngine),
    /// Rules cannot be compiled.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Rules(Vec<policy::InvalidRule>),
    /// A header would hold a credential on the way in and an identity on the way to the application.
    #[error(
        "the header {0} carries credentials of an IdentityProvider; choose another one for spec.identity of the AccessPolicies"
    )]
    Header(String),
    /// A file that a resource names cannot be read.
    #[error(transparent)]
    Referenced(#[from] Unreadable),
    /// A resource that the control plane assigned cannot be used.
    #[error("{name}: {words}")]
    Assigned {
        /// Kind, namespace and name.
        name: String,
        /// Why.
        words: String,
    },
    /// A mesh has at most one MeshPolicy.
    #[error("there are two MeshPolicies, in {first} and in {second}; a mesh has one: join them")]
    SecondMeshPolicy {
        /// Where the first stands.
        first: String,
        /// Where the second stands.
        second: String,
    },
    /// Two resources of one kind share a name.
    #[error("{kind} {name} is defined twice: in {first} and in {second}")]
    Duplicate {
        /// The kind.
        kind: &'static str,
        /// `namespace/name`.
        name: String,
        /// Where it stands first.
        first: String,
        /// Where it stands again.
        second: String,
    },
}
