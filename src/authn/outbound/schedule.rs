//! When the token of a target is renewed. Pure: the clock and the dice are arguments.

use std::time::{Duration, SystemTime};

/// A token without `expires_in` is believed so long: RFC 6749 leaves its end to other means.
const UNSAID: Duration = Duration::from_secs(5 * 60);
/// No token is believed longer, so that a withdrawn one is replaced some day.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// How long before its end a token is no longer given out: the call takes time.
const MARGIN: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The life of one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    /// From when on it is not given out any more.
    pub(super) until: SystemTime,
    /// When a new one is asked for.
    pub(super) renew: SystemTime,
}

/// Of a token that came now. Renewed at three quarters of its life or a minute before its end, whatever comes first, and
/// a little earlier by the dice (0 to 1), so that a fleet does not ask together.
pub(super) fn life(expires_in: Option<Duration>, now: SystemTime, dice: f64) -> Life {
    let whole = expires_in.unwrap_or(UNSAID).min(LONGEST);
    let margin = MARGIN.min(whole / 10);
    let early = whole.mul_f64(0.75).min(whole.saturating_sub(Duration::from_secs(60)));
    // A very short one is renewed at half of it.
    let early = early.max(whole / 2);
    let renew = early.mul_f64(1.0 - 0.1 * dice.clamp(0.0, 1.0));
    Life { until: now + whole.saturating_sub(margin), renew: now + renew }
}

/// The pause after so many failures in a row.
pub(super) fn pause(failures: u32, dice: f64) -> Duration {
    let pause = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10));
    pause.min(LONGEST_PAUSE).mul_f64(1.0 - 0.2 * dice.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_early_and_never_given_out_late() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let at = |life: Life| {
            let since = |t: SystemTime| t.duration_since(now).unwrap().as_secs();
            (since(life.renew), since(life.until))
        };
        let seconds = |s| Some(Duration::from_secs(s));
        assert_eq!(at(life(seconds(3600), now, 0.0)), (2700, 3595));
        assert_eq!(at(life(seconds(3600), now, 1.0)), (2430, 3595));
        assert_eq!(at(life(seconds(120), now, 0.0)), (60, 115));
        assert_eq!(at(life(seconds(20), now, 0.0)), (10, 18));
        assert_eq!(at(life(None, now, 0.0)), (225, 295));
        assert_eq!(at(life(seconds(u64::MAX / 2), now, 0.0)).1, 24 * 3600 - 5);
        assert_eq!(at(life(seconds(0), now, 0.0)), (0, 0));
    }

    #[test]
    fn failures_are_followed_by_longer_pauses() {
        let pauses: Vec<u64> = (1..9).map(|n| pause(n, 0.0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(pause(3, 1.0) < pause(3, 0.0));
        assert_eq!(pause(u32::MAX, 0.0), LONGEST_PAUSE);
    }
}
