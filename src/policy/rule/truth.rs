//! Three-valued logic: what a part of a rule says of a request may be unknown, and unknown is neither yes nor no.

use crate::policy::decide::{Difference, UndecidableReason};

/// What one part of a rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) enum Truth {
    /// It matches.
    Holds,
    /// It does not.
    Fails(Difference),
    /// It cannot be told.
    Unknown(UndecidableReason),
}

impl Truth {
    pub(in crate::policy) fn of(holds: bool, otherwise: Difference) -> Self {
        if holds { Self::Holds } else { Self::Fails(otherwise) }
    }

    /// Both: what fails wins over what is unknown.
    pub(in crate::policy) fn and(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Holds => other(),
            Self::Fails(_) => self,
            Self::Unknown(_) => match other() {
                fails @ Self::Fails(_) => fails,
                Self::Holds | Self::Unknown(_) => self,
            },
        }
    }

    /// One of them: what holds wins over what is unknown. Of failures the last is told.
    pub(in crate::policy) fn any(truths: impl IntoIterator<Item = Self>, none: Difference) -> Self {
        let mut outcome = Self::Fails(none);
        for truth in truths {
            match (truth, &outcome) {
                (Self::Holds, _) => return Self::Holds,
                (unknown @ Self::Unknown(_), Self::Fails(_)) => outcome = unknown,
                (fails @ Self::Fails(_), Self::Fails(_)) => outcome = fails,
                (_, Self::Holds | Self::Unknown(_)) => {}
            }
        }
        outcome
    }

    /// The contrary, which fails with `difference`.
    pub(in crate::policy) fn not(self, difference: Difference) -> Self {
        match self {
            Self::Holds => Self::Fails(difference),
            Self::Fails(_) => Self::Holds,
            Self::Unknown(_) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails() -> Truth {
        Truth::Fails(Difference::Host)
    }

    fn unknown() -> Truth {
        Truth::Unknown(UndecidableReason::NoPort)
    }

    #[test]
    fn what_is_unknown_matters_only_where_it_could_change_the_outcome() {
        assert_eq!(Truth::Holds.and(|| Truth::Holds), Truth::Holds);
        assert_eq!(unknown().and(fails), fails());
        assert_eq!(fails().and(unknown), fails());
        assert_eq!(unknown().and(|| Truth::Holds), unknown());
        let any = |truths: Vec<Truth>| Truth::any(truths, Difference::Port);
        assert_eq!(any(vec![unknown(), Truth::Holds]), Truth::Holds);
        assert_eq!(any(vec![fails(), unknown(), fails()]), unknown());
        assert_eq!(any(vec![]), Truth::Fails(Difference::Port));
        assert_eq!(unknown().not(Difference::Port), unknown());
        assert_eq!(fails().not(Difference::Port), Truth::Holds);
        assert_eq!(Truth::Holds.not(Difference::Port), Truth::Fails(Difference::Port));
    }
}
