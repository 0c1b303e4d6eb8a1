//! Who calls in a case.

use serde_json::Value;

use super::raw::{RawBoundBy, RawGroups, RawUser};
use super::time;
use crate::identity::SpiffeId;
use crate::policy::facts::{Confirmation, Groups, UserParts};
use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::resource::Checked;
use crate::policy::set::Workload;

/// What a suite says of a user.
pub(super) fn check_user(raw: RawUser, at: &FieldPath) -> Checked<UserParts> {
    let RawUser {
        provider,
        sub,
        roles,
        scopes,
        groups,
        tenant,
        email,
        bound_by,
        auth_time,
        acr,
        amr,
        mut claims,
    } = raw;
    let auth_time =
        auth_time.map(|time| time::seconds(&time, &at.field("authTime"))).transpose()?;
    let told = [
        ("authTime", "auth_time", auth_time.map(Value::from)),
        ("acr", "acr", acr.map(Value::from)),
        ("amr", "amr", amr.map(Value::from)),
    ];
    for (field, claim, value) in told {
        let Some(value) = value else { continue };
        if claims.contains_key(claim) {
            let message = format!("the claim `{claim}` is written in `claims` too");
            return Err(Problem::new(at.field(field), message));
        }
        claims.insert(claim.to_owned(), value);
    }
    Ok(UserParts {
        roles,
        scopes,
        groups: match groups {
            None => Groups::Known(Vec::new()),
            Some(RawGroups::Known(groups)) => Groups::Known(groups),
            Some(RawGroups::Unknown) => Groups::Unknown,
        },
        tenant,
        email,
        confirmation: bound_by.map(|way| match way {
            RawBoundBy::Dpop => Confirmation::Dpop,
            RawBoundBy::Certificate => Confirmation::Certificate,
        }),
        claims,
        ..UserParts::of(provider.as_deref().unwrap_or_default(), &sub)
    })
}

/// A SPIFFE ID, or `ns/<namespace>/sa/<account>` of the workload's own trust domain.
pub(super) fn check_peer(text: &str, workload: &Workload, at: FieldPath) -> Checked<SpiffeId> {
    let hint = "write ns/<namespace>/sa/<service account>, a SPIFFE ID, or `none`";
    let whole = if text.starts_with("spiffe://") {
        text.to_owned()
    } else if text.starts_with("ns/") {
        format!("spiffe://{}/{text}", workload.trust_domain)
    } else {
        return Err(Problem::new(at, format!("`{text}` is no peer")).hint(hint));
    };
    SpiffeId::parse(&whole)
        .map_err(|error| Problem::new(at, format!("`{text}` is no peer: it {error}")).hint(hint))
}
