//! Why a pod gets no gate.

use std::fmt;

use super::seen::Seen;
use super::wish::Place;

/// A static pod of a node, as the API server shows it.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Why a pod gets no gate, with what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skip {
    /// Nobody asked for one.
    NotAsked,
    /// It was asked for none.
    OptedOut(Place),
    /// It is another revision's to do.
    OtherRevision {
        /// Which one is asked for.
        asked: String,
    },
    /// It has one.
    AlreadyInjected,
    /// It is in the network of its node, where everything would be captured that the node does.
    HostNetwork,
    /// A container runs as a user of the gate, whose connections are not captured.
    GateUser {
        /// The container.
        container: String,
        /// The user.
        uid: i64,
    },
    /// The gate runs on Linux.
    Windows,
    /// It has no service account, and so no identity.
    NoServiceAccount,
}

impl Skip {
    /// The word for it in events and logs; one word per variant.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotAsked => "NotAsked",
            Self::OptedOut(_) => "OptedOut",
            Self::OtherRevision { .. } => "OtherRevision",
            Self::AlreadyInjected => "AlreadyInjected",
            Self::HostNetwork => "HostNetwork",
            Self::GateUser { .. } => "GateUser",
            Self::Windows => "Windows",
            Self::NoServiceAccount => "NoServiceAccount",
        }
    }

    /// True when somebody wanted a gate for it, and it runs without one: its owner must hear of it.
    #[must_use]
    pub fn is_unguarded(&self) -> bool {
        match self {
            Self::NotAsked
            | Self::OptedOut(_)
            | Self::OtherRevision { .. }
            | Self::AlreadyInjected => false,
            Self::HostNetwork | Self::GateUser { .. } | Self::Windows | Self::NoServiceAccount => {
                true
            }
        }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => f.write_str(
                "neither the pod nor its namespace is labelled hopgate.dev/inject: enabled",
            ),
            Self::OptedOut(place) => write!(f, "{place} hopgate.dev/inject is disabled"),
            Self::OtherRevision { asked } => {
                write!(f, "the revision {asked:?} is asked for, which is not this one")
            }
            Self::AlreadyInjected => f.write_str("it has its gate already"),
            Self::HostNetwork => f.write_str(
                "hostNetwork: it is in the network of its node, where no gate can be; remove hostNetwork to give it one",
            ),
            Self::GateUser { container, uid } => write!(
                f,
                "container {container:?} runs as user {uid}, whose connections the gate lets pass as its own; use another user to give it one"
            ),
            Self::Windows => f.write_str("it runs on Windows, and the gate on Linux only"),
            Self::NoServiceAccount => f.write_str(
                "a static pod of a node has no service account, and so no identity; let a DaemonSet make it to give it a gate",
            ),
        }
    }
}

/// Why no gate is possible.
pub(super) fn impossible(seen: &Seen) -> Option<Skip> {
    if seen.uses_host_network() {
        return Some(Skip::HostNetwork);
    }
    if seen.is_windows() {
        return Some(Skip::Windows);
    }
    if seen.annotation(MIRROR).is_some() {
        return Some(Skip::NoServiceAccount);
    }
    let (container, uid) = seen.gate_user()?;
    Some(Skip::GateUser { container: container.to_owned(), uid })
}
