//! What a verified token says, and the rules that every token has to keep (RFC 7519, RFC 8725, RFC 9068).

use std::fmt;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Number, Value};

use crate::policy::{IdentityProviderSpec, UserFacts};

use super::refused::TokenFault;

/// The end of the year 9999: what lies beyond is a mistake, and far below where time arithmetic could overflow.
const LAST_SECOND: u64 = 253_402_300_799;

/// Whoever a verified token speaks for. Only a [`super::Verifier`] makes one.
pub struct User {
    facts: UserFacts,
    expires_at: SystemTime,
    token_id: Option<String>,
    window: Window,
}

/// When a token is valid, the leeway included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// The latest of `nbf` and `iat`, less the leeway.
    pub(super) from: SystemTime,
    /// `exp` and the leeway; no longer valid at this very moment.
    pub(super) until: SystemTime,
}

impl User {
    /// Judges the claims of a token whose signature is proven, and takes from it what policies ask for.
    pub(super) fn from_claims(
        provider: &str,
        spec: &IdentityProviderSpec,
        claims: Map<String, Value>,
        now: SystemTime,
    ) -> Result<Self, TokenFault> {
        let expires_at = time(&claims, "exp")?.ok_or(TokenFault::MissingExpiry)?;
        let window = Window::judge(&claims, expires_at, spec.leeway, now)?;
        if !audience(&claims)?.iter().any(|aud| spec.audiences.iter().any(|ours| ours == aud)) {
            return Err(TokenFault::WrongAudience);
        }
        let subject = match text(&claims, "sub")? {
            None | Some("") => return Err(TokenFault::MissingSubject),
            Some(subject) => subject.to_owned(),
        };
        let roles = words(&claims, &spec.claims.roles)?;
        let scopes = words(&claims, &spec.claims.scopes)?;
        let token_id = text(&claims, "jti")?.map(str::to_owned);
        let facts = UserFacts::new(provider.to_owned(), subject, roles, scopes, claims);
        Ok(Self { facts, expires_at, token_id, window })
    }

    /// What policies are asked about.
    #[must_use]
    pub fn facts(&self) -> &UserFacts {
        &self.facts
    }

    /// The token's `exp`, without the leeway that it is accepted for.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.expires_at
    }

    /// The token's `jti`.
    #[must_use]
    pub fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }

    pub(super) fn window(&self) -> Window {
        self.window
    }
}

/// Shows whose token it was, not what stood in it.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("provider", &self.facts.provider())
            .field("subject", &self.facts.subject())
            .finish_non_exhaustive()
    }
}

impl Window {
    fn judge(
        claims: &Map<String, Value>,
        expires_at: SystemTime,
        leeway: Duration,
        now: SystemTime,
    ) -> Result<Self, TokenFault> {
        let not_before = time(claims, "nbf")?;
        let issued_at = time(claims, "iat")?;
        let until = expires_at + leeway;
        if now >= until {
            return Err(TokenFault::Expired);
        }
        let starts = |at: Option<SystemTime>| {
            at.and_then(|at| at.checked_sub(leeway)).unwrap_or(SystemTime::UNIX_EPOCH)
        };
        let (usable, issued) = (starts(not_before), starts(issued_at));
        if now < usable {
            return Err(TokenFault::NotYetValid);
        }
        if now < issued {
            return Err(TokenFault::IssuedInFuture);
        }
        Ok(Self { from: usable.max(issued), until })
    }
}

/// The issuer a payload names. Read before anything is proven, only to find the rules to prove it by.
pub(super) fn issuer(claims: &Map<String, Value>) -> Result<&str, TokenFault> {
    text(claims, "iss")?.ok_or(TokenFault::MissingIssuer)
}

fn text<'c>(claims: &'c Map<String, Value>, name: &str) -> Result<Option<&'c str>, TokenFault> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(TokenFault::InvalidClaim(name.to_owned())),
    }
}

/// A `NumericDate`: seconds since 1970, whole or not. A number in a string is none.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<SystemTime>, TokenFault> {
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

/// One text, or several.
fn audience(claims: &Map<String, Value>) -> Result<Vec<&str>, TokenFault> {
    let invalid = || TokenFault::InvalidClaim("aud".to_owned());
    match claims.get("aud") {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one]),
        Some(Value::Array(several)) => {
            several.iter().map(|one| one.as_str().ok_or_else(invalid)).collect()
        }
        Some(_) => Err(invalid()),
    }
}

/// Everything that stands at the given paths: arrays of texts, or texts of words. A path that leads nowhere adds
/// nothing; one that leads to something else refuses the token, because a deny rule may rest on it.
fn words(claims: &Map<String, Value>, paths: &[Vec<String>]) -> Result<Vec<String>, TokenFault> {
    let mut found: Vec<String> = Vec::new();
    for path in paths {
        let invalid = || TokenFault::InvalidClaim(path.join("."));
        match at(claims, path).ok_or_else(invalid)? {
            None => {}
            Some(Value::String(joined)) => {
                found.extend(joined.split(' ').filter(|word| !word.is_empty()).map(str::to_owned));
            }
            Some(Value::Array(several)) => {
                for one in several {
                    found.push(one.as_str().ok_or_else(invalid)?.to_owned());
                }
            }
            Some(_) => return Err(invalid()),
        }
    }
    Ok(found)
}

/// What stands at a path: `Some(None)` is nothing, `None` that the way there leads through something else than
/// objects.
fn at<'c>(claims: &'c Map<String, Value>, path: &[String]) -> Option<Option<&'c Value>> {
    let (first, rest) = path.split_first()?;
    let mut value = claims.get(first);
    for name in rest {
        match value {
            None => return Some(None),
            Some(Value::Object(members)) => value = members.get(name),
            Some(_) => return None,
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(members) => members,
            _ => panic!("no object"),
        }
    }

    fn paths(paths: &[&[&str]]) -> Vec<Vec<String>> {
        paths.iter().map(|path| path.iter().map(|name| (*name).to_owned()).collect()).collect()
    }

    #[test]
    fn times_are_numbers_within_reason() {
        let read = |value: Value| time(&map(json!({"exp": value})), "exp");
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

    #[test]
    fn words_are_gathered_from_every_path() {
        let claims = map(json!({
            "realm_access": {"roles": ["support", "with space"]},
            "roles": "customer  admin",
            "scope": "",
            "scp": ["orders:read"],
        }));
        let roles = paths(&[&["realm_access", "roles"], &["roles"], &["absent"], &["absent", "x"]]);
        let found = words(&claims, &roles).unwrap();
        assert_eq!(found, ["support", "with space", "customer", "admin"]);
        assert_eq!(words(&claims, &paths(&[&["scope"], &["scp"]])).unwrap(), ["orders:read"]);
    }

    #[test]
    fn words_of_another_shape_are_refused() {
        for wrong in [json!(null), json!(7), json!(true), json!({}), json!([7]), json!(["a", null])]
        {
            let claims = map(json!({"a": {"roles": wrong}}));
            let fault = words(&claims, &paths(&[&["a", "roles"]]));
            assert_eq!(fault, Err(TokenFault::InvalidClaim("a.roles".into())));
        }
        let through = map(json!({"a": "text"}));
        assert!(words(&through, &paths(&[&["a", "roles"]])).is_err());
    }
}
