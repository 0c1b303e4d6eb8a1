//! Who is at the other end of the operator's socket, as the kernel recorded it when they connected.

use std::io;

use crate::revocation::{InvalidWords, Words};
use crate::runtime::{Connection, PeerUser};

/// A user of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::control) struct Caller {
    /// The effective user.
    pub(in crate::control) uid: u32,
}

impl Caller {
    /// Nobody where it is no unix socket, or the system cannot say.
    pub(super) fn of(connection: &Connection) -> Option<Self> {
        connection.peer_user().ok().flatten().map(|PeerUser { uid, gid: _ }| Self { uid })
    }

    /// The user of this process.
    pub(super) fn own() -> io::Result<Self> {
        PeerUser::own().map(|PeerUser { uid, gid: _ }| Self { uid })
    }

    /// Root, or whoever runs this process: both could read its keys as well.
    pub(super) fn is_operator(self, own: Self) -> bool {
        self.uid == 0 || self == own
    }

    /// As an author.
    pub(super) fn words(self) -> Result<Words, InvalidWords> {
        Words::parse(&format!("uid {}", self.uid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_own_user_are_operators() {
        let [root, own, other] = [0, 1000, 1001].map(|uid| Caller { uid });
        assert!(root.is_operator(own) && own.is_operator(own) && !other.is_operator(own));
        assert!(!own.is_operator(root));
        assert_eq!(own.words().unwrap().as_str(), "uid 1000");
    }
}
