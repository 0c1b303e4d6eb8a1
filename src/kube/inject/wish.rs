//! Whether a pod is to have a gate, and whose: what its labels and those of its namespace say.

use std::collections::BTreeMap;
use std::fmt;

use super::seen::Seen;
use super::{Refused, Settings, Skip};

/// The label, of a pod or its namespace, and the annotation of a pod: `enabled` or `disabled`. The pod's word counts.
pub const INJECT: &str = "hopgate.dev/inject";
/// The label, of a pod or its namespace: which revision of the control plane gives the gate.
pub const REVISION: &str = "hopgate.dev/revision";
/// The revision where nobody names one.
pub const DEFAULT_REVISION: &str = "default";
/// The level of Pod Security that a namespace enforces.
const POD_SECURITY: &str = "pod-security.kubernetes.io/enforce";

/// What is known of a pod's namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// Where a wish stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A label of the pod.
    Label,
    /// An annotation of the pod.
    Annotation,
    /// A label of its namespace.
    Namespace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Enabled,
    Disabled,
}

impl Namespace {
    /// One that asks for gates of this revision: for whoever asks by hand.
    #[must_use]
    pub fn asking(revision: &str) -> Self {
        let labels = [(INJECT, "enabled"), (REVISION, revision)];
        Self { labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into() }
    }

    /// The level of Pod Security, if pods with the capability NET_ADMIN are refused.
    pub(super) fn pod_security_without_net_admin(&self) -> Option<&str> {
        let level = self.labels.get(POD_SECURITY).map(String::as_str);
        level.filter(|level| matches!(*level, "baseline" | "restricted"))
    }
}

/// What is asked for a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// No gate, and why.
    None(Skip),
    /// A gate of this revision.
    Gate(String),
}

/// Why this pod is not ours to inject; nothing if it is.
pub(super) fn unwanted(
    seen: &Seen,
    namespace: &Namespace,
    settings: &Settings,
) -> Result<Option<Skip>, Refused> {
    Ok(match asked(seen, namespace)? {
        Asked::None(skip) => Some(skip),
        Asked::Gate(asked) if asked != settings.injection.revision => {
            Some(Skip::OtherRevision { asked })
        }
        Asked::Gate(_) => None,
    })
}

/// What the labels of a pod and those of its namespace ask for.
pub(super) fn asked(seen: &Seen, namespace: &Namespace) -> Result<Asked, Refused> {
    let label = wish(Place::Label, seen.label(INJECT))?;
    let annotation = wish(Place::Annotation, seen.annotation(INJECT))?;
    if let (Some(label), Some(annotation)) = (label, annotation)
        && label != annotation
    {
        return Err(Refused::Contradiction(INJECT));
    }
    let of_namespace = wish(Place::Namespace, namespace.labels.get(INJECT).map(String::as_str))?;
    let places =
        [(Place::Label, label), (Place::Annotation, annotation), (Place::Namespace, of_namespace)];
    match places.into_iter().find_map(|(place, wish)| Some((place, wish?))) {
        None => return Ok(Asked::None(Skip::NotAsked)),
        Some((place, Wish::Disabled)) => return Ok(Asked::None(Skip::OptedOut(place))),
        Some((_, Wish::Enabled)) => {}
    }
    let asked = seen.label(REVISION).or(namespace.labels.get(REVISION).map(String::as_str));
    Ok(Asked::Gate(asked.unwrap_or(DEFAULT_REVISION).to_owned()))
}

fn wish(place: Place, value: Option<&str>) -> Result<Option<Wish>, Refused> {
    match value {
        None => Ok(None),
        Some("enabled") => Ok(Some(Wish::Enabled)),
        Some("disabled") => Ok(Some(Wish::Disabled)),
        Some(other) => Err(Refused::Value {
            place: place.word(),
            name: INJECT,
            value: other.to_owned(),
            expected: "enabled or disabled",
        }),
    }
}

impl Place {
    fn word(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Annotation => "annotation",
            Self::Namespace => "the namespace's label",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
