//! What was told of revocations: pure bookkeeping.
//!
//! It is known who is revoked once a whole revision was heard, and every revocation in it could be read. Before that
//! nobody can be taken for trusted. Once known it stays so: a later revocation that cannot be read is refused, and what
//! was known is heeded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::revocation::{Knowledge, Revocation, RevocationList, TooMany};
use crate::runtime::with_causes;
use crate::xds::Update;
use crate::xds::own::RevokedWorkload;

/// Who is trusted no more, by [`RevokedWorkload::name`].
type Revoked = BTreeMap<String, RevokedWorkload>;

/// What was told of revocations.
#[derive(Debug, Clone)]
pub(super) struct Told {
    revoked: Revoked,
    /// Those that cannot be read.
    unread: BTreeSet<String>,
    knowledge: Knowledge,
}

impl Told {
    /// Nothing was told.
    pub(super) fn nothing() -> Self {
        Self { revoked: Revoked::new(), unread: BTreeSet::new(), knowledge: Knowledge::Unknown }
    }

    /// Takes one that was told in an earlier run.
    pub(super) fn restore(&mut self, name: String, revoked: RevokedWorkload) {
        self.revoked.insert(name, revoked);
    }

    /// All was told in an earlier run, or nobody tells anything.
    ///
    /// # Errors
    /// When it is more than a list holds.
    pub(super) fn is_all(&mut self) -> Result<(), TooMany> {
        self.knowledge = Knowledge::Known(Arc::new(self.list()?));
        Ok(())
    }

    /// What is known.
    pub(super) fn knowledge(&self) -> Knowledge {
        self.knowledge.clone()
    }

    /// True if this one can be read.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.revoked.contains_key(name)
    }

    /// Takes an answer; the words say why it is to be refused. A revocation that cannot be read refuses the answer, but
    /// those beside it are heeded. Nobody is trusted again by an answer that is refused.
    ///
    /// # Errors
    /// When it would be more than a list holds; all is then as before.
    pub(super) fn take(&mut self, update: &Update) -> Result<Option<String>, TooMany> {
        let mut next = self.clone();
        let mut refused = None;
        for resource in &update.resources {
            let name = resource.name.clone();
            match RevokedWorkload::decode(&name, &resource.content) {
                Ok(one) => {
                    next.unread.remove(&name);
                    next.revoked.insert(name, one);
                }
                Err(error) => {
                    refused = Some(with_causes(&error));
                    next.unread.insert(name);
                }
            }
        }
        if refused.is_none() {
            for name in &update.removed {
                next.revoked.remove(name);
                next.unread.remove(name);
            }
        }
        let list = next.list()?;
        // An answer that is not the last of its revision says nothing of who else is revoked.
        let whole = !update.revision.is_empty() && next.unread.is_empty();
        if whole || self.knowledge.list().is_some() {
            next.knowledge = Knowledge::Known(Arc::new(list));
        }
        *self = next;
        Ok(refused)
    }

    fn list(&self) -> Result<RevocationList, TooMany> {
        RevocationList::new(self.revoked.values().map(Revocation::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::SpiffeId;
    use crate::xds::NewContent;
    use crate::xds::own::REVOKED_WORKLOAD_TYPE;

    fn revoked(name: &str) -> NewContent {
        let revoked = RevokedWorkload {
            id: SpiffeId::parse(&format!("spiffe://demo.mesh/ns/shop/sa/{name}")).unwrap(),
            serial: None,
            until: None,
            reason: "stolen".to_owned(),
            by: "uid 0".to_owned(),
        };
        let encoded = revoked.encode();
        NewContent { version: encoded.version(), name: encoded.name, content: encoded.content }
    }

    fn broken(name: &str) -> NewContent {
        NewContent { content: b"\xff".to_vec(), ..revoked(name) }
    }

    fn answer(revision: &str, resources: Vec<NewContent>, removed: &[&NewContent]) -> Update {
        Update {
            type_url: REVOKED_WORKLOAD_TYPE,
            nonce: "1".to_owned(),
            revision: revision.to_owned(),
            resources,
            removed: removed.iter().map(|one| one.name.clone()).collect(),
        }
    }

    /// How many are known to be revoked.
    fn known(told: &Told) -> Option<usize> {
        told.knowledge().list().map(|list| list.len())
    }

    #[test]
    fn nothing_is_known_before_a_whole_revision_was_told_be_it_empty() {
        let mut told = Told::nothing();
        assert_eq!(known(&told), None);
        assert_eq!(told.take(&answer("", vec![revoked("a")], &[])), Ok(None));
        assert_eq!(known(&told), None, "more of it is to come");
        assert_eq!(told.take(&answer("r", vec![revoked("b")], &[])), Ok(None));
        assert_eq!(known(&told), Some(2));
        assert_eq!(told.take(&answer("", vec![revoked("c")], &[&revoked("a")])), Ok(None));
        assert_eq!(known(&told), Some(2), "afterwards each word counts at once");
        let mut empty = Told::nothing();
        assert_eq!(empty.take(&answer("r", vec![], &[])), Ok(None));
        assert_eq!(known(&empty), Some(0));
    }

    #[test]
    fn what_cannot_be_read_leaves_it_unknown_and_takes_nothing_back() {
        let mut told = Told::nothing();
        assert!(told.take(&answer("r", vec![revoked("a"), broken("b")], &[])).unwrap().is_some());
        assert_eq!((known(&told), told.holds(&revoked("a").name)), (None, true));
        assert_eq!(told.take(&answer("s", vec![revoked("c")], &[])), Ok(None));
        assert_eq!(known(&told), None, "that one is still not read");
        let mut other = told.clone();
        assert_eq!(told.take(&answer("t", vec![revoked("b")], &[])), Ok(None));
        assert_eq!(known(&told), Some(3));
        assert_eq!(other.take(&answer("t", vec![], &[&broken("b")])), Ok(None));
        assert_eq!(known(&other), Some(2), "or it is gone");

        let spoilt = answer("u", vec![broken("d"), revoked("e")], &[&revoked("a")]);
        assert!(told.take(&spoilt).unwrap().is_some());
        assert_eq!(known(&told), Some(4), "heeded, and nobody is trusted again");
    }

    #[test]
    fn more_than_a_list_holds_changes_nothing() {
        let mut told = Told::nothing();
        let many = (0..=crate::revocation::MAX_REVOCATIONS).map(|n| revoked(&format!("w{n}")));
        assert_eq!(told.take(&answer("r", many.collect(), &[])), Err(TooMany));
        assert_eq!((known(&told), told.revoked.len()), (None, 0));
    }
}
