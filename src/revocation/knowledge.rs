//! What is known of who is revoked. That nothing is known is not that nobody is.

use std::sync::Arc;
use std::time::SystemTime;

use super::{Certificate, Revocation, RevocationList};
use crate::identity::Members;

/// What is known of who is revoked. Whoever decides by it must say what it does while nothing is known.
#[derive(Debug, Clone)]
pub enum Knowledge {
    /// Whoever tells has not told yet: anybody may be revoked.
    Unknown,
    /// This list. It is empty where nobody is revoked, and where nobody tells.
    Known(Arc<RevocationList>),
}

/// What is found of one workload.
#[derive(Debug, Clone, Copy)]
pub enum Finding<'a> {
    /// Nobody can say.
    Unknown,
    /// It is refused, for this.
    Revoked(&'a Arc<Revocation>),
    /// It is not revoked.
    NotRevoked,
}

impl Knowledge {
    /// Where nobody tells, nobody is revoked.
    #[must_use]
    pub fn nobody_tells() -> Self {
        Self::Known(Arc::default())
    }

    /// The list, if it is known.
    #[must_use]
    pub fn list(&self) -> Option<&Arc<RevocationList>> {
        match self {
            Self::Unknown => None,
            Self::Known(list) => Some(list),
        }
    }

    /// As [`RevocationList::find`].
    #[must_use]
    pub fn find(
        &self,
        id: &str,
        certificate: Certificate<'_>,
        members: Members<'_>,
        now: SystemTime,
    ) -> Finding<'_> {
        match self {
            Self::Unknown => Finding::Unknown,
            Self::Known(list) => match list.find(id, certificate, members, now) {
                Some(revocation) => Finding::Revoked(revocation),
                None => Finding::NotRevoked,
            },
        }
    }

    /// True if it is the same: both unknown, or one list.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unknown, Self::Unknown) => true,
            (Self::Known(one), Self::Known(two)) => Arc::ptr_eq(one, two),
            (Self::Unknown, Self::Known(_)) | (Self::Known(_), Self::Unknown) => false,
        }
    }
}

impl<'a> Finding<'a> {
    /// Why it is refused, if that is known.
    #[must_use]
    pub fn revocation(self) -> Option<&'a Arc<Revocation>> {
        match self {
            Self::Revoked(revocation) => Some(revocation),
            Self::Unknown | Self::NotRevoked => None,
        }
    }

    /// True only where it is known that it is not revoked.
    #[must_use]
    pub fn is_clear(self) -> bool {
        matches!(self, Self::NotRevoked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::TrustDomain;

    #[test]
    fn what_is_not_known_is_not_clear() {
        let domain = TrustDomain::parse("demo.mesh").unwrap();
        let find = |knowledge: &Knowledge| {
            let id = "spiffe://demo.mesh/ns/shop/sa/orders";
            let found = knowledge.find(
                id,
                Certificate::Unneeded,
                Members::of(&domain),
                SystemTime::UNIX_EPOCH,
            );
            (found.is_clear(), found.revocation().is_some())
        };
        assert_eq!(find(&Knowledge::Unknown), (false, false));
        assert_eq!(find(&Knowledge::nobody_tells()), (true, false));
        assert!(!Knowledge::Unknown.is_same(&Knowledge::nobody_tells()));
        assert!(Knowledge::Unknown.list().is_none());
    }
}
