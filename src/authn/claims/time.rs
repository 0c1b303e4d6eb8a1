//! When a token counts: `exp`, `nbf`, `iat` and the longest age.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Number, Value};

use crate::authn::proof::{Step, Steps, told};
use crate::authn::refused::TokenFault;

/// The end of the year 9999: what lies beyond is a mistake, and far below where time arithmetic could overflow.
const LAST_SECOND: u64 = 253_402_300_799;

/// When a token is valid, the leeway included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::authn) struct Window {
    /// The latest of `nbf` and `iat`, less the leeway.
    pub(in crate::authn) from: SystemTime,
    /// `exp`, or the longest age if that ends first, and the leeway; no longer valid at this very moment.
    pub(in crate::authn) until: SystemTime,
    end: End,
}

/// What ends a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Expiry,
    Age,
}

/// How far clocks may differ, and how old a token may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) leeway: Duration,
    pub(super) max_age: Option<Duration>,
}

/// Whether a token must say when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It must.
    Required,
    /// Something else bounds how long it is believed: an answer from its provider, which is asked again.
    Optional,
}

impl Window {
    /// From ever, until then; without an end until the last second there is.
    pub(super) fn until(end: Option<SystemTime>) -> Self {
        let until = end.unwrap_or(SystemTime::UNIX_EPOCH + Duration::from_secs(LAST_SECOND));
        Self { from: SystemTime::UNIX_EPOCH, until, end: End::Expiry }
    }

    /// The times and the `exp` itself.
    pub(super) fn judge(
        claims: &Map<String, Value>,
        limits: Limits,
        ending: Ending,
        now: SystemTime,
        steps: &mut impl Steps,
    ) -> Result<(Self, Option<SystemTime>), TokenFault> {
        let Limits { leeway, max_age } = limits;
        let expires = told(steps, Step::Expiry, || match (time(claims, "exp")?, ending) {
            (Some(exp), _) if now >= exp + leeway => Err(TokenFault::Expired),
            (None, Ending::Required) => Err(TokenFault::MissingExpiry),
            (exp, Ending::Required | Ending::Optional) => Ok(exp),
        })?;
        let usable = told(steps, Step::NotBefore, || {
            let usable = start(time(claims, "nbf")?, leeway);
            if now < usable { Err(TokenFault::NotYetValid) } else { Ok(usable) }
        })?;
        let (issued, old) = told(steps, Step::IssuedAt, || {
            let issued_at = time(claims, "iat")?;
            let issued = start(issued_at, leeway);
            if now < issued {
                return Err(TokenFault::IssuedInFuture);
            }
            let Some(most) = max_age else { return Ok((issued, None)) };
            let old = issued_at.ok_or(TokenFault::MissingIssuedAt)? + most + leeway;
            if now >= old { Err(TokenFault::TooOld) } else { Ok((issued, Some(old))) }
        })?;
        let ends = expires.unwrap_or_else(last) + leeway;
        let (until, end) = match old {
            Some(old) if old < ends => (old, End::Age),
            Some(_) | None => (ends, End::Expiry),
        };
        Ok((Self { from: usable.max(issued), until, end }, expires))
    }

    /// What is wrong with a token whose window is over.
    pub(in crate::authn) fn over(&self) -> TokenFault {
        match self.end {
            End::Expiry => TokenFault::Expired,
            End::Age => TokenFault::TooOld,
        }
    }
}

fn last() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(LAST_SECOND)
}

fn start(at: Option<SystemTime>, leeway: Duration) -> SystemTime {
    at.and_then(|at| at.checked_sub(leeway)).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A `NumericDate`: seconds since 1970, whole or not. A number in a string is none.
pub(super) fn time(
    claims: &Map<String, Value>,
    name: &str,
) -> Result<Option<SystemTime>, TokenFault> {
    let invalid = || TokenFault::InvalidClaim(name.to_owned());
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => {
            let since = seconds(number).ok_or_else(invalid)?;
            Ok(Some(SystemTime::UNIX_EPOCH + since))
        }
        Some(_) => Err(invalid()),
    }
}

fn seconds(number: &Number) -> Option<Duration> {
    let since = match number.as_u64() {
        Some(whole) => Duration::from_secs(whole),
        // Refuses what is negative, not finite or too large for a Duration.
        None => Duration::try_from_secs_f64(number.as_f64()?).ok()?,
    };
    (since.as_secs() <= LAST_SECOND).then_some(since)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_numbers_within_reason() {
        let read = |value: Value| time(json!({"exp": value}).as_object().unwrap(), "exp");
        let at = |seconds| Ok(Some(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds)));
        assert_eq!(read(json!(1_790_000_000)), at(1_790_000_000.0));
        assert_eq!(read(json!(1_790_000_000.5)), at(1_790_000_000.5));
        assert_eq!(read(json!(2.2e9)), at(2.2e9));
        assert_eq!(read(json!(0)), at(0.0));
        assert_eq!(read(json!(LAST_SECOND)), at(253_402_300_799.0));
        for wrong in [
            json!(-1),
            json!(-0.5),
            json!(LAST_SECOND + 1),
            json!(1e300),
            json!(u64::MAX),
            json!("1790000000"),
            json!(null),
            json!([1]),
            json!(true),
        ] {
            assert_eq!(read(wrong.clone()), Err(TokenFault::InvalidClaim("exp".into())), "{wrong}");
        }
    }
}
