//! What a rule asks of users and clients, and whether a verified one has it.

use std::collections::BTreeMap;

use serde_json::{Number, Value};

use super::access::{ClaimValue, UserPattern, Users};
use super::condition::ImpliedRoles;
use super::decide::{Difference, Mismatch, UndecidableReason, Unmet};
use super::facts::{Confirmation, Groups, UserFacts};
use super::field::FieldPath;
use super::problem::Problem;
use super::resource::{Checked, check_list, check_text};
use super::rule::{RawAnonymous, RawConfirmed, RawUsers, Truth};

impl UserPattern {
    /// Reads what a rule asks of users or clients.
    pub(super) fn check(raw: RawUsers, at: &FieldPath) -> Checked<Self> {
        let Some(RawAnonymous::Only) = raw.anonymous else {
            return Users::check(raw, at).map(|users| Self::Verified(Box::new(users)));
        };
        let others = RawUsers { anonymous: None, ..raw };
        if others.is_empty() {
            return Ok(Self::Anonymous);
        }
        Err(Problem::new(at.field("anonymous"), "stands beside fields that ask for somebody")
            .hint("write two rules, one for those who are not signed in"))
    }

    /// Whether somebody, or nobody, is all of this; if not, what is missing goes through `differs`.
    pub(super) fn matches(
        &self,
        held: Option<&UserFacts>,
        differs: fn(Mismatch) -> Difference,
    ) -> Truth {
        match (self, held) {
            (Self::Anonymous, None) => Truth::Holds,
            (Self::Anonymous, Some(_)) => Truth::Fails(differs(Mismatch::SignedIn)),
            (Self::Verified(_), None) => Truth::Fails(differs(Mismatch::NoUser)),
            (Self::Verified(users), Some(held)) => match users.check_user(held) {
                Ok(()) => Truth::Holds,
                Err(Unmet::Lacks(mismatch)) => Truth::Fails(differs(mismatch)),
                Err(Unmet::GroupsUnknown) => Truth::Unknown(UndecidableReason::GroupsUnknown),
            },
        }
    }

    /// The same, with every role that implies one of those it asks for beside them.
    pub(super) fn with_roles(&self, implied: &ImpliedRoles) -> Self {
        match self {
            Self::Anonymous => Self::Anonymous,
            Self::Verified(users) => Self::Verified(Box::new(Users {
                roles: users.roles.as_ref().map(|wanted| granting(wanted, implied)),
                ..(**users).clone()
            })),
        }
    }
}

/// Each role that is wanted and each that implies one of them, once.
fn granting(wanted: &[String], implied: &ImpliedRoles) -> Vec<String> {
    let mut roles: Vec<String> = Vec::with_capacity(wanted.len());
    for role in wanted.iter().flat_map(|role| implied.granting(role)) {
        if !roles.iter().any(|known| known == role) {
            roles.push(role.to_owned());
        }
    }
    roles
}

impl RawUsers {
    fn is_empty(&self) -> bool {
        let Self {
            anonymous,
            providers,
            subjects,
            roles,
            groups,
            scopes,
            tenants,
            emails,
            claims,
            bound_by,
        } = self;
        anonymous.is_none()
            && claims.is_none()
            && bound_by.is_none()
            && [providers, subjects, roles, groups, scopes, tenants, emails]
                .into_iter()
                .all(Option::is_none)
    }
}

impl Users {
    /// Every list that is written must have a member the user has. What is not known is told only where it matters: to
    /// a user who lacks something else the groups make no difference.
    pub(super) fn check_user(&self, user: &UserFacts) -> Result<(), Unmet> {
        self.check_known(user).map_err(Unmet::Lacks)?;
        match (&self.groups, user.groups()) {
            (None, _) => Ok(()),
            (Some(_), Groups::Unknown) => Err(Unmet::GroupsUnknown),
            (Some(wanted), Groups::Known(held)) => {
                let member = wanted.iter().any(|name| held.contains(name));
                if member { Ok(()) } else { Err(Unmet::Lacks(Mismatch::Group)) }
            }
        }
    }

    fn check_known(&self, user: &UserFacts) -> Result<(), Mismatch> {
        let has = |wanted: &Option<Vec<String>>, held: &[String]| match wanted {
            Some(wanted) => wanted.iter().any(|name| held.contains(name)),
            None => true,
        };
        if let Some(providers) = &self.providers
            && !providers.iter().any(|name| name == user.provider())
        {
            return Err(Mismatch::Provider);
        }
        if let Some(subjects) = &self.subjects
            && !subjects.iter().any(|name| name == user.subject())
        {
            return Err(Mismatch::Subject);
        }
        if let Some(ways) = &self.bound_by
            && !user.confirmation().is_some_and(|way| ways.contains(&way))
        {
            return Err(Mismatch::NotBound);
        }
        let is = |wanted: &Option<Vec<String>>, held: Option<&str>| match wanted {
            Some(wanted) => held.is_some_and(|held| wanted.iter().any(|name| name == held)),
            None => true,
        };
        if !is(&self.tenants, user.tenant()) {
            return Err(Mismatch::Tenant);
        }
        if !is(&self.emails, user.email()) {
            return Err(Mismatch::Email);
        }
        if !has(&self.roles, user.roles()) {
            return Err(Mismatch::Role);
        }
        if !has(&self.scopes, user.scopes()) {
            return Err(Mismatch::Scope);
        }
        let claims = self.claims.iter().all(|(name, wanted)| {
            user.claims().get(name).is_some_and(|held| claim_matches(held, wanted))
        });
        if claims { Ok(()) } else { Err(Mismatch::Claim) }
    }
}

