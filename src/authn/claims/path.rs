//! What stands at a path of claims, and tests of single claims.

use serde_json::{Map, Value};

use crate::authn::refused::TokenFault;
use crate::policy::ClaimTest;

/// A path for a person: the names with dots between them. Names are the operator's, never the token's.
pub(super) fn shown(names: &[String]) -> String {
    names.join(".")
}

/// What stands at a path; null is nothing. A way that leads through something else than objects refuses the token,
/// because a deny rule may rest on what should have been there.
pub(super) fn at<'c>(
    claims: &'c Map<String, Value>,
    names: &[String],
) -> Result<Option<&'c Value>, TokenFault> {
    let Some((first, rest)) = names.split_first() else { return Ok(None) };
    let mut value = claims.get(first);
    for name in rest {
        match value {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Object(members)) => value = members.get(name),
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                return Err(TokenFault::InvalidClaim(shown(names)));
            }
        }
    }
    Ok(value.filter(|value| !value.is_null()))
}

/// Every required claim must be there and be what it has to be.
pub(super) fn require(claims: &Map<String, Value>, tests: &[ClaimTest]) -> Result<(), TokenFault> {
    for test in tests {
        let Some(held) = at(claims, &test.names)? else {
            return Err(TokenFault::RequiredClaimMissing(shown(&test.names)));
        };
        if !fits(test, held) {
            return Err(TokenFault::RequiredClaimOther(shown(&test.names)));
        }
    }
    Ok(())
}

/// No refused claim may be there, or be what it must not be.
pub(super) fn refuse(claims: &Map<String, Value>, tests: &[ClaimTest]) -> Result<(), TokenFault> {
    match any(claims, tests)? {
        Some(test) => Err(TokenFault::RefusedClaim(shown(&test.names))),
        None => Ok(()),
    }
}

/// The first test that holds.
pub(super) fn any<'t>(
    claims: &Map<String, Value>,
    tests: &'t [ClaimTest],
) -> Result<Option<&'t ClaimTest>, TokenFault> {
    for test in tests {
        if at(claims, &test.names)?.is_some_and(|held| fits(test, held)) {
            return Ok(Some(test));
        }
    }
    Ok(None)
}

/// One of the wanted values, or a list with one of them. A list inside a list is not looked into.
fn fits(test: &ClaimTest, held: &Value) -> bool {
    let Some(wanted) = &test.values else { return true };
    let held = match held {
        Value::Array(members) => members.as_slice(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            std::slice::from_ref(held)
        }
    };
    held.iter().any(|held| wanted.iter().any(|wanted| wanted.is(held)))
}
