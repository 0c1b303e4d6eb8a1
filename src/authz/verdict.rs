//! The outcome of one Check. Only the gate makes one.

use std::borrow::Cow;
use std::time::Duration;

use super::challenge::Challenge;
use super::code::Code;
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

/// Proof that the rules of the snapshot let the request pass. The only thing an allowing answer is made from.
#[derive(Debug)]
pub struct Permit<'s> {
    rule: Option<&'s RuleName>,
}

/// A refusal, told twice: shortly to the client, exactly to the operator.
#[derive(Debug)]
pub struct Denial<'s> {
    code: &'static Code,
    challenge: Challenge,
    rule: Option<&'s RuleName>,
    reason: Cow<'static, str>,
    /// Under whose rules a credential was refused, or the workload that is revoked: the code says which.
    about: Option<Box<str>>,
    /// What to do about it.
    hint: Option<&'static str>,
    /// When it makes sense to try again.
    retry_after: Option<Duration>,
}

impl<'s> Permit<'s> {
    /// Visible to the gate alone.
    pub(super) fn by(rule: &'s RuleName) -> Self {
        Self { rule: Some(rule) }
    }

    /// Nobody guards the workload. Visible to the gate alone.
    pub(super) fn unguarded() -> Self {
        Self { rule: None }
    }

    /// The rule that admitted the request; nothing where nobody guards the workload.
    #[must_use]
    pub fn rule(&self) -> Option<&'s RuleName> {
        self.rule
    }
}

impl<'s> Denial<'s> {
    /// `code` is one of [`super::CODES`], which has its status too; `reason` is a sentence for the operator.
    pub(super) fn new(code: &str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: Code::named(code),
            challenge: Challenge::None,
            rule: None,
            reason: reason.into(),
            about: None,
            hint: None,
            retry_after: None,
        }
    }

    /// Refused because the peer, or whoever speaks for it, is this revoked workload.
    pub(super) fn peer_revoked(id: &str, reason: String) -> Self {
        Self { about: Some(id.into()), ..Self::new("peer_revoked", reason) }
    }

    /// Refused because the workload that is guarded is revoked.
    pub(super) fn workload_revoked(id: &str, reason: String) -> Self {
        Self { about: Some(id.into()), ..Self::new("workload_revoked", reason) }
    }

    pub(super) fn by(mut self, rule: impl Into<Option<&'s RuleName>>) -> Self {
        self.rule = rule.into();
        self
    }

    pub(super) fn challenge_with(mut self, challenge: Challenge) -> Self {
        self.challenge = challenge;
        self
    }

    /// A credential was refused under the rules of this provider, which is not to say that it is from it.
    pub(super) fn under(mut self, provider: Option<&str>) -> Self {
        self.about = provider.map(Into::into);
        self
    }

    pub(super) fn hint_at(mut self, hint: Option<&'static str>) -> Self {
        self.hint = hint;
        self
    }

    /// The operator's code, one of [`super::CODES`].
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code.name
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

    /// The provider under whose rules a credential was refused, where it was one. It is not proven to be from it.
    #[must_use]
    pub fn provider(&self) -> Option<&str> {
        self.about.as_deref().filter(|_| !self.is_revocation())
    }

    /// What the operator could do about it, where there is a next step.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        self.hint
    }

    /// The workload that is revoked, where that is why.
    #[must_use]
    pub fn revoked_workload(&self) -> Option<&str> {
        self.about.as_deref().filter(|_| self.is_revocation())
    }

    fn is_revocation(&self) -> bool {
        matches!(self.code.name, "peer_revoked" | "workload_revoked")
    }

    /// What the client is told.
    #[must_use]
    pub fn status(&self) -> RefusalStatus {
        self.code.status
    }

    pub(super) fn challenge(&self) -> &Challenge {
        &self.challenge
    }

    pub(super) fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }

    /// Whole seconds until it makes sense to try again, rounded up.
    pub(super) fn retry_seconds(&self) -> Option<u64> {
        let pause = self.retry_after?;
        Some(pause.as_secs().saturating_add(u64::from(pause.subsec_nanos() > 0)).max(1))
    }
}

impl<'s> Verdict<'s> {
    /// `allow`, or the code of the denial.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Permit(_) => "allow",
            Self::Denial(denial) => denial.code(),
        }
    }

    /// The rule that decided, where it was one.
    #[must_use]
    pub fn rule(&self) -> Option<&'s RuleName> {
        match self {
            Self::Permit(permit) => permit.rule,
            Self::Denial(denial) => denial.rule,
        }
    }
}
