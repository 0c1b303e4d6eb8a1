//! What was seen, and what follows for readiness. Pure.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// How long Envoy may take to turn to a renewed certificate, or not answer, before it counts. A pod must not leave its
/// service at each renewal.
const GRACE: Duration = Duration::from_secs(10);

/// How the certificate that Envoy uses stands to the one that is served to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::sidecar) enum InUse {
    /// Not looked at yet.
    #[default]
    NotLooked,
    /// There is no certificate to be used.
    NothingGiven,
    /// Everywhere the one that is served.
    Current,
    /// Somewhere another one.
    Other {
        /// The serial number that was seen.
        seen: String,
        /// The one that is served.
        served: String,
    },
    /// Envoy has no TLS context with a certificate of this workload.
    Nowhere,
    /// Envoy cannot be asked.
    Unknown {
        /// Where and why.
        problem: String,
    },
}

/// What follows for readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Ready,
    NotReady,
}

/// Remembers when all was well.
pub(super) struct Judge {
    current_at: Option<Instant>,
}

impl InUse {
    pub(super) const STATES: [&'static str; 6] =
        ["not_looked", "nothing_given", "current", "other", "nowhere", "unknown"];

    /// Its name, for a metric and the dump.
    pub(in crate::sidecar) fn state(&self) -> &'static str {
        match self {
            Self::NotLooked => "not_looked",
            Self::NothingGiven => "nothing_given",
            Self::Current => "current",
            Self::Other { .. } => "other",
            Self::Nowhere => "nowhere",
            Self::Unknown { .. } => "unknown",
        }
    }
}

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLooked => f.write_str("not looked at yet"),
            Self::NothingGiven => f.write_str("no certificate to be used yet"),
            Self::Current => f.write_str("Envoy uses the certificate"),
            Self::Other { seen, served } => {
                write!(f, "Envoy uses certificate {seen}, not {served}, which is served to it")
            }
            Self::Nowhere => f.write_str(
                "Envoy uses no certificate of this workload; see whether its secrets come from this sidecar",
            ),
            Self::Unknown { problem } => write!(f, "cannot see whether Envoy uses the certificate: {problem}"),
        }
    }
}

impl Judge {
    pub(super) fn new() -> Self {
        Self { current_at: None }
    }

    /// Ready from the first time the certificate is seen in use, until it was not seen so for the grace.
    pub(super) fn judge(&mut self, seen: &InUse, now: Instant) -> Verdict {
        match seen {
            InUse::Current => {
                self.current_at = Some(now);
                return Verdict::Ready;
            }
            // What Envoy uses then is over.
            InUse::NothingGiven => self.current_at = None,
            InUse::NotLooked | InUse::Other { .. } | InUse::Nowhere | InUse::Unknown { .. } => {}
        }
        match self.current_at {
            Some(at) if now.saturating_duration_since(at) < GRACE => Verdict::Ready,
            Some(_) | None => Verdict::NotReady,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_what_was_seen_and_stays_so_for_a_grace() {
        let mut judge = Judge::new();
        let start = Instant::now();
        let other = InUse::Other { seen: "1".to_owned(), served: "2".to_owned() };
        let unknown = InUse::Unknown { problem: "no answer".to_owned() };
        for (second, seen, verdict) in [
            (0, &InUse::NotLooked, Verdict::NotReady),
            (1, &InUse::Nowhere, Verdict::NotReady),
            (2, &other, Verdict::NotReady),
            (3, &InUse::Current, Verdict::Ready),
            (8, &InUse::Current, Verdict::Ready),
            (9, &other, Verdict::Ready),
            (17, &unknown, Verdict::Ready),
            (18, &unknown, Verdict::NotReady),
            (19, &InUse::Current, Verdict::Ready),
            (20, &InUse::NothingGiven, Verdict::NotReady),
            (21, &other, Verdict::NotReady),
            (22, &InUse::Current, Verdict::Ready),
            (33, &InUse::Nowhere, Verdict::NotReady),
        ] {
            let now = start + Duration::from_secs(second);
            assert_eq!(judge.judge(seen, now), verdict, "second {second}");
        }
    }

    #[test]
    fn every_state_has_its_name() {
        let (seen, problem) = (String::new(), String::new());
        let all = [
            InUse::NotLooked,
            InUse::NothingGiven,
            InUse::Current,
            InUse::Other { seen: seen.clone(), served: seen },
            InUse::Nowhere,
            InUse::Unknown { problem },
        ];
        assert_eq!(all.map(|seen| seen.state()), InUse::STATES);
    }
}
