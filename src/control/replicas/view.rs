//! What the reports of other replicas come to, for a change of the root. Pure: what was seen and the time go in.
//!
//! A replica that said something lately counts with what it said. One that is silent may still serve sidecars of which
//! nothing is known, until its lease has ended: by then it has ended their streams itself and signs nothing more
//! ([`super::SILENCE`]). After that its sidecars have the time to come back that they have after any start.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use crate::ca::rotation::{self, Connected, Replica, Says};
use crate::kube::ObjectVersion;

use super::SILENCE;
use super::moment::Moment;
use super::report::{Gone, Group, Named, Report, at};

/// A report counts for this long after it came.
const FRESH: Duration = Duration::from_secs(15);
/// How much later than a replica itself the others take it for ended.
const MARGIN: Duration = Duration::from_secs(30);

/// Another replica, as its lease shows it.
#[derive(Debug, Clone)]
pub(in crate::control) struct Known {
    pub(super) name: String,
    pub(super) version: Option<ObjectVersion>,
    /// `None`: what it says is not understood.
    pub(super) report: Option<Report>,
    /// When it was last seen to change.
    pub(super) since: Moment,
    /// It did change since it was first seen: before that it may be what somebody left who ended long ago.
    pub(super) moves: bool,
}

/// What is compared with.
pub(in crate::control) struct Here<'a> {
    /// The version of the bundle that every sidecar is to have; `None` while that is not told here yet.
    pub(in crate::control) bundle: Option<&'a str>,
    /// The key identifier of the authority in the leaves that are signed.
    pub(in crate::control) signs: &'a str,
    pub(in crate::control) now: Moment,
}

/// What the others come to.
#[derive(Debug, Default)]
pub(in crate::control) struct Others {
    pub(in crate::control) replicas: Vec<Replica>,
    /// Sidecars that went away from them without the bundle, but for those that are found elsewhere.
    pub(in crate::control) gone: Vec<Gone>,
    /// How many more the living ones found to be of pods that are over.
    pub(in crate::control) over: usize,
    /// Until when further ones may serve on, of which too many went away to be named.
    pub(in crate::control) more_gone_until: Option<SystemTime>,
    /// Who is connected to one of them, of those that went away from another.
    pub(in crate::control) found: BTreeSet<String>,
    /// When the last one ended whose sidecars then had to go elsewhere.
    pub(in crate::control) ended: Option<SystemTime>,
}

/// What a lease says of its replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Lives,
    Silent { until: SystemTime },
    Ended { at: SystemTime },
}

pub(super) fn life(seen: &Known, now: Moment) -> Life {
    if seen.report.as_ref().is_some_and(|report| report.leaving) {
        return Life::Ended { at: seen.since.wall };
    }
    let (passed, end) = (now.at_least_since(seen.since), SILENCE + MARGIN);
    let from_now = |left: Duration| now.wall.checked_add(left).unwrap_or(now.wall);
    match end.checked_sub(passed).filter(|left| !left.is_zero()) {
        None => {
            let over = passed.saturating_sub(end);
            Life::Ended { at: now.wall.checked_sub(over).unwrap_or(SystemTime::UNIX_EPOCH) }
        }
        Some(_) if passed < FRESH && seen.moves && seen.report.is_some() => Life::Lives,
        Some(left) => Life::Silent { until: from_now(left) },
    }
}

/// True when nothing depends on this lease any more: its replica ended, its sidecars had the time to come back, and none
/// that it missed has a valid certificate.
pub(super) fn is_forgotten(seen: &Known, now: Moment) -> bool {
    let Life::Ended { at: ended } = life(seen, now) else { return false };
    let back = ended.checked_add(rotation::RECONNECT + MARGIN);
    let until = seen
        .report
        .iter()
        .flat_map(|report| report.gone.iter().map(|gone| gone.until).chain(report.more_gone_until));
    back.is_some_and(|back| now.wall >= back)
        && until.max().is_none_or(|until| now.wall > at(until))
}

impl Others {
    pub(super) fn new(seen: &[Known], here: &Here<'_>) -> Self {
        let mut others = Self::default();
        for one in seen {
            others.add(one, here);
        }
        let found = std::mem::take(&mut others.found);
        others.gone.retain(|gone| !found.contains(&gone.key()) && at(gone.until) >= here.now.wall);
        others.found = found;
        others
    }

    fn add(&mut self, seen: &Known, here: &Here<'_>) {
        let connected = seen.report.as_ref().map_or(0, Report::connected);
        let says = match life(seen, here.now) {
            Life::Ended { at } => {
                self.ended = self.ended.max(Some(at));
                self.miss(seen);
                return;
            }
            Life::Silent { until } => Says::Nothing { until },
            Life::Lives => {
                let report = seen.report.as_ref();
                let over = report.map_or(0, |report| report.over);
                self.over = self.over.saturating_add(over);
                self.found.extend(report.iter().flat_map(|report| report.found.iter().cloned()));
                report.map_or(Says::Behind, |report| counted(report, here))
            }
        };
        self.miss(seen);
        self.replicas.push(Replica { name: seen.name.clone(), connected, says });
    }

    fn miss(&mut self, seen: &Known) {
        let Some(report) = &seen.report else { return };
        self.gone.extend(report.gone.iter().cloned());
        let more = report.more_gone_until.map(at);
        self.more_gone_until = self.more_gone_until.max(more);
    }
}

