//! A token's header and claims for a person: times as times, nothing that a terminal would obey, nothing secret.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

pub(super) use crate::cli::terminal::plain;

use crate::cli::moment;

/// Claims that are seconds since 1970 wherever they stand.
const TIMES: [&str; 5] = ["exp", "nbf", "iat", "auth_time", "updated_at"];
/// Claims that are as good as a password: Directus puts the refresh token of a session there.
const SECRETS: [&str; 1] = ["session"];
/// The latest time that is shown as one: the end of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

/// One line per member, names in a column.
pub(super) fn members(members: &Map<String, Value>, now: SystemTime) -> String {
    let width = members.keys().map(|name| plain(name).chars().count()).max().unwrap_or(0).min(24);
    let mut text = String::new();
    for (name, value) in members {
        // Writing to a text cannot fail.
        let _infallible = writeln!(text, "  {:width$}  {}", plain(name), shown(name, value, now));
    }
    text
}

/// The same for machines: as they are, but without what is secret.
pub(super) fn redacted(members: &Map<String, Value>) -> Value {
    let hide = |(name, value): (&String, &Value)| {
        let value =
            if SECRETS.contains(&name.as_str()) { hidden(value).into() } else { value.clone() };
        (name.clone(), value)
    };
    Value::Object(members.iter().map(hide).collect())
}

fn shown(name: &str, value: &Value, now: SystemTime) -> String {
    if SECRETS.contains(&name) {
        return hidden(value);
    }
    let seconds = value.as_u64().filter(|seconds| *seconds <= LAST_SECOND);
    match (seconds, value) {
        (Some(seconds), _) if TIMES.contains(&name) => {
            moment::show(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds), now)
        }
        (_, Value::String(text)) => plain(text),
        (_, other) => plain(&other.to_string()),
    }
}

fn hidden(value: &Value) -> String {
    match value {
        Value::String(text) => format!("({} characters, not shown)", text.chars().count()),
        _ => "(not shown)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn times_are_times_and_secrets_are_not_shown() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let claims = map(&json!({
            "iss": "https://sso.example/", "exp": 1_790_000_240, "iat": "1790000000", "roles": ["a b"],
            "session": "s".repeat(64), "n": 7,
        }));
        assert_eq!(
            members(&claims, now),
            "  iss      https://sso.example/\n\
             \x20 exp      2026-09-21T14:17:20Z (in 4 min)\n\
             \x20 iat      1790000000\n\
             \x20 roles    [\"a b\"]\n\
             \x20 session  (64 characters, not shown)\n\
             \x20 n        7\n"
        );
        assert!(!redacted(&claims).to_string().contains("ssss"));
        assert_eq!(redacted(&claims)["iss"], "https://sso.example/");
    }

    #[test]
    fn a_claim_does_not_steer_the_terminal() {
        let claims = map(&json!({"a\u{1b}[2J": "x\u{1b}[31m\n\u{202e}y", "b": ["\u{7}"]}));
        let text = members(&claims, SystemTime::UNIX_EPOCH);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
        assert!(text.contains("\\u{1b}[31m\\n\\u{202e}y"), "{text}");
    }
}
