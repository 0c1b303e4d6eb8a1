//! What a server said.

use crate::policy::{EngineAnswer, EngineFault};
use crate::runtime::{Health, Weight};

/// What a server said of a question, or why it did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Yes.
    Yes,
    /// No.
    No,
    /// It says nothing about it.
    Undefined,
    /// It could not say.
    Failed(EngineFault),
}

impl Weight for Said {
    fn weight(&self) -> usize {
        0
    }
}

impl From<Said> for EngineAnswer {
    fn from(said: Said) -> Self {
        match said {
            Said::Yes => Self::Yes,
            Said::No => Self::No,
            Said::Undefined => Self::Undefined,
            Said::Failed(fault) => fault.into(),
        }
    }
}

/// What went wrong, and whether it says that the server is down for everybody. What may be due to the one question is no
/// sign of that: a stranger has a hand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) fault: EngineFault,
    pub(super) health: Health,
}

impl Fault {
    pub(super) fn down(fault: EngineFault) -> Self {
        Self { fault, health: Health::Down }
    }

    pub(super) fn once(fault: EngineFault) -> Self {
        Self { fault, health: Health::Up }
    }
}