/// A replica that tells another bundle, or signs with another key, has yet to follow.
fn counted(report: &Report, here: &Here<'_>) -> Says {
    let same = here.bundle.is_some() && report.bundle.as_deref() == here.bundle;
    if !same || report.signs != here.signs {
        return Says::Behind;
    }
    let group = |Group { acknowledged, key_id, count }: &Group| rotation::Group {
        acknowledged: *acknowledged,
        key_id: key_id.clone(),
        count: *count,
    };
    let named = |Named { id, acknowledged, key_id, since }: &Named| Connected {
        id: id.clone(),
        acknowledged: *acknowledged,
        key_id: key_id.clone(),
        since: at(*since),
    };
    Says::Counts {
        groups: report.groups.iter().map(group).collect(),
        named: report.named.iter().map(named).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use tokio::time::Instant;

    use super::*;
    use crate::identity::SpiffeId;

    fn moment(seconds: u64) -> Moment {
        static START: OnceLock<Instant> = OnceLock::new();
        let after = Duration::from_secs(seconds);
        let steady = *START.get_or_init(Instant::now) + after;
        Moment { steady, wall: at(1_790_000_000 + seconds) }
    }

    fn id(name: &str) -> SpiffeId {
        SpiffeId::parse(&format!("spiffe://demo.mesh/ns/shop/sa/{name}")).unwrap()
    }

    fn report(bundle: &str, acknowledged: bool) -> Report {
        let mut report = Report {
            bundle: Some(bundle.to_owned()),
            signs: "key".to_owned(),
            ..Report::default()
        };
        let one = Named { id: id("web"), acknowledged, key_id: "key".to_owned(), since: 0 };
        report.count([one].into_iter());
        report
    }

    fn seen(report: Report, since: u64) -> Known {
        Known {
            name: "b".to_owned(),
            version: None,
            report: Some(report),
            since: moment(since),
            moves: true,
        }
    }

    fn others(seen: &[Known], bundle: &str, now: u64) -> Others {
        let here = Here { bundle: Some(bundle), signs: "key", now: moment(now) };
        Others::new(seen, &here)
    }

    fn gone(name: &str, until: u64) -> Gone {
        let until = 1_790_000_000 + until;
        Gone { id: id(name), serial: "a".to_owned(), left: 1_790_000_000, until, pod: None }
    }

    #[test]
    fn a_report_counts_while_it_is_fresh_and_of_the_same_bundle() {
        let said = seen(report("two", true), 100);
        let says = |bundle: &str, now| others(std::slice::from_ref(&said), bundle, now).replicas;
        assert!(matches!(says("two", 114)[0].says, Says::Counts { .. }));
        assert!(matches!(says("three", 101)[0].says, Says::Behind));
        let end = at(1_790_000_000 + 100) + SILENCE + MARGIN;
        for now in [115, 400, 729] {
            assert!(
                matches!(says("two", now)[0].says, Says::Nothing { until } if until == end),
                "{now}"
            );
        }
        assert!(says("two", 730).is_empty());
        let over = others(std::slice::from_ref(&said), "two", 800);
        assert_eq!(over.ended, Some(end));
        // Nobody knows what the bundle of now is.
        let here = Here { bundle: None, signs: "key", now: moment(101) };
        assert!(matches!(Others::new(&[said], &here).replicas[0].says, Says::Behind));
        let mut other_key = report("two", true);
        other_key.signs = "another".to_owned();
        let behind = others(&[seen(other_key, 100)], "two", 101);
        assert!(matches!(behind.replicas[0].says, Says::Behind));
    }

    #[test]
    fn what_is_not_understood_is_silence() {
        let odd = Known {
            name: "b".to_owned(),
            version: None,
            report: None,
            since: moment(100),
            moves: true,
        };
        assert!(matches!(others(&[odd], "two", 101).replicas[0].says, Says::Nothing { .. }));
        // What is seen for the first time may be years old.
        let first = Known { moves: false, ..seen(report("two", true), 100) };
        assert!(matches!(others(&[first], "two", 101).replicas[0].says, Says::Nothing { .. }));
    }

    #[test]
    fn who_leaves_is_over_at_once_and_what_it_missed_is_not() {
        let mut leaving = report("two", true);
        leaving.leaving = true;
        leaving.miss(vec![gone("orders", 3600)]);
        let leaving = seen(leaving, 100);
        let after = others(std::slice::from_ref(&leaving), "two", 101);
        assert!(after.replicas.is_empty());
        assert_eq!((after.ended, after.gone.len()), (Some(moment(100).wall), 1));
        assert!(!is_forgotten(&leaving, moment(3600)));
        assert!(is_forgotten(&leaving, moment(3601)));
        let empty = seen(Report { leaving: true, ..Report::default() }, 100);
        assert!(!is_forgotten(&empty, moment(100 + 89)));
        assert!(is_forgotten(&empty, moment(100 + 90)));
        assert!(!is_forgotten(&seen(report("two", true), 100), moment(101)));
    }

    #[test]
    fn who_is_found_elsewhere_is_not_gone() {
        let mut one = report("two", true);
        one.miss(vec![gone("orders", 3600), gone("web", 3600), gone("old", 50)]);
        let mut two = report("two", true);
        two.found = [gone("orders", 3600).key()].into();
        let all = [seen(one, 100), seen(two, 100)];
        let names: Vec<_> = others(&all, "two", 101).gone.into_iter().map(|gone| gone.id).collect();
        assert_eq!(names, [id("web")]);
        // What a silent one found, it may have lost again.
        let names = others(&all, "two", 200).gone;
        assert_eq!(names.len(), 2);
    }
}
