//! What claims must say, whether a signature or a server vouches for them.

use std::time::Duration;

use super::claims::ClaimTest;
use super::raw::{RawAudienceCheck, RawIdentityProvider};
use super::value::{duration, duration_or};
use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::resource::{Checked, check_list, check_text};

const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);
const MAX_LEEWAY: Duration = Duration::from_secs(5 * 60);
const AGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(366 * 24 * 60 * 60));

/// What claims must say to count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRules {
    /// Whom the credential must be made for.
    pub audience: Audience,
    /// How far the provider's clock may differ from ours.
    pub leeway: Duration,
    /// The longest time since `iat`, which must be there then.
    pub max_age: Option<Duration>,
    /// Each must hold.
    pub require: Vec<ClaimTest>,
    /// None may hold.
    pub refuse: Vec<ClaimTest>,
}

/// Whom a credential must be made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// One of the audiences must stand in one of the claims. Neither list is empty.
    AnyOf {
        /// The audiences.
        audiences: Vec<String>,
        /// Names of the claims in which they may stand.
        claims: Vec<String>,
    },
    /// Not looked at: what was made for any other service passes too.
    Unchecked,
}

/// Whether an audience must be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vouched {
    /// A signature vouches: anyone who holds a token of the issuer could show it here.
    BySignature,
    /// A server that we ask vouches, and it may look at the audience itself.
    ByServer,
    /// The proof is ours alone: no claims are judged.
    Here,
}

impl ClaimRules {
    /// For one of these audiences in `aud`, with 30 seconds of leeway.
    #[must_use]
    pub fn for_audiences(audiences: Vec<String>) -> Self {
        Self {
            audience: Audience::AnyOf { audiences, claims: vec!["aud".to_owned()] },
            ..Self::unchecked()
        }
    }

    /// No demands but those of time.
    pub(super) fn unchecked() -> Self {
        Self {
            audience: Audience::Unchecked,
            leeway: DEFAULT_LEEWAY,
            max_age: None,
            require: Vec::new(),
            refuse: Vec::new(),
        }
    }

    pub(super) fn check(
        raw: &mut RawIdentityProvider,
        vouched: Vouched,
        at: &FieldPath,
    ) -> Checked<Self> {
        if vouched == Vouched::Here {
            return refuse_demands(raw, at).map(|()| Self::unchecked());
        }
        let leeway = duration_or(
            raw.leeway.take(),
            &at.field("leeway"),
            (Duration::ZERO, MAX_LEEWAY),
            DEFAULT_LEEWAY,
        )?;
        let max_age = raw.max_age.take();
        let max_age = max_age.map(|text| duration(&text, &at.field("maxAge"), AGE)).transpose()?;
        Ok(Self {
            audience: Audience::check(raw, vouched, at)?,
            leeway,
            max_age,
            require: ClaimTest::check_all(raw.require.take(), &at.field("require"))?,
            refuse: ClaimTest::check_all(raw.refuse.take(), &at.field("refuse"))?,
        })
    }
}

impl Audience {
    fn check(raw: &mut RawIdentityProvider, vouched: Vouched, at: &FieldPath) -> Checked<Self> {
        let check = raw.audience_check.take();
        let (audiences, claims) = (raw.audiences.take(), raw.audience_claims.take());
        match (check, audiences, vouched) {
            (Some(RawAudienceCheck::Off), Some(_), _) => {
                let message =
                    "says whom tokens are for, while `audienceCheck: Off` says that any will do";
                Err(Problem::new(at.field("audiences"), message).hint("leave one of them out"))
            }
            (Some(RawAudienceCheck::Off), None, _)
            | (None, None, Vouched::ByServer | Vouched::Here) => Ok(Self::Unchecked),
            (Some(RawAudienceCheck::Required), None, _) | (None, None, Vouched::BySignature) => {
                Err(Problem::new(at.clone(), "the field `audiences` is missing").hint(
                    "whom must a token be made for? Without it a token for any other service would pass here",
                ))
            }
            (Some(RawAudienceCheck::Required) | None, Some(list), _) => Ok(Self::AnyOf {
                audiences: texts(list, &at.field("audiences"))?,
                claims: match claims {
                    Some(list) => texts(list, &at.field("audienceClaims"))?,
                    None => vec!["aud".to_owned()],
                },
            }),
        }
    }
}

fn texts(list: Vec<String>, at: &FieldPath) -> Checked<Vec<String>> {
    check_list(list, at)?
        .into_iter()
        .enumerate()
        .map(|(place, text)| check_text(text, at.item(place)))
        .collect()
}

/// Where no claims are judged, demands on them would say nothing.
fn refuse_demands(raw: &RawIdentityProvider, at: &FieldPath) -> Checked<()> {
    let written = [
        ("audiences", raw.audiences.is_some()),
        ("audienceClaims", raw.audience_claims.is_some()),
        ("audienceCheck", raw.audience_check.is_some()),
        ("leeway", raw.leeway.is_some()),
        ("maxAge", raw.max_age.is_some()),
        ("require", raw.require.is_some()),
        ("refuse", raw.refuse.is_some()),
    ];
    match written.iter().find(|(_, there)| *there) {
        Some((field, _)) => {
            Err(Problem::new(at.field(field), "is for tokens, and this credential is none"))
        }
        None => Ok(()),
    }
}
