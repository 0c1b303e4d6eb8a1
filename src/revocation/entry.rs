//! One revocation: of what, since and until when, why and by whom.

use std::fmt;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::subject::Subject;

/// One revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Of what.
    pub subject: Subject,
    /// When it was said.
    pub since: SystemTime,
    /// When it ends.
    pub until: Until,
    /// Why, in the words of whoever revoked.
    pub reason: Words,
    /// By whom.
    pub by: Words,
}

/// When a revocation ends. The later end is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// At this moment.
    Moment(SystemTime),
    /// When somebody lifts it.
    Lifted,
}

/// A short text of a person, fit for a log line: 1 to 256 bytes without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words(Box<str>);

/// A text is empty, too long or no single line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be one line of 1 to {} bytes", Words::MAX)]
pub struct InvalidWords;

impl Revocation {
    /// True as long as it holds.
    #[must_use]
    pub fn is_in_force(&self, now: SystemTime) -> bool {
        match self.until {
            Until::Lifted => true,
            Until::Moment(end) => now < end,
        }
    }

    /// The one of two revocations of the same thing that holds longer.
    pub(super) fn longer(self, other: Self) -> Self {
        if other.until > self.until { other } else { self }
    }
}

impl Words {
    /// The most bytes.
    pub const MAX: usize = 256;

    /// Takes a text without the white space around it.
    ///
    /// # Errors
    /// When nothing is left, or it is longer than [`Words::MAX`], or has control characters.
    pub fn parse(text: &str) -> Result<Self, InvalidWords> {
        let text = text.trim();
        if text.is_empty() || text.len() > Self::MAX || text.chars().any(char::is_control) {
            return Err(InvalidWords);
        }
        Ok(Self(text.into()))
    }

    /// As much of a text as can stand there; `otherwise` where nothing can.
    #[must_use]
    pub fn lossy(text: &str, otherwise: &'static str) -> Self {
        let plain: String = text.chars().filter(|c| !c.is_control()).collect();
        let cut = plain.get(..plain.floor_char_boundary(Self::MAX)).unwrap_or_default().trim();
        Self(if cut.is_empty() { otherwise.into() } else { cut.into() })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `until 2026-11-27T20:00:00Z` or `until it is lifted`.
impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lifted => f.write_str("until it is lifted"),
            Self::Moment(end) => write!(f, "until {}", rfc3339(*end)),
        }
    }
}

/// Whole seconds in UTC; a year past 9999 is only told as far away.
pub(super) fn rfc3339(at: SystemTime) -> String {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| "after the year 9999".to_owned())
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn words_are_one_short_line() {
        assert_eq!(Words::parse("  key leaked \n").unwrap().as_str(), "key leaked");
        let long = "a".repeat(257);
        for bad in ["", "  ", "a\nb", "a\u{1b}[31m", long.as_str()] {
            assert_eq!(Words::parse(bad), Err(InvalidWords), "{bad:?}");
        }
        assert_eq!(Words::lossy("a\nb", "-").as_str(), "ab");
        assert_eq!(Words::lossy(" \n", "-").as_str(), "-");
        assert_eq!(Words::lossy(&"é".repeat(200), "-").as_str().len(), Words::MAX);
    }

    #[test]
    fn the_later_end_is_the_greater() {
        let at = |seconds| Until::Moment(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(1_790_000_000).to_string(), "until 2026-09-21T14:13:20Z");
        assert_eq!(at(u64::MAX / 4).to_string(), "until after the year 9999");
        assert_eq!(Until::Lifted.to_string(), "until it is lifted");
        assert!(at(1) < at(2) && at(u64::from(u32::MAX)) < Until::Lifted);
    }
}
