//! How long to wait before the next attempt to connect. Pure: the failures so far and a draw in, a time out.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(15);
/// A server that does not offer discovery is asked this seldom.
const NOT_OFFERED: Duration = Duration::from_secs(60);

/// What the last attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Not reached, refused, or broken.
    Broken,
    /// The server knows no discovery: it may be another's, or older.
    NotOffered,
}

/// The wait after so many failures in a row. `draw` is between 0 and 1: half of the wait is left to it, so that the
/// sidecars of a mesh do not come back together.
pub(super) fn wait(failures: u32, failure: Failure, draw: f64) -> Duration {
    let whole = match failure {
        Failure::NotOffered => NOT_OFFERED,
        Failure::Broken => {
            let doubled = 2_u32.checked_pow(failures.saturating_sub(1)).unwrap_or(u32::MAX);
            FIRST.saturating_mul(doubled).min(LONGEST)
        }
    };
    let draw = if draw.is_nan() { 0.5 } else { draw.clamp(0.0, 1.0) };
    whole.mul_f64(0.5 + draw / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_half_of_each_is_drawn() {
        let milliseconds = |failures, draw| wait(failures, Failure::Broken, draw).as_millis();
        assert_eq!((milliseconds(1, 0.0), milliseconds(1, 1.0)), (125, 250));
        assert_eq!((milliseconds(4, 0.0), milliseconds(4, 1.0)), (1000, 2000));
        for many in [7, 40, u32::MAX] {
            assert_eq!((milliseconds(many, 0.0), milliseconds(many, 1.0)), (7500, 15_000));
        }
        assert_eq!((milliseconds(0, 1.0), milliseconds(1, f64::NAN)), (250, 187));
        assert_eq!(wait(1, Failure::NotOffered, 0.0), Duration::from_secs(30));
    }
}
