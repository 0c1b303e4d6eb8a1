//! A rule being translated: what is asked so far, and what is told where something cannot be said.

use super::super::Options;
use super::super::bound::{Bound, Difference};
use super::super::document::Foreign;
use super::super::note::Notes;
use super::provider::Providers;

/// What the parts of one rule are translated with.
pub(super) struct Draft<'a> {
    pub(super) document: &'a Foreign,
    pub(super) options: &'a Options,
    /// Those that surely hold for every workload that the policy selects.
    pub(super) providers: Providers<'a>,
    /// [`Bound::Inside`] for an allow, [`Bound::Around`] for a deny.
    pub(super) bound: Bound,
    pub(super) notes: &'a mut Notes,
    /// The path of the rule.
    pub(super) at: String,
}

/// What becomes of a rule when one of the things it asks cannot be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsayable {
    /// The rule, or this alternative of it, is left out.
    Drop,
    /// It no longer asks for it, so it takes in more.
    Ignore,
}

impl Draft<'_> {
    /// The trust domain of the mesh.
    pub(super) fn own(&self) -> &str {
        &self.options.trust_domain
    }

    /// Tells of a part that cannot be said, and what becomes of the rule.
    pub(super) fn unsayable(&mut self, field: &str, why: &str) -> Unsayable {
        let (difference, outcome, unsayable) = match self.bound {
            Bound::Inside => {
                (Difference::LeftOut, "this way to be admitted is left out", Unsayable::Drop)
            }
            Bound::Around => (
                Difference::RefusesMore,
                "it refuses whatever this is, as long as the rest matches",
                Unsayable::Ignore,
            ),
        };
        self.tell(field, difference, &format!("{why}; {outcome}"));
        unsayable
    }

    /// Tells of members of a list that are left out, which stays on the right side.
    pub(super) fn narrower(&mut self, field: &str, why: &str) {
        let difference = match self.bound {
            Bound::Inside => Difference::AdmitsLess,
            Bound::Around => Difference::RefusesMore,
        };
        self.tell(field, difference, why);
    }

    pub(super) fn tell(&mut self, field: &str, difference: Difference, message: &str) {
        let field = format!("{}.{field}", self.at);
        self.notes.add(&self.document.subject(), field, difference, message);
    }
}
