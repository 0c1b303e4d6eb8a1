//! Who may have the workload's identity.

use std::collections::BTreeSet;
use std::io;

use super::config::CallerUsers;
use crate::runtime::PeerUser;

/// What the kernel shows for a user or group that has no number in this user namespace (`overflowuid`). It stands for
/// anybody, so nobody is admitted by it.
const OVERFLOW: u32 = 65_534;

/// The users and groups that are admitted.
#[derive(Debug, Clone)]
pub struct Callers {
    uids: BTreeSet<u32>,
    gids: BTreeSet<u32>,
}

/// Proof that a connection is one of the workload's. Made by [`Callers::admit`] only.
#[derive(Debug, Clone, Copy)]
pub(super) struct Permitted(());

/// Nobody, or anybody, would be admitted.
#[derive(Debug, thiserror::Error)]
pub enum InvalidCallers {
    /// Both lists are empty.
    #[error(
        "list at least one of `uids` and `gids`, or leave `callers` out for the sidecar's own user"
    )]
    Nobody,
    /// The number stands for users and groups that have none.
    #[error(
        "{OVERFLOW} cannot be listed: the kernel shows it for every user and group without a number here"
    )]
    Overflow,
    /// The system does not tell which user this process runs as.
    #[error("cannot tell the user of this process")]
    OwnUser(#[source] io::Error),
}

impl Callers {
    /// Exactly these.
    ///
    /// # Errors
    /// When the lists admit nobody, or anybody.
    pub fn listed(users: &CallerUsers) -> Result<Self, InvalidCallers> {
        let CallerUsers { uids, gids } = users;
        if uids.is_empty() && gids.is_empty() {
            return Err(InvalidCallers::Nobody);
        }
        if uids.iter().chain(gids).any(|number| *number == OVERFLOW) {
            return Err(InvalidCallers::Overflow);
        }
        Ok(Self { uids: uids.iter().copied().collect(), gids: gids.iter().copied().collect() })
    }

    /// The user that this process runs as, and no group.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn own_user() -> Result<Self, InvalidCallers> {
        let own = PeerUser::own().map_err(InvalidCallers::OwnUser)?;
        Ok(Self { uids: [own.uid].into(), gids: BTreeSet::new() })
    }

    pub(super) fn admit(&self, caller: PeerUser) -> Option<Permitted> {
        let listed = self.uids.contains(&caller.uid) || self.gids.contains(&caller.gid);
        listed.then_some(Permitted(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(uids: &[u32], gids: &[u32]) -> Result<Callers, InvalidCallers> {
        Callers::listed(&CallerUsers { uids: uids.to_vec(), gids: gids.to_vec() })
    }

    #[test]
    fn those_who_are_listed_are_admitted_and_nobody_else_root_included() {
        let callers = listed(&[1000], &[2000]).unwrap();
        let admitted = |uid, gid| callers.admit(PeerUser { uid, gid }).is_some();
        assert!(admitted(1000, 1) && admitted(1, 2000) && admitted(1000, 2000));
        for (uid, gid) in [(0, 0), (2000, 1000), (999, 1999), (OVERFLOW, OVERFLOW)] {
            assert!(!admitted(uid, gid), "{uid} {gid}");
        }
    }

    #[test]
    fn lists_that_admit_nobody_or_anybody_are_refused() {
        assert!(matches!(listed(&[], &[]), Err(InvalidCallers::Nobody)));
        assert!(matches!(listed(&[OVERFLOW], &[]), Err(InvalidCallers::Overflow)));
        assert!(matches!(listed(&[1000], &[OVERFLOW]), Err(InvalidCallers::Overflow)));
    }

    #[tokio::test]
    async fn by_default_it_is_the_sidecar_s_own_user() {
        let callers = Callers::own_user().unwrap();
        let own = PeerUser::own().unwrap();
        assert!(callers.admit(own).is_some());
        assert!(callers.admit(PeerUser { uid: own.uid + 1, gid: own.gid }).is_none());
    }
}
