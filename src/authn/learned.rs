//! What only the network can tell, asked before a request is judged again.
//!
//! Judging never waits. Where it meets something that it does not know and that could be asked, it says so as a [`Need`];
//! whoever drives it asks ([`super::Resolver`]) and judges the request again with what was [`Learned`], a failure to
//! learn included. What was asked once for a request is not asked again.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::online::{Asked, Known};

/// Something that only the network can tell.
pub enum Need {
    /// The keys of this provider: a token names one that is not known, or they were never fetched.
    Keys(Arc<str>),
    /// A judgement of a credential.
    Online {
        /// Who is asked.
        asked: Arc<Asked>,
        /// SHA-256 of the credential.
        digest: [u8; 32],
        /// The credential.
        token: Zeroizing<String>,
    },
}

/// What was asked for one request, and what came of it.
#[derive(Default)]
pub struct Learned {
    facts: Vec<Fact>,
    last: bool,
}

enum Fact {
    /// The keys of this provider were asked for. Whether new ones came shows when they are looked at.
    Keys(Arc<str>),
    Online {
        asked: Arc<Asked>,
        digest: [u8; 32],
        known: Known,
    },
}

impl Learned {
    /// Nothing was asked yet.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Whatever is unknown from now on stays unknown, and the request is refused for it.
    pub fn end(&mut self) {
        self.last = true;
    }

    pub(super) fn keys(&mut self, provider: Arc<str>) {
        self.facts.push(Fact::Keys(provider));
    }

    pub(super) fn online(&mut self, asked: Arc<Asked>, digest: [u8; 32], known: Known) {
        self.facts.push(Fact::Online { asked, digest, known });
    }

    /// True when the keys of a provider may still be asked for.
    pub(super) fn may_ask_keys(&self, provider: &str) -> bool {
        let asked = |fact: &Fact| matches!(fact, Fact::Keys(name) if **name == *provider);
        !self.last && !self.facts.iter().any(asked)
    }

    /// True when a server may still be asked.
    pub(super) fn may_ask(&self) -> bool {
        !self.last
    }

    /// What a server said of a credential for this request.
    pub(super) fn known(&self, asked: &Asked, digest: &[u8; 32]) -> Option<&Known> {
        self.facts.iter().find_map(|fact| match fact {
            Fact::Online { asked: of, digest: about, known }
                if of.is_same(asked) && about == digest =>
            {
                Some(known)
            }
            Fact::Online { .. } | Fact::Keys(_) => None,
        })
    }
}
