//! On which side of the original a translation must stay.

/// On which side of the original set of requests the translated one may differ from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// It may leave some out: an allow.
    Inside,
    /// It may take in more: a deny.
    Around,
}

/// How a translation differs from its original.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Difference {
    /// It has no translation.
    LeftOut,
    /// It admits less.
    AdmitsLess,
    /// It refuses more.
    RefusesMore,
    /// It is said in another place here.
    Elsewhere,
}

impl Bound {
    /// The side for what stands under a *not*.
    pub(super) fn negated(self) -> Self {
        match self {
            Self::Inside => Self::Around,
            Self::Around => Self::Inside,
        }
    }
}

impl Difference {
    /// A fixed word.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::LeftOut => "left_out",
            Self::AdmitsLess => "admits_less",
            Self::RefusesMore => "refuses_more",
            Self::Elsewhere => "elsewhere",
        }
    }

    /// The same for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::LeftOut => "left out",
            Self::AdmitsLess => "admits less",
            Self::RefusesMore => "refuses more",
            Self::Elsewhere => "said elsewhere",
        }
    }
}
