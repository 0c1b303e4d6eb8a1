//! Why a pod must not run as it is.

use super::Skip;
use crate::mesh::capture::InvalidExclusion;

/// A pod that should have a gate cannot get one as it is. It is refused: it would run unguarded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The pod is not what this version understands.
    #[error("the pod is not understood: {field}: {problem}")]
    Unreadable {
        /// The field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A label or annotation has a value that means nothing.
    #[error("{place} {name}: {value:?} means nothing; write {expected}")]
    Value {
        /// `label`, `annotation`, or the namespace's label.
        place: &'static str,
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// Label and annotation of a pod contradict each other.
    #[error("label and annotation {0} contradict each other; keep one of them")]
    Contradiction(&'static str),
    /// A label or annotation of ours that means nothing.
    #[error("{place} {name} means nothing here; {hint}")]
    Unknown {
        /// `label` or `annotation`.
        place: &'static str,
        /// Its name.
        name: String,
        /// What may be meant.
        hint: String,
    },
    /// An annotation says what is not captured, and is not understood.
    #[error("annotation {name}: {problem}")]
    Exclusion {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        problem: InvalidExclusion,
    },
    /// The annotation of resources is not understood.
    #[error("annotation {name}: {problem}")]
    Resources {
        /// Its name.
        name: &'static str,
        /// What is wrong, and what may be written.
        problem: String,
    },
    /// A container has the name of one of the gate's.
    #[error("the pod has a container {0:?} already; the gate needs this name, rename it")]
    ContainerName(String),
    /// A volume has a name of the gate's.
    #[error(
        "the pod has a volume {0:?} already; names that begin with hopgate- are the gate's, rename it"
    )]
    VolumeName(String),
    /// A container serves a port of the gate.
    #[error(
        "container {container:?} serves port {port}, which the gate needs; let it serve another"
    )]
    Port {
        /// The container.
        container: String,
        /// The port.
        port: u16,
    },
    /// A probe names a port that its container does not have.
    #[error(
        "container {container:?}: {field} names the port {port:?}, which this container does not declare"
    )]
    NamedPort {
        /// The container.
        container: String,
        /// `readinessProbe` and the like.
        field: String,
        /// The name.
        port: String,
    },
    /// It can have no gate, and the mesh lets none run without.
    #[error(
        "{0}; this mesh admits no pod without its gate, except those that are labelled hopgate.dev/inject: disabled"
    )]
    Unguarded(Skip),
}

impl Refused {
    pub(super) fn unreadable(field: &str, problem: &str) -> Self {
        Self::Unreadable { field: field.to_owned(), problem: problem.to_owned() }
    }
}
