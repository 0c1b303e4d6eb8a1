//! When a control plane that has too much to do says to come again. It is believed within bounds: a mistake of its must not
//! keep a workload from asking until its certificate is over.

use std::time::Duration;

use tonic::metadata::MetadataMap;

use super::schedule::Jitter;

/// In seconds, as of HTTP's header of this name (RFC 9110, section 10.2.3).
const RETRY_AFTER: &str = "retry-after";
/// Over how many seconds callers should spread beyond that.
const RETRY_SPREAD: &str = "retry-after-jitter";
const LONGEST: Duration = Duration::from_secs(300);

/// When to come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter {
    least: Duration,
    spread: Duration,
}

impl RetryAfter {
    /// What stands beside a refusal. Nothing, or something that is no number of seconds, is nothing.
    pub(super) fn read(metadata: &MetadataMap) -> Option<Self> {
        let seconds = |name: &str| {
            let text = metadata.get(name)?.to_str().ok()?;
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            // More than a number can hold is very long.
            digits.then(|| Duration::from_secs(text.parse().unwrap_or(u64::MAX)).min(LONGEST))
        };
        let least = seconds(RETRY_AFTER)?;
        Some(Self { least, spread: seconds(RETRY_SPREAD).unwrap_or(least) })
    }

    /// How long this workload waits, which is its own draw.
    #[must_use]
    pub fn wait(self, jitter: Jitter) -> Duration {
        jitter.part_of(self.spread).saturating_add(self.least).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &str)]) -> Option<RetryAfter> {
        let mut metadata = MetadataMap::new();
        for (name, value) in pairs {
            metadata.insert(*name, value.parse().unwrap());
        }
        RetryAfter::read(&metadata)
    }

    fn wait(pairs: &[(&'static str, &str)], jitter: f64) -> Option<u64> {
        read(pairs).map(|again| again.wait(Jitter::new(jitter)).as_secs())
    }

    #[test]
    fn what_is_told_is_waited_for_and_spread() {
        let told = [(RETRY_AFTER, "4"), (RETRY_SPREAD, "10")];
        assert_eq!([0.0, 0.5, 1.0].map(|draw| wait(&told, draw)), [Some(4), Some(9), Some(14)]);
        assert_eq!(
            wait(&[(RETRY_AFTER, "4")], 1.0),
            Some(8),
            "without a spread, over as long again"
        );
        assert_eq!(wait(&[(RETRY_AFTER, "4"), (RETRY_SPREAD, "0")], 1.0), Some(4));
    }

    #[test]
    fn it_is_believed_within_bounds() {
        assert_eq!(wait(&[], 1.0), None);
        assert_eq!(wait(&[(RETRY_SPREAD, "5")], 1.0), None);
        for odd in ["", "-1", "1.5", "soon", " 1", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            assert_eq!(wait(&[(RETRY_AFTER, odd)], 1.0), None, "{odd}");
        }
        for long in ["86400", "99999999999999999999999"] {
            assert_eq!(wait(&[(RETRY_AFTER, long), (RETRY_SPREAD, long)], 1.0), Some(300));
        }
    }
}
