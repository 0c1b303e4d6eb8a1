//! Sidecars that went away. Whether one ended or only lost its connection cannot be told here; while its certificate is
//! valid it may serve on with the bundle that it had, unless its pod is over ([`super::pods`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use crate::control::replicas::{self, Gone};
use crate::identity::SpiffeId;
use crate::kube::PodId;

/// A sidecar that renews connects with its new certificate and then leaves with its old one, or the other way round.
/// Both happen within this time.
const CHANGE_OVER: Duration = Duration::from_secs(60);

/// One certificate of one workload.
pub(super) type Key = (SpiffeId, String);

/// A connection, as it is seen now.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) since: SystemTime,
    pub(super) not_after: SystemTime,
    /// The sequence of the newest bundle that it acknowledged.
    pub(super) acknowledged: Option<u64>,
    /// The pod that it runs in, where that is known.
    pub(super) pod: Option<PodId>,
}

/// Who went away, out of what is seen time and again.
#[derive(Debug, Default)]
pub(super) struct Absent {
    present: BTreeMap<Key, Seen>,
    left: BTreeMap<Key, Left>,
    /// Connections that were found to be a change-over from one that left.
    paired: BTreeSet<Key>,
    /// Which connection here is the one that left another replica, by what that calls it.
    claimed: BTreeMap<String, Key>,
}

/// A sidecar that left without the bundle.
#[derive(Debug, Clone)]
pub(super) struct Lacking {
    pub(super) key: Key,
    pub(super) left: SystemTime,
    /// The last second of its certificate.
    pub(super) until: SystemTime,
    pub(super) pod: Option<PodId>,
}

impl Lacking {
    /// The same, for the other replicas.
    pub(super) fn to_gone(&self) -> Gone {
        let (id, serial) = self.key.clone();
        let (left, until) = (replicas::unix(self.left), replicas::unix(self.until));
        Gone { id, serial, left, until, pod: self.pod.clone() }
    }
}

#[derive(Debug)]
struct Left {
    at: SystemTime,
    seen: Seen,
}

impl Absent {
    /// Compares who is there with who was there.
    pub(super) fn look(&mut self, now: SystemTime, mut present: BTreeMap<Key, Seen>) {
        let before = std::mem::take(&mut self.present);
        for (key, held) in &before {
            match present.get_mut(key) {
                // What it acknowledged, it keeps; and it stays in its pod.
                Some(seen) => {
                    seen.acknowledged = seen.acknowledged.max(held.acknowledged);
                    seen.pod = seen.pod.take().or_else(|| held.pod.clone());
                }
                None => {
                    self.left.insert(key.clone(), Left { at: now, seen: held.clone() });
                }
            }
        }
        for key in present.keys().filter(|key| !before.contains_key(key)) {
            self.left.remove(key);
        }
        self.change_over(now, &present);
        self.left.retain(|_, left| now <= left.seen.not_after);
        self.present = present;
    }

    /// Those who may still serve without the bundle of `sequence`, and until when.
    pub(super) fn without(&self, sequence: u64) -> Vec<Lacking> {
        let lacks = |left: &&Left| left.seen.acknowledged.is_none_or(|held| held < sequence);
        let lacking = self.left.iter().filter(|(_, left)| lacks(left));
        let lacking = lacking.map(|(key, left)| Lacking {
            key: key.clone(),
            left: left.at,
            until: left.seen.not_after,
            pod: left.seen.pod.clone(),
        });
        lacking.collect()
    }

    /// Those that another replica has now did not go away.
    pub(super) fn found_elsewhere(&mut self, found: &BTreeSet<String>) {
        self.left.retain(|(id, serial), _| !found.contains(&format!("{id} {serial}")));
    }

    /// Of those that left other replicas, the ones that are here: with the same certificate, or with the one that they
    /// changed to on the way.
    pub(super) fn claim(&mut self, gone: &[Gone]) -> BTreeSet<String> {
        let asked: BTreeSet<String> = gone.iter().map(Gone::key).collect();
        let present = &self.present;
        self.claimed.retain(|name, key| asked.contains(name) && present.contains_key(key));
        for one in gone {
            if self.claimed.contains_key(&one.key()) {
                continue;
            }
            if let Some(key) = self.here(one) {
                self.paired.insert(key.clone());
                self.claimed.insert(one.key(), key);
            }
        }
        self.claimed.keys().cloned().collect()
    }

