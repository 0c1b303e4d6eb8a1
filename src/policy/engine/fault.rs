//! Why an engine has no answer.

use super::super::facts::EngineAnswer;

/// Why an engine has no answer. Holds nothing of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EngineFault {
    /// It took longer than the request may wait.
    #[error("its server did not answer in time")]
    Timeout,
    /// Too many questions are out.
    #[error("too many questions to servers are out")]
    Overloaded,
    /// The server failed again and again and is left alone for a while.
    #[error("its server failed again and again and is not asked for a while")]
    Resting,
    /// No answer came.
    #[error("its server was not reached")]
    Unreachable,
    /// The server refuses us, not the request.
    #[error("its server refuses our own credentials")]
    RefusesUs,
    /// The server answered with a status that means nothing.
    #[error("its server answered with an unexpected status")]
    Status,
    /// The answer cannot be read, or does not say what it must.
    #[error("its answer cannot be used")]
    Unusable,
    /// The request was refused before it was asked.
    #[error("it was not asked")]
    NotAsked,
    /// It took longer than `timeLimit`.
    #[error("it took longer than it may")]
    TimeLimit,
    /// It cannot be evaluated for this request.
    #[error("it cannot be evaluated for this request")]
    Evaluation,
    /// It failed in a way it should not.
    #[error("it panicked")]
    Panicked,
    /// The user has a name that must not be sent.
    #[error("the user or a group has a name that could stand for somebody else there")]
    UnsafeName,
    /// The path names an object that must not be sent.
    #[error("the path names an object that could stand for several there")]
    UnsafeObject,
    /// The groups of the user are not known.
    #[error("the provider does not say in which groups the user is")]
    GroupsUnknown,
}

impl EngineFault {
    /// A stable name, for logs and metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Timeout => "engine_timeout",
            Self::Overloaded => "engine_overloaded",
            Self::Resting => "engine_resting",
            Self::Unreachable => "engine_unreachable",
            Self::RefusesUs => "engine_refuses_us",
            Self::Status => "engine_status",
            Self::Unusable => "engine_answer_unusable",
            Self::NotAsked => "engine_not_asked",
            Self::TimeLimit => "engine_time_limit",
            Self::Evaluation => "engine_evaluation",
            Self::Panicked => "engine_panicked",
            Self::UnsafeName => "engine_unsafe_name",
            Self::UnsafeObject => "engine_unsafe_object",
            Self::GroupsUnknown => "engine_groups_unknown",
        }
    }
}

impl From<EngineFault> for EngineAnswer {
    fn from(fault: EngineFault) -> Self {
        Self::Failed(fault.to_string().into())
    }
}
