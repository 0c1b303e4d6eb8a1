//! What servers said before. Bounded in bytes: how long an answer is, its server decides.

use std::time::{Duration, SystemTime};

use moka::sync::Cache;
use serde_json::{Map, Value};

use super::{Key, Known};

/// Bytes of answers that are kept, about.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// What an entry costs beside its claims.
const ENTRY: u32 = 256;
/// The longest `ttl` that can be written.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Answers by the question.
pub(super) struct Answers(Cache<Key, Remembered, foldhash::fast::RandomState>);

#[derive(Clone)]
struct Remembered {
    known: Known,
    until: SystemTime,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self::within(MAX_BYTES)
    }

    fn within(bytes: u64) -> Self {
        let cache = Cache::builder()
            .max_capacity(bytes)
            .weigher(|_: &Key, remembered: &Remembered| remembered.weight())
            .time_to_live(LONGEST)
            .build_with_hasher(foldhash::fast::RandomState::default());
        Self(cache)
    }

    /// The answer, while it is believed.
    pub(super) fn get(&self, key: &Key, now: SystemTime) -> Option<Known> {
        let answer = self.0.get(key)?;
        (now < answer.until).then_some(answer.known)
    }

    pub(super) fn keep(&self, key: Key, known: Known, until: SystemTime) {
        self.0.insert(key, Remembered { known, until });
    }
}

impl Remembered {
    fn weight(&self) -> u32 {
        let claims = match &self.known {
            Known::Active { claims, until: _ } => object(claims),
            Known::Inactive | Known::Unavailable(_) => 0,
        };
        u32::try_from(claims).unwrap_or(u32::MAX).saturating_add(ENTRY)
    }
}

/// About what a value takes in memory. It is as deep as the reader of JSON lets it be.
fn weight(value: &Value) -> usize {
    let inside = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(all) => all.iter().map(weight).sum(),
        Value::Object(members) => object(members),
    };
    size_of::<Value>() + inside
}

fn object(members: &Map<String, Value>) -> usize {
    // A member is its name, its hash and its place in the table.
    members.iter().map(|(name, value)| name.len() + 64 + weight(value)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    fn active(bytes: usize) -> Known {
        let claims = json!({ "sub": "ann", "note": "x".repeat(bytes) });
        let claims = Arc::new(claims.as_object().unwrap().clone());
        Known::Active { claims, until: SystemTime::UNIX_EPOCH + LONGEST }
    }

    #[test]
    fn long_answers_take_the_place_of_many() {
        let (now, until) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + LONGEST);
        let kept = |bytes: usize| {
            let answers = Answers::within(1024 * 1024);
            for n in 0..200_u8 {
                answers.keep([n; 32], active(bytes), until);
            }
            answers.0.run_pending_tasks();
            (0..200_u8).filter(|n| answers.get(&[*n; 32], now).is_some()).count()
        };
        assert_eq!(kept(100), 200);
        assert!(kept(100 * 1024) <= 10, "a megabyte holds no more");
    }

    #[test]
    fn an_answer_is_believed_until_its_end_and_not_at_it() {
        let answers = Answers::new();
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(60);
        answers.keep([1; 32], Known::Inactive, end);
        assert!(answers.get(&[1; 32], end - Duration::from_nanos(1)).is_some());
        assert!(answers.get(&[1; 32], end).is_none());
        assert!(answers.get(&[2; 32], SystemTime::UNIX_EPOCH).is_none());
    }
}
