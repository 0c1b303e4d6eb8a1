//! What endpoints said before. Bounded in bytes: how long an answer is, its endpoint decides.

use std::time::{Duration, SystemTime};

use moka::sync::Cache;

use super::Key;

/// Bytes of answers that are kept, about.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// What an entry costs beside what its answer weighs.
const ENTRY: u32 = 256;
/// The longest that an answer may be believed.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Something whose size in memory is known.
pub trait Weight {
    /// Bytes, about.
    fn weight(&self) -> usize;
}

/// Answers by the question.
pub(super) struct Answers<A: Clone + Send + Sync + 'static>(
    Cache<Key, Remembered<A>, foldhash::fast::RandomState>,
);

#[derive(Clone)]
struct Remembered<A> {
    answer: A,
    until: SystemTime,
}

impl<A: Weight + Clone + Send + Sync + 'static> Answers<A> {
    pub(super) fn new() -> Self {
        Self::within(MAX_BYTES)
    }

    fn within(bytes: u64) -> Self {
        let cache = Cache::builder()
            .max_capacity(bytes)
            .weigher(|_: &Key, remembered: &Remembered<A>| {
                let weight = u32::try_from(remembered.answer.weight()).unwrap_or(u32::MAX);
                weight.saturating_add(ENTRY)
            })
            .time_to_live(LONGEST)
            .build_with_hasher(foldhash::fast::RandomState::default());
        Self(cache)
    }

    /// The answer, while it is believed.
    pub(super) fn get(&self, key: &Key, now: SystemTime) -> Option<A> {
        let remembered = self.0.get(key)?;
        (now < remembered.until).then_some(remembered.answer)
    }

    pub(super) fn keep(&self, key: Key, answer: A, until: SystemTime) {
        self.0.insert(key, Remembered { answer, until });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Text(String);

    impl Weight for Text {
        fn weight(&self) -> usize {
            self.0.len()
        }
    }

    #[test]
    fn long_answers_take_the_place_of_many() {
        let (now, until) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + LONGEST);
        let kept = |bytes: usize| {
            let answers = Answers::within(1024 * 1024);
            for n in 0..200_u8 {
                answers.keep([n; 32], Text("x".repeat(bytes)), until);
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
        answers.keep([1; 32], Text("no".to_owned()), end);
        assert!(answers.get(&[1; 32], end - Duration::from_nanos(1)).is_some());
        assert!(answers.get(&[1; 32], end).is_none());
        assert!(answers.get(&[2; 32], SystemTime::UNIX_EPOCH).is_none());
    }
}