impl Users {
    /// Reads what a rule asks of users or clients.
    fn check(raw: RawUsers, at: &FieldPath) -> Checked<Self> {
        let RawUsers {
            // Told by the caller.
            anonymous: _,
            providers,
            subjects,
            roles,
            groups,
            scopes,
            tenants,
            emails,
            claims,
            bound_by,
        } = raw;
        let texts = |list: Option<Vec<String>>, field: &str| {
            let at = at.field(field);
            list.map(|list| {
                check_list(list, &at)?
                    .into_iter()
                    .enumerate()
                    .map(|(place, text)| check_text(text, at.item(place)))
                    .collect::<Checked<Vec<_>>>()
            })
            .transpose()
        };
        Ok(Self {
            providers: texts(providers, "providers")?,
            subjects: texts(subjects, "subjects")?,
            roles: texts(roles, "roles")?,
            groups: texts(groups, "groups")?,
            scopes: texts(scopes, "scopes")?,
            tenants: texts(tenants, "tenants")?,
            emails: texts(emails, "emails")?,
            claims: match claims {
                Some(claims) => check_claims(claims, &at.field("claims"))?,
                None => Vec::new(),
            },
            bound_by: bound_by
                .map(|list| {
                    let list = list.into_iter().map(Confirmation::from).collect();
                    check_list(list, &at.field("boundBy"))
                })
                .transpose()?,
        })
    }
}

impl From<RawConfirmed> for Confirmation {
    fn from(raw: RawConfirmed) -> Self {
        match raw {
            RawConfirmed::Dpop => Self::Dpop,
            RawConfirmed::Certificate => Self::Certificate,
        }
    }
}

fn check_claims(
    claims: BTreeMap<String, Vec<ClaimValue>>,
    at: &FieldPath,
) -> Checked<Vec<(String, Vec<ClaimValue>)>> {
    if claims.is_empty() {
        return Err(Problem::new(at.clone(), "is empty").hint("leave the field out"));
    }
    claims
        .into_iter()
        .map(|(name, values)| {
            let values = check_list(values, &at.field(&name))?;
            Ok((name, values))
        })
        .collect()
}

/// A claim matches if it is one of the wanted values, or a list with a member that is.
fn claim_matches(held: &Value, wanted: &[ClaimValue]) -> bool {
    scalars(held).iter().any(|held| wanted.iter().any(|wanted| wanted.is(held)))
}

/// The members of a list, or the value itself. A list inside a list is not looked into.
pub(super) fn scalars(held: &Value) -> &[Value] {
    match held {
        Value::Array(members) => members,
        single => std::slice::from_ref(single),
    }
}

impl ClaimValue {
    /// Whether a claim, or one member of a list, is this value. `3` and `3.0` are the same number.
    #[must_use]
    pub fn is(&self, held: &Value) -> bool {
        match (self, held) {
            (Self::Text(wanted), Value::String(held)) => wanted == held,
            (Self::Number(wanted), Value::Number(held)) => whole(held) == Some(*wanted),
            (Self::Boolean(wanted), Value::Bool(held)) => wanted == held,
            (Self::Text(_) | Self::Number(_) | Self::Boolean(_), _) => false,
        }
    }
}

/// The whole number that a JSON number is: `3` and `3.0` are the same number in JSON.
pub(super) fn whole(number: &Number) -> Option<i64> {
    number.as_i64().or_else(|| number.as_f64().and_then(whole_float))
}

/// Exact up to 2^53, beyond which a float no longer tells neighbours apart.
fn whole_float(number: f64) -> Option<i64> {
    const MANTISSA_BITS: u64 = 52;
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number == 0.0 {
        return Some(0);
    }
    if number.fract() != 0.0 || number.abs() > EXACT {
        return None;
    }
    let bits = number.abs().to_bits();
    let exponent = (bits >> MANTISSA_BITS).checked_sub(1023)?;
    let mantissa = (bits & ((1 << MANTISSA_BITS) - 1)) | (1 << MANTISSA_BITS);
    let magnitude = match MANTISSA_BITS.checked_sub(exponent) {
        Some(shift) => mantissa >> shift,
        None => mantissa << 1,
    };
    let magnitude = i64::try_from(magnitude).ok()?;
    Some(if number < 0.0 { -magnitude } else { magnitude })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_float_is_the_same_number() {
        for (float, expected) in [
            (0.0, Some(0)),
            (-0.0, Some(0)),
            (1.0, Some(1)),
            (-7.0, Some(-7)),
            (3.5, None),
            (1e15, Some(1_000_000_000_000_000)),
            (9_007_199_254_740_992.0, Some(9_007_199_254_740_992)),
            (9_007_199_254_740_994.0, None),
            (1e300, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
            (5e-324, None),
        ] {
            assert_eq!(whole_float(float), expected, "{float}");
        }
    }
}
