//! How strongly and how recently the user must have signed in (RFC 9470).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::raw::RawStepUp;
use crate::policy::facts::UserFacts;
use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::provider::duration;
use crate::policy::resource::{Checked, check_list, check_text};
use crate::policy::users::whole;

const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(366 * 24 * 3600);

/// What the sign-in must have been. A user of whom it is not known has to sign in again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepUp {
    /// One of these methods must be in the claim `amr` (RFC 8176).
    pub amr: Option<Vec<String>>,
    /// The claim `acr` must be one of these.
    pub acr: Option<Vec<String>>,
    /// The claim `auth_time` must not be longer ago.
    pub max_age: Option<Duration>,
}

impl StepUp {
    pub(super) fn check(raw: RawStepUp, at: &FieldPath) -> Checked<Self> {
        let RawStepUp { amr, acr, max_age } = raw;
        if amr.is_none() && acr.is_none() && max_age.is_none() {
            return Err(Problem::new(at.clone(), "says nothing")
                .hint("write `amr`, `acr` or `maxAge`, or leave it out"));
        }
        let texts = |list: Option<Vec<String>>, field: &str| {
            let at = at.field(field);
            list.map(|list| {
                let members = check_list(list, &at)?.into_iter().enumerate();
                members.map(|(place, text)| check_value(text, at.item(place))).collect()
            })
            .transpose()
        };
        Ok(Self {
            amr: texts(amr, "amr")?,
            acr: texts(acr, "acr")?,
            max_age: max_age
                .map(|text| duration(&text, &at.field("maxAge"), (LEAST, MOST)))
                .transpose()?,
        })
    }

    /// True when the user signed in so.
    pub(in crate::policy) fn is_met(&self, user: Option<&UserFacts>, now: SystemTime) -> bool {
        let Some(user) = user else { return false };
        let claims = user.claims();
        let has = |wanted: &Option<Vec<String>>, claim: &str| match (wanted, claims.get(claim)) {
            (None, _) => true,
            (Some(wanted), Some(Value::String(held))) => wanted.contains(held),
            (Some(wanted), Some(Value::Array(held))) => {
                held.iter().any(|held| wanted.iter().any(|name| held.as_str() == Some(name)))
            }
            (Some(_), _) => false,
        };
        has(&self.amr, "amr")
            && has(&self.acr, "acr")
            && self.max_age.is_none_or(|most| {
                signed_in(claims.get("auth_time")).is_some_and(|when| is_recent(when, now, most))
            })
    }
}

fn signed_in(claim: Option<&Value>) -> Option<SystemTime> {
    let Value::Number(seconds) = claim? else { return None };
    let seconds = u64::try_from(whole(seconds)?).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// A sign-in of the future is one of a clock that runs ahead: as far as that is believable, it is recent.
fn is_recent(when: SystemTime, now: SystemTime, most: Duration) -> bool {
    const AHEAD: Duration = Duration::from_secs(60);
    match now.duration_since(when) {
        Ok(age) => age <= most,
        Err(ahead) => ahead.duration() <= AHEAD,
    }
}

/// What is sent in a challenge: printable, without blanks and quotes, which would end it.
fn check_value(text: String, at: FieldPath) -> Checked<String> {
    let text = check_text(text, at.clone())?;
    if text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
        return Ok(text);
    }
    Err(Problem::new(at, format!("`{text}` has a blank, a quote or a letter outside ASCII in it")))
}