    fn here(&self, gone: &Gone) -> Option<Key> {
        let same = (gone.id.clone(), gone.serial.clone());
        if self.present.contains_key(&same) {
            return Some(same);
        }
        let left = replicas::at(gone.left);
        let near = |since: SystemTime| {
            let apart = since.duration_since(left).or_else(|_| left.duration_since(since));
            apart.is_ok_and(|apart| apart <= CHANGE_OVER)
        };
        let found = self.present.iter().find(|((id, _), seen)| {
            *id == gone.id && near(seen.since) && may_be_in(gone.pod.as_ref(), seen)
        });
        found.map(|(key, _)| key.clone()).filter(|key| !self.paired.contains(key))
    }

    /// For each connection that came a moment ago, one that left a moment ago, of the same workload and older, is the
    /// same sidecar with its old certificate.
    fn change_over(&mut self, now: SystemTime, present: &BTreeMap<Key, Seen>) {
        let lately = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age <= CHANGE_OVER);
        self.paired.retain(|key| present.contains_key(key));
        for (key, seen) in present.iter().filter(|(_, seen)| lately(seen.since)) {
            if self.paired.contains(key) {
                continue;
            }
            let same = self.left.iter().find(|((other, _), left)| {
                *other == key.0
                    && lately(left.at)
                    && left.seen.since < seen.since
                    && may_be_in(left.seen.pod.as_ref(), seen)
            });
            if let Some(old) = same.map(|(old, _)| old.clone()) {
                self.left.remove(&old);
                self.paired.insert(key.clone());
            }
        }
    }
}

