//! The id that client and operator share.

use super::request::Envelope;

/// The id that client and operator share: the request's own, or one made here.
#[derive(Debug)]
pub(super) enum RequestId<'a> {
    Given(&'a str),
    Made(String),
}

impl RequestId<'_> {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Given(id) => id,
            Self::Made(id) => id,
        }
    }

    /// 64 random bits; an id to find a record by, no secret.
    fn random() -> Self {
        use std::hash::{BuildHasher as _, Hasher as _};
        // Each state is seeded from the system's randomness once and stepped per instance.
        let id = std::hash::RandomState::new().build_hasher().finish();
        Self::Made(format!("{id:016x}"))
    }
}

impl<'a> RequestId<'a> {
    pub(super) fn of(envelope: &Envelope<'a>) -> Self {
        envelope.request_id.map_or_else(Self::random, Self::Given)
    }
}
