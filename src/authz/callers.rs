//! Who is calling, as a decision, its answer and its record see it.

use crate::authn::{Peer, Principals, User};
use crate::identity::SpiffeId;
use crate::policy::UserFacts;

/// Who is calling. The gate knows only who was proven; what is supposed never leaves a rehearsal.
#[derive(Debug)]
pub(super) enum Callers {
    /// Nobody was asked: the request was refused before, or what it brought proves nothing.
    Unproven,
    /// By the evidence that came with the request.
    Proven(Principals),
    /// For a rehearsal.
    Supposed(Box<Supposed>),
}

/// Who is supposed to be calling in a rehearsal.
#[derive(Debug, Default)]
pub struct Supposed {
    /// The workload on the wire.
    pub peer: Option<SpiffeId>,
    /// Whoever the credential would speak for.
    pub user: Option<UserFacts>,
    /// The program that would call for the user.
    pub client: Option<UserFacts>,
}

impl Callers {
    /// The workload on the wire.
    pub(super) fn peer(&self) -> Option<&SpiffeId> {
        match self {
            Self::Unproven => None,
            Self::Proven(principals) => principals.peer().map(Peer::id),
            Self::Supposed(supposed) => supposed.peer.as_ref(),
        }
    }

    /// The proxy that spoke for the peer.
    pub(super) fn via(&self) -> Option<&SpiffeId> {
        match self {
            Self::Unproven | Self::Supposed(_) => None,
            Self::Proven(principals) => principals.via().map(Peer::id),
        }
    }

    /// Whoever the credential speaks for.
    pub(super) fn user(&self) -> Option<&UserFacts> {
        match self {
            Self::Unproven => None,
            Self::Proven(principals) => principals.user().map(User::facts),
            Self::Supposed(supposed) => supposed.user.as_ref(),
        }
    }

    /// The program that calls for the user.
    pub(super) fn client(&self) -> Option<&UserFacts> {
        match self {
            Self::Unproven => None,
            Self::Proven(principals) => principals.client().map(User::facts),
            Self::Supposed(supposed) => supposed.client.as_ref(),
        }
    }

    /// The name of the user's credential.
    pub(super) fn token_id(&self) -> Option<&str> {
        match self {
            Self::Unproven | Self::Supposed(_) => None,
            Self::Proven(principals) => principals.user()?.token_id(),
        }
    }
}