/// A sidecar that left a known pod is no other than one that is seen in that pod.
fn may_be_in(left: Option<&PodId>, seen: &Seen) -> bool {
    left.is_none() || left == seen.pod.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + seconds)
    }

    fn one(name: &str, serial: &str, since: u64, acknowledged: Option<u64>) -> (Key, Seen) {
        let id = SpiffeId::parse(&format!("spiffe://demo.mesh/ns/shop/sa/{name}")).unwrap();
        let (since, not_after) = (at(since), at(3600));
        ((id, serial.to_owned()), Seen { since, not_after, acknowledged, pod: None })
    }

    fn names(absent: &Absent, sequence: u64) -> Vec<String> {
        absent.without(sequence).into_iter().map(|one| one.key.0.to_string()).collect()
    }

    #[test]
    fn who_left_without_the_bundle_counts_until_its_certificate_ends() {
        let mut absent = Absent::default();
        absent.look(at(0), [one("web", "a", 0, Some(1)), one("orders", "b", 0, Some(1))].into());
        assert!(names(&absent, 1).is_empty());
        absent.look(at(100), [one("orders", "b", 0, Some(1))].into());
        assert!(names(&absent, 1).is_empty(), "it left with the bundle of then");
        assert_eq!(names(&absent, 2), ["spiffe://demo.mesh/ns/shop/sa/web"]);
        absent.look(at(3600), [one("orders", "b", 0, Some(2))].into());
        assert_eq!(names(&absent, 2).len(), 1);
        absent.look(at(3601), [one("orders", "b", 0, Some(2))].into());
        assert!(names(&absent, 2).is_empty());
    }

    #[test]
    fn who_comes_back_is_not_absent() {
        let mut absent = Absent::default();
        absent.look(at(0), [one("web", "a", 0, None)].into());
        absent.look(at(100), BTreeMap::new());
        assert_eq!(names(&absent, 1).len(), 1);
        absent.look(at(500), [one("web", "a", 500, None)].into());
        assert!(names(&absent, 1).is_empty());
    }

    #[test]
    fn a_renewed_certificate_is_no_second_sidecar() {
        for order in [[true, true], [true, false], [false, true]] {
            let mut absent = Absent::default();
            absent.look(at(0), [one("web", "old", 0, Some(1))].into());
            // Both at once, the new one first, or the old one first.
            if order[0] && !order[1] {
                absent.look(
                    at(100),
                    [one("web", "old", 0, Some(1)), one("web", "new", 100, None)].into(),
                );
            } else if order[1] && !order[0] {
                absent.look(at(99), BTreeMap::new());
            }
            absent.look(at(101), [one("web", "new", 100, None)].into());
            assert!(names(&absent, 2).is_empty(), "{order:?}");
        }
        // Much later, or of another workload, it is another one.
        let mut absent = Absent::default();
        absent.look(at(0), [one("web", "old", 0, Some(1))].into());
        absent.look(at(10), [one("orders", "x", 10, Some(2))].into());
        absent
            .look(at(200), [one("orders", "x", 10, Some(2)), one("web", "new", 200, None)].into());
        assert_eq!(names(&absent, 2).len(), 1);
    }

    #[test]
    fn one_new_connection_accounts_for_one_that_left() {
        let mut absent = Absent::default();
        absent.look(at(0), [one("web", "a", 0, Some(1)), one("web", "b", 0, Some(1))].into());
        absent.look(at(101), [one("web", "c", 100, Some(2))].into());
        assert_eq!(names(&absent, 2).len(), 1, "two replicas left, one came");
        absent.look(at(102), [one("web", "c", 100, Some(2))].into());
        assert_eq!(names(&absent, 2).len(), 1, "however often it is looked");
    }

    fn in_pod((key, seen): (Key, Seen), uid: &str) -> (Key, Seen) {
        (key, Seen { pod: Some(pod(uid)), ..seen })
    }

    fn pod(uid: &str) -> PodId {
        let (namespace, name) = ("shop".to_owned(), "web-0".to_owned());
        PodId { namespace, name, uid: uid.to_owned() }
    }

    #[test]
    fn a_new_connection_stands_for_one_that_left_the_same_pod_only() {
        let (old, new) = (one("web", "old", 0, Some(1)), one("web", "new", 100, None));
        for (before, after, stands) in [
            (old.clone(), new.clone(), true),
            (old.clone(), in_pod(new.clone(), "u-1"), true),
            (in_pod(old.clone(), "u-1"), in_pod(new.clone(), "u-1"), true),
            // The pod's name came back, and perhaps the old one is cut off and serves on.
            (in_pod(old.clone(), "u-1"), in_pod(new.clone(), "u-2"), false),
            (in_pod(old.clone(), "u-1"), new.clone(), false),
        ] {
            let gone = Lacking {
                key: before.0.clone(),
                left: at(101),
                until: at(3600),
                pod: before.1.pod.clone(),
            };
            let mut absent = Absent::default();
            absent.look(at(0), [before].into());
            absent.look(at(101), [after.clone()].into());
            let left = absent.without(2);
            assert_eq!(left.is_empty(), stands, "{left:?}");
            let mut elsewhere = Absent::default();
            elsewhere.look(at(101), [after].into());
            assert_eq!(elsewhere.claim(&[gone.to_gone()]).is_empty(), !stands, "{gone:?}");
        }
        // Once its pod is known it is.
        let mut absent = Absent::default();
        absent.look(at(0), [in_pod(old, "u-1")].into());
        absent.look(at(101), [new.clone()].into());
        assert_eq!(absent.without(2)[0].pod, Some(pod("u-1")));
        absent.look(at(102), [in_pod(new, "u-1")].into());
        assert!(absent.without(2).is_empty());
    }

    #[test]
    fn a_pod_that_was_known_once_stays_known() {
        let mut absent = Absent::default();
        absent.look(at(0), [in_pod(one("web", "a", 0, None), "u-1")].into());
        absent.look(at(1), [one("web", "a", 0, None)].into());
        absent.look(at(100), BTreeMap::new());
        assert_eq!(absent.without(1)[0].pod, Some(pod("u-1")));
    }

    fn left_elsewhere(name: &str, serial: &str, left: u64) -> Gone {
        let ((id, serial), _) = one(name, serial, 0, None);
        let (left, until) = (replicas::unix(at(left)), replicas::unix(at(3600)));
        Gone { id, serial, left, until, pod: None }
    }

    #[test]
    fn who_left_another_replica_and_is_here_is_claimed_once() {
        let mut absent = Absent::default();
        absent.look(at(0), [one("web", "a", 0, Some(1)), one("web", "b", 100, Some(1))].into());
        let same = left_elsewhere("web", "a", 50);
        let renewed = left_elsewhere("web", "c", 90);
        let another = left_elsewhere("web", "d", 90);
        let much_earlier = left_elsewhere("web", "e", 10);
        let stranger = left_elsewhere("orders", "a", 100);
        let all = [same.clone(), renewed.clone(), another, much_earlier, stranger];
        for _ in 0..2 {
            let expected: BTreeSet<String> = [same.key(), renewed.key()].into();
            assert_eq!(absent.claim(&all), expected, "one connection is one sidecar");
        }
        absent.look(at(200), [one("web", "b", 100, Some(1))].into());
        assert_eq!(absent.claim(&all), [renewed.key()].into());
        assert!(absent.claim(&[]).is_empty());
    }

    #[test]
    fn who_is_found_elsewhere_is_not_absent() {
        let mut absent = Absent::default();
        absent.look(at(0), [one("web", "a", 0, None)].into());
        absent.look(at(100), BTreeMap::new());
        let lacking = absent.without(1);
        assert_eq!(lacking[0].to_gone().key(), "spiffe://demo.mesh/ns/shop/sa/web a");
        absent.found_elsewhere(&[lacking[0].to_gone().key()].into());
        assert!(names(&absent, 1).is_empty());
    }
}
