//! What refuses, told as a denial: code, challenge and sentence.

use super::challenge::Challenge;
use super::request::Malformed;
use super::verdict::{Denial, Permit, Verdict};
use crate::authn::{Blame, ConfirmationFault, Unauthenticated};
use crate::policy::{Decision, RuleName, UndecidableReason, UserFacts};

/// What would have come of a request if the policies in audit were enforced.
#[derive(Debug)]
pub(super) struct Audited<'s> {
    /// `allow`, or the code of the denial.
    pub(super) code: &'static str,
    /// The rule that would have decided, where it is one.
    pub(super) rule: Option<&'s RuleName>,
}

impl<'s> Audited<'s> {
    pub(super) fn of(decision: Decision<'s>, user: Option<&UserFacts>) -> Self {
        let verdict = verdict(decision, user);
        Self { code: verdict.code(), rule: verdict.rule() }
    }
}

/// What a decision of the rules means for the request.
pub(super) fn verdict<'s>(decision: Decision<'s>, user: Option<&UserFacts>) -> Verdict<'s> {
    match decision {
        Decision::Allow(rule) => Verdict::Permit(Permit::by(rule)),
        Decision::Unguarded => Verdict::Permit(Permit::unguarded()),
        Decision::Deny(rule) => {
            Verdict::Denial(Denial::new("denied_by_rule", "a deny rule matches").by(rule))
        }
        Decision::StepUp(rule, asked) => Verdict::Denial(
            Denial::new("step_up_required", "the rule asks for a stronger or more recent sign-in")
                .by(rule)
                .challenge_with(match user {
                    Some(_) => {
                        Challenge::step_up(asked.acr.as_deref().unwrap_or_default(), asked.max_age)
                    }
                    // Whoever is not signed in at all begins there.
                    None => Challenge::Missing,
                }),
        ),
        Decision::AskFirst(engines) => Verdict::Denial(Denial::new(
            "engine_unavailable",
            format!("not asked in time: {}", engines.join(", ")),
        )),
        Decision::Undecidable(rule, reason @ UndecidableReason::EngineFailed { .. }) => {
            Verdict::Denial(Denial::new("engine_unavailable", reason.to_string()).by(rule))
        }
        // With a user the condition might have had an answer.
        Decision::Undecidable(rule, reason @ UndecidableReason::NoUser) => Verdict::Denial(
            Denial::new("rule_undecidable_anonymous", reason.to_string())
                .by(rule)
                .challenge_with(Challenge::Missing),
        ),
        Decision::Undecidable(rule, reason) => {
            Verdict::Denial(Denial::new("rule_undecidable", reason.to_string()).by(rule))
        }
        Decision::NothingAllowsAnonymous => Verdict::Denial(
            Denial::new(
                "no_rule_allows_anonymous",
                "no rule allows this request without a user; one for this peer asks for a user",
            )
            .challenge_with(Challenge::Missing),
        ),
        Decision::NothingAllows => Verdict::Denial(Denial::new(
            "no_rule_allows",
            "no rule allows this request for this peer and user",
        )),
    }
}

/// A request that cannot be judged.
pub(super) fn unreadable(malformed: Malformed) -> Denial<'static> {
    Denial::new(malformed.code(), malformed.to_string())
}

/// Evidence that proves nothing.
pub(super) fn unauthenticated(refused: &Unauthenticated) -> Denial<'static> {
    let denial = Denial::new(refused.code(), refused.to_string())
        .under(refused.provider())
        .hint_at(refused.hint());
    match refused.blame() {
        Blame::Peer | Blame::Ours => denial,
        Blame::TooMany(pause) => denial.retry_after(pause),
        Blame::Credential => denial.challenge_with(challenge(refused)),
    }
}

/// A permitted request from which something must be taken that cannot be taken: what is left holds characters that may
/// not stand there.
pub(super) fn not_rewritable(name: &str) -> Denial<'static> {
    let reason = format!("what is left of {name} holds characters that may not stand there");
    Denial::new("request_not_rewritable", reason)
}

/// A permitted request whose application must be told something that is longer than it may be.
pub(super) fn identity_too_long(name: &str) -> Denial<'static> {
    let reason = format!("what {name} tells of the caller is longer than its maxBytes");
    Denial::new("identity_too_long", reason).hint_at(Some("`tooLong: Drop` leaves it out"))
}

fn challenge(refused: &Unauthenticated) -> Challenge {
    let Unauthenticated::Confirmation { fault, provider: _ } = refused else {
        return Challenge::Invalid;
    };
    match fault {
        ConfirmationFault::Dpop(refused) => match refused.fresh_nonce() {
            Some(nonce) => Challenge::Nonce(nonce.to_owned()),
            None => Challenge::Proof,
        },
        ConfirmationFault::Scheme => Challenge::Scheme,
        ConfirmationFault::Demanded
        | ConfirmationFault::NotBound
        | ConfirmationFault::CertificateMissing
        | ConfirmationFault::CertificateMismatch => Challenge::Invalid,
    }
}
