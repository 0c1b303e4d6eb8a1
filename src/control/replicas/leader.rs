//! Which replica leads. Pure: what was seen of the lease and the time go in, what to do comes out.
//!
//! The one that leads stops [`RENEW_WITHIN`] after it began its last renewal that succeeded; another takes the lease no
//! earlier than [`TERM`] after it saw that renewal, which is later than it began. So there are never two, whatever the
//! clocks of the machines say.

use std::time::Duration;

use crate::kube::{HeldLease, ObjectVersion};

use super::moment::Moment;

/// For how long after it was last seen to be renewed nobody else takes it.
pub(super) const TERM: Duration = Duration::from_secs(15);
/// For how long after it began a renewal the holder leads.
pub(super) const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// So long before another one can lead, the holder has finished what it began.
const MARGIN: Duration = Duration::from_secs(1);
/// How often it is looked at, and renewed.
pub(super) const LOOK: Duration = Duration::from_secs(2);

/// The lease, and since when it was seen to be as it is.
#[derive(Debug, Clone)]
pub(super) struct Sighting {
    pub(super) lease: HeldLease,
    pub(super) since: Moment,
}

/// What to do with the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// There is none: make it.
    Make,
    /// Nobody holds it any more: put it in place of this version.
    Take(ObjectVersion),
    /// It is ours: renew it.
    Renew(ObjectVersion),
    /// Somebody else holds it.
    Wait,
}

impl Sighting {
    /// Another look: what changed since was renewed, whoever did it.
    pub(super) fn again(before: Option<Self>, lease: HeldLease, now: Moment) -> Self {
        match before {
            Some(before) if before.lease.version == lease.version => before,
            Some(_) | None => Self { lease, since: now },
        }
    }
}

pub(super) fn next(me: &str, seen: Option<&Sighting>, now: Moment) -> Next {
    let Some(Sighting { lease, since }) = seen else { return Next::Make };
    let version = || lease.version.clone();
    match lease.holder.as_deref() {
        None => Next::Take(version()),
        Some(holder) if holder == me => Next::Renew(version()),
        // What another version of this program wrote counts if it is longer.
        Some(_) if now.at_least_since(*since) >= lease.term.max(TERM) => Next::Take(version()),
        Some(_) => Next::Wait,
    }
}

/// True while the renewal that began then lets its holder lead.
pub(super) fn leads(renewed: Option<Moment>, now: Moment) -> bool {
    renewed.is_some_and(|began| now.at_most_since(began) < RENEW_WITHIN)
}

/// How long its holder may still finish what it began while it led, before another one can lead; nothing if it does not
/// know whether it leads still.
pub(super) fn left(renewed: Option<Moment>, now: Moment) -> Option<Duration> {
    renewed.map(|began| (TERM - MARGIN).saturating_sub(now.at_most_since(began)))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tokio::time::Instant;

    use super::*;

    fn moment(seconds: u64) -> Moment {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        let after = Duration::from_secs(seconds);
        Moment {
            steady: *START.get_or_init(Instant::now) + after,
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000) + after,
        }
    }

    fn lease(holder: Option<&str>, version: &str) -> HeldLease {
        HeldLease {
            holder: holder.map(str::to_owned),
            term: TERM,
            transitions: 0,
            version: ObjectVersion::of(version),
        }
    }

    fn seen(holder: Option<&str>, at: u64) -> Sighting {
        Sighting { lease: lease(holder, "uid/1"), since: moment(at) }
    }

    #[test]
    fn a_lease_is_taken_when_nobody_holds_it() {
        let version = ObjectVersion::of("uid/1");
        assert_eq!(next("a", None, moment(0)), Next::Make);
        assert_eq!(next("a", Some(&seen(None, 0)), moment(0)), Next::Take(version.clone()));
        assert_eq!(next("a", Some(&seen(Some("a"), 0)), moment(99)), Next::Renew(version.clone()));
        let other = seen(Some("b"), 0);
        assert_eq!(next("a", Some(&other), moment(14)), Next::Wait);
        assert_eq!(next("a", Some(&other), moment(15)), Next::Take(version));
        // A machine's clock that is set does not make it older.
        let set = Moment { wall: moment(9_999).wall, ..moment(14) };
        assert_eq!(next("a", Some(&other), set), Next::Wait);
        let mut longer = seen(Some("b"), 0);
        longer.lease.term = Duration::from_secs(60);
        assert_eq!(next("a", Some(&longer), moment(59)), Next::Wait);
    }

    #[test]
    fn a_renewal_is_seen_by_the_version() {
        let first = Sighting::again(None, lease(Some("b"), "uid/1"), moment(0));
        let same = Sighting::again(Some(first), lease(Some("b"), "uid/1"), moment(9));
        assert_eq!(same.since, moment(0));
        let renewed = Sighting::again(Some(same), lease(Some("b"), "uid/2"), moment(10));
        assert_eq!(renewed.since, moment(10));
    }

    #[test]
    fn the_holder_stops_by_either_clock() {
        assert!(!leads(None, moment(0)));
        assert!(leads(Some(moment(0)), moment(9)));
        assert!(!leads(Some(moment(0)), moment(10)));
        // The machine slept: the steady clock stood still.
        let slept = Moment { wall: moment(10).wall, ..moment(1) };
        assert!(!leads(Some(moment(0)), slept));
        assert_eq!(left(Some(moment(0)), moment(4)), Some(Duration::from_secs(10)));
        assert_eq!(left(Some(moment(0)), moment(13)), Some(Duration::from_secs(1)));
        assert_eq!(left(Some(moment(0)), moment(14)), Some(Duration::ZERO));
        assert_eq!(left(Some(moment(0)), moment(99)), Some(Duration::ZERO));
        assert_eq!(
            left(None, moment(0)),
            None,
            "whoever follows writes nothing that must be done once"
        );
        let set_back = Moment { wall: SystemTime::UNIX_EPOCH, ..moment(10) };
        assert!(!leads(Some(moment(0)), set_back));
    }

    /// Two replicas, one of which is cut off at any moment of its round: never do both lead.
    #[test]
    fn there_are_never_two() {
        for cut in 0..40 {
            let (mut renewed, mut sighting) = (None, None);
            let mut version = 0;
            let mut took = None;
            for second in 0..80 {
                let now = moment(second);
                // The first renews every other second until it is cut off; its write arrives a second later.
                if second < cut && second % 2 == 0 {
                    renewed = Some(now);
                    version += 1;
                }
                let held = lease(Some("a"), &format!("uid/{version}"));
                sighting = Some(Sighting::again(sighting.take(), held, now));
                if version > 0 && took.is_none() {
                    let next = next("b", sighting.as_ref(), now);
                    took = matches!(next, Next::Take(_)).then_some(now);
                }
                assert!(!(leads(renewed, now) && leads(took, now)), "cut off at {cut}, {second}");
            }
            assert!(took.is_some() || cut == 0, "the other one leads in the end");
        }
    }
}
