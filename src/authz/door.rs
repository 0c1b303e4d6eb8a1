//! What the gate is asked, whichever way it came, and what can be done with its answer.

use super::request::{Envelope, Malformed, Request};
use crate::policy::MeshPolicySpec;
use crate::proto::check::Check;

/// One question to the gate.
#[derive(Debug, Clone, Copy)]
pub enum Question<'q> {
    /// An encoded CheckRequest, from an Envoy that carries out whatever it is answered.
    Encoded(&'q [u8]),
    /// A request that another door read, and what its proxy can do with an answer.
    Asked(&'q Check<'q>, Abilities),
    /// What cannot be judged, and what is known of it all the same.
    Unreadable(Malformed, &'q Check<'q>),
}

/// What a proxy can do with an answer that lets a request pass. It never changes what is judged: an answer that the proxy
/// could not carry out becomes a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abilities {
    /// Set and remove any header, and write the path anew.
    All,
    /// Set the headers that its own configuration names, which may not be all of them.
    SetHeaders,
}

impl<'q> Question<'q> {
    /// What can be said of it in any case, what it asks, and what can be done with the answer.
    pub(super) fn read(
        self,
        mesh: &MeshPolicySpec,
    ) -> (Envelope<'q>, Result<Request<'q>, Malformed>, Abilities) {
        match self {
            Self::Encoded(message) => match Check::decode(message) {
                Ok(check) => {
                    let (envelope, request) = Request::read(check, mesh);
                    (envelope, request, Abilities::All)
                }
                Err(error) => (Envelope::default(), Err(error.into()), Abilities::All),
            },
            Self::Asked(check, abilities) => {
                let (envelope, request) = Request::read(check.clone(), mesh);
                (envelope, request, abilities)
            }
            Self::Unreadable(malformed, check) => {
                let (envelope, _) = Request::read(check.clone(), mesh);
                (envelope, Err(malformed), Abilities::All)
            }
        }
    }
}

/// Why what came through an HTTP door cannot be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DoorFault {
    /// Anybody may write the headers of a proxy.
    #[error("whoever asks is not the proxy of this door (`from`)")]
    Stranger,
    /// Something that says what the request is.
    #[error("the proxy does not tell `{0}`: does its configuration set it?")]
    Missing(&'static str),
    /// One of them may be the client's.
    #[error("`{0}` comes more than once")]
    Repeated(&'static str),
    /// Empty, no text, or no address where one belongs.
    #[error("`{0}` cannot be read")]
    Unreadable(&'static str),
    /// A whole URL, an asterisk, or a path outside the prefix.
    #[error("the target is no path behind the prefix of this door (`pathPrefix`)")]
    Target,
    /// It was cut short.
    #[error("the body did not come whole, or not in time")]
    Body,
}

impl DoorFault {
    /// The stable code for logs and metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Stranger => "door_stranger",
            Self::Missing(_) => "door_header_missing",
            Self::Repeated(_) => "door_header_repeated",
            Self::Unreadable(_) => "door_header_unreadable",
            Self::Target => "door_target",
            Self::Body => "door_body",
        }
    }
}
