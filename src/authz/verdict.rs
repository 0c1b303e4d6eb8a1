//! The outcome of one Check. Only the gate makes one.

use std::borrow::Cow;

use crate::policy::RuleName;
use crate::proto::answer::RefusalStatus;

/// The outcome of one Check.
#[derive(Debug)]
pub enum Verdict<'s> {
    /// The request passes.
    Permit(Permit<'s>),
    /// The request is refused.
    Denial(Denial<'s>),
}

/// Proof that a rule of the snapshot admitted the request. The only thing an allowing answer is made from.
#[derive(Debug)]
pub struct Permit<'s> {
    rule: &'s RuleName,
}

/// A refusal, told twice: shortly to the client, exactly to the operator.
#[derive(Debug)]
pub struct Denial<'s> {
    code: &'static str,
    status: RefusalStatus,
    challenge: Challenge,
    rule: Option<&'s RuleName>,
    reason: Cow<'static, str>,
}

/// The `WWW-Authenticate` challenge of a refusal (RFC 6750, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Challenge {
    /// None is due.
    None,
    /// A token is missing: realm only.
    Missing,
    /// A token was sent and is no good: `error="invalid_token"`.
    Invalid,
}

impl<'s> Permit<'s> {
    /// Visible to the gate alone.
    pub(super) fn by(rule: &'s RuleName) -> Self {
        Self { rule }
    }

    /// The rule that admitted the request.
    #[must_use]
    pub fn rule(&self) -> &'s RuleName {
        self.rule
    }
}

impl<'s> Denial<'s> {
    /// `code` is stable and for the operator; `reason` is a sentence for the operator.
    pub(super) fn new(
        status: RefusalStatus,
        code: &'static str,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { code, status, challenge: Challenge::None, rule: None, reason: reason.into() }
    }

    pub(super) fn by(mut self, rule: &'s RuleName) -> Self {
        self.rule = Some(rule);
        self
    }

    pub(super) fn challenge_with(mut self, challenge: Challenge) -> Self {
        self.challenge = challenge;
        self
    }

    /// The operator's code, one of a fixed list.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The operator's sentence. Never sent to the client.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The rule that refused, where it was one.
    #[must_use]
    pub fn rule(&self) -> Option<&'s RuleName> {
        self.rule
    }

    /// What the client is told.
    #[must_use]
    pub fn status(&self) -> RefusalStatus {
        self.status
    }

    pub(super) fn challenge(&self) -> Challenge {
        self.challenge
    }
}

impl<'s> Verdict<'s> {
    /// `allow`, or the code of the denial.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Permit(_) => "allow",
            Self::Denial(denial) => denial.code,
        }
    }

    /// The rule that decided, where it was one.
    #[must_use]
    pub fn rule(&self) -> Option<&'s RuleName> {
        match self {
            Self::Permit(permit) => Some(permit.rule),
            Self::Denial(denial) => denial.rule,
        }
    }
}
