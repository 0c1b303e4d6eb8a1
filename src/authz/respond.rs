//! A verdict becomes a CheckResponse: an allowing one from a [`Permit`] only, a refusing one from a [`Denial`] only.

use std::borrow::Cow;

use super::gate::Judged;
use super::presentation::{bounded, plain};
use super::refusal;
use super::verdict::{Denial, Permit, Verdict};
use crate::identity::SpiffeId;
use crate::policy::UserFacts;
use crate::policy::presentation::{Named, Told};
use crate::proto::answer::{self, Answer, MetadataField};

/// Encodes the answer for Envoy. A permitted request that cannot be handed on as it must be is refused after all.
pub(super) fn answer(judged: &mut Judged<'_, '_>) -> Answer {
    let refused = match &judged.verdict {
        Verdict::Denial(denial) => return deny(judged, denial),
        Verdict::Permit(permit) => match allow(judged, permit) {
            Ok(answer) => return answer,
            Err(refused) => refused.by(permit.rule()),
        },
    };
    let answer = deny(judged, &refused);
    judged.verdict = Verdict::Denial(refused);
    answer
}

fn allow<'s>(judged: &Judged<'s, '_>, permit: &Permit<'s>) -> Result<Answer, Denial<'s>> {
    let presentation = judged.snapshot.presentation();
    let http = judged.request.as_ref().and_then(|request| request.http.as_ref());
    let mutations = presentation.mutations(http, &told(judged))?;
    let outcome = [
        ("decision", "allow"),
        ("rule", permit.rule().map(|rule| rule.as_str()).unwrap_or_default()),
    ];
    Ok(with_metadata(judged, &outcome, |metadata| answer::allow(&mutations, metadata)))
}

fn deny(judged: &Judged<'_, '_>, denial: &Denial<'_>) -> Answer {
    let outcome = [
        ("decision", "deny"),
        ("code", denial.code()),
        ("rule", denial.rule().map(|rule| rule.as_str()).unwrap_or_default()),
    ];
    with_metadata(judged, &outcome, |metadata| refusal::deny(judged, denial, metadata))
}

/// The fields by which Envoy's logs and rate limits tell requests apart, those of the policy included.
fn with_metadata<'j>(
    judged: &'j Judged<'_, '_>,
    outcome: &[MetadataField<'j>],
    encode: impl FnOnce(&[MetadataField<'_>]) -> Answer,
) -> Answer {
    let told = told(judged);
    let chosen = &judged.snapshot.policies().presentation().response.metadata;
    let texts: Vec<(&str, Cow<'_, str>)> = chosen
        .iter()
        .filter_map(|field| Some((field.name.as_str(), field_text(field, &told)?)))
        .collect();
    let mut metadata = Vec::with_capacity(7 + texts.len());
    metadata.extend_from_slice(outcome);
    metadata.extend_from_slice(&[
        ("user", told.user.map(UserFacts::subject).unwrap_or_default()),
        ("peer", told.peer.map(SpiffeId::as_str).unwrap_or_default()),
        ("revision", judged.snapshot.revision()),
        ("request_id", judged.request_id.as_str()),
    ]);
    metadata.extend(texts.iter().map(|(name, text)| (*name, text.as_ref())));
    encode(&metadata)
}

/// A field that is too long is left out: it changes neither the decision nor what the application sees.
fn field_text<'j>(field: &Named, told: &Told<'j>) -> Option<Cow<'j, str>> {
    let text = plain(field.value.write(told)?);
    bounded(&field.value, text, |text| text.len()).ok().flatten()
}

fn told<'j>(judged: &'j Judged<'_, '_>) -> Told<'j> {
    let callers = &judged.callers;
    Told { user: callers.user(), client: callers.client(), peer: callers.peer() }
}
