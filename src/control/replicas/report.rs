//! What a replica says of its sidecars to the others: counts, and the names of some that lag. It stands in an annotation of
//! the replica's own lease, so it is bounded, whatever the fleet does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::identity::SpiffeId;
use crate::kube::PodId;

/// So many lagging sidecars are named.
const NAMED: usize = 16;
/// So many that went away are named; the others are counted together.
const GONE: usize = 64;
/// So many kinds of leaves are told apart.
const GROUPS: usize = 16;
/// The longest text that is read: an annotation may have 256 KiB.
pub(super) const MAX: usize = 128 * 1024;

/// What one replica says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::control) struct Report {
    /// The version of the bundle that it tells its sidecars; none if what it tells is older than what it knows.
    pub(in crate::control) bundle: Option<String>,
    /// The key identifier of the authority in the leaves that it signs.
    pub(in crate::control) signs: String,
    /// Its connected sidecars by what they have.
    pub(in crate::control) groups: Vec<Group>,
    /// Some of them, those that lag first.
    pub(in crate::control) named: Vec<Named>,
    /// Sidecars that went away without the bundle, but for those whose pods are over.
    pub(in crate::control) gone: Vec<Gone>,
    /// How many went away without it whose pods are over.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(in crate::control) over: usize,
    /// Until when others that went away without it may have a valid certificate, in seconds since 1970.
    pub(in crate::control) more_gone_until: Option<u64>,
    /// Those that went away from others and are here now.
    pub(in crate::control) found: BTreeSet<String>,
    /// It is ending: whoever is connected goes elsewhere.
    pub(in crate::control) leaving: bool,
}

/// Sidecars that have the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::control) struct Group {
    pub(in crate::control) acknowledged: bool,
    /// The key identifier of the authority in their leaves.
    pub(in crate::control) key_id: String,
    pub(in crate::control) count: usize,
}

/// A connected sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::control) struct Named {
    #[serde(with = "spiffe_id")]
    pub(in crate::control) id: SpiffeId,
    pub(in crate::control) acknowledged: bool,
    pub(in crate::control) key_id: String,
    /// In seconds since 1970.
    pub(in crate::control) since: u64,
}

/// A sidecar that went away without the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::control) struct Gone {
    #[serde(with = "spiffe_id")]
    pub(in crate::control) id: SpiffeId,
    /// The serial number of its certificate.
    pub(in crate::control) serial: String,
    /// When it went, in seconds since 1970.
    pub(in crate::control) left: u64,
    /// The last second of its certificate.
    pub(in crate::control) until: u64,
    /// The pod that it ran in, where the API server has shown that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::control) pod: Option<PodId>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

mod spiffe_id {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::identity::SpiffeId;

    pub(super) fn serialize<S: Serializer>(id: &SpiffeId, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(id.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SpiffeId, D::Error> {
        let text = String::deserialize(from)?;
        SpiffeId::parse(&text).map_err(|_| serde::de::Error::custom("no SPIFFE ID"))
    }
}

impl Gone {
    /// What it is found by.
    pub(in crate::control) fn key(&self) -> String {
        format!("{} {}", self.id, self.serial)
    }
}

impl Report {
    /// Counts and names connected sidecars. `signs`: the key identifier of the leaves that are not replaced.
    pub(in crate::control) fn count(&mut self, connected: impl Iterator<Item = Named>) {
        let mut groups: BTreeMap<(bool, String), usize> = BTreeMap::new();
        let mut named = Vec::new();
        for one in connected {
            *groups.entry((one.acknowledged, one.key_id.clone())).or_default() += 1;
            named.push(one);
        }
        let signs = &self.signs;
        named.sort_by_key(|one| (one.acknowledged, one.key_id == *signs, one.since));
        named.truncate(NAMED);
        self.named = named;
        let mut groups: Vec<Group> = groups
            .into_iter()
            .map(|((acknowledged, key_id), count)| Group { acknowledged, key_id, count })
            .collect();
        // What is too much is told as what lags in every way.
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        let rest: usize = groups.iter().skip(GROUPS - 1).map(|group| group.count).sum();
        groups.truncate(GROUPS - 1);
        if rest > 0 {
            groups.push(Group { acknowledged: false, key_id: String::new(), count: rest });
        }
        self.groups = groups;
    }

    /// Names those that went away, the ones that matter longest.
    pub(in crate::control) fn miss(&mut self, mut gone: Vec<Gone>) {
        gone.sort_by_key(|one| std::cmp::Reverse(one.until));
        self.more_gone_until = gone.get(GONE).map(|one| one.until);
        gone.truncate(GONE);
        self.gone = gone;
    }

    /// How many sidecars are connected to it.
    pub(in crate::control) fn connected(&self) -> usize {
        self.groups.iter().map(|group| group.count).sum()
    }

    /// Reads one. What is not understood is nothing that could be relied on.
    pub(super) fn read(text: &str) -> Option<Self> {
        (text.len() <= MAX).then(|| serde_json::from_str(text).ok()).flatten()
    }

    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

pub(in crate::control) fn unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

pub(in crate::control) fn at(seconds: u64) -> SystemTime {
    let moment = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    moment.unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(index: usize, acknowledged: bool, key_id: &str) -> Named {
        let id = SpiffeId::parse(&format!("spiffe://demo.mesh/ns/shop/sa/w{index}")).unwrap();
        Named { id, acknowledged, key_id: key_id.to_owned(), since: 1000 }
    }

    #[test]
    fn a_report_is_small_however_many_lag() {
        let mut report = Report { signs: "new".to_owned(), ..Report::default() };
        let lagging =
            (0..5000).map(|index| named(index, index % 2 == 0, &format!("k{}", index % 40)));
        report.count(lagging);
        let gone = |index: usize| {
            let one = named(index, false, "");
            let pod = PodId {
                namespace: "shop".to_owned(),
                name: format!("w{index}-{}", "a".repeat(40)),
                uid: "u".repeat(36),
            };
            let (serial, until) = ("a".repeat(40), 1000 + index as u64);
            Gone { id: one.id, serial, left: 1, until, pod: Some(pod) }
        };
        report.miss((0..5000).map(gone).collect());
        report.over = 7;
        assert_eq!(report.connected(), 5000);
        assert_eq!((report.named.len(), report.gone.len()), (NAMED, GONE));
        assert!(report.named.iter().all(|one| !one.acknowledged), "those that lag first");
        assert_eq!(report.more_gone_until, Some(5000 + 1000 - 1 - GONE as u64));
        let text = report.to_text();
        assert!(text.len() < MAX / 4, "{}", text.len());
        assert_eq!(Report::read(&text), Some(report));
        for odd in ["", "{}", "x", &text.replace("leaving", "left"), &"x".repeat(MAX + 1)] {
            assert_eq!(Report::read(odd), None, "{odd:.40}");
        }
    }

    #[test]
    fn more_kinds_of_leaves_than_are_told_apart_lag() {
        let mut report = Report::default();
        report.count((0..100).map(|index| named(index, true, &format!("k{index}"))));
        assert_eq!(report.groups.len(), GROUPS);
        let rest = report.groups.last().unwrap();
        assert_eq!((rest.acknowledged, &*rest.key_id, rest.count), (false, "", 100 - GROUPS + 1));
    }
}
