//! What this replica sees of its own sidecars and hears of the others', for one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use crate::ca::Trust;
use crate::ca::rotation::{self, Connected, FleetView, PodState};
use crate::control::replicas::{self, Gone, Here, Moment, Named, Others, Report};
use crate::identity::SpiffeId;
use crate::kube::PodId;
use crate::xds::own::TRUST_BUNDLE_TYPE;

use super::absent::{Key, Lacking, Seen};
use super::{Inner, at};

impl Inner {
    /// Looks at the fleet, and tells the other replicas what is seen of the part that is connected here.
    pub(super) fn view(&self, now: SystemTime) -> FleetView {
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        let trust = Arc::clone(&self.authority.trust().borrow());
        let version = self.told(&trust);
        let (connected, present) = self.connected(&trust, version.as_deref());
        absent.look(now, present);
        let here = Here {
            bundle: version.as_deref(),
            signs: &trust.active_key_id,
            now: Moment::now(&self.clock),
        };
        let mut others = self.replicas.others(&here);
        absent.found_elsewhere(&others.found);
        let found = absent.claim(&others.gone);
        let lacking = absent.without(trust.sequence);
        drop(absent);
        others.gone.retain(|gone| !found.contains(&gone.key()));
        self.ask_about(&lacking, &others.gone);
        self.say((&connected, &lacking, &found), version, &trust);
        self.merged(connected, lacking, others)
    }

    /// While it matters who went away.
    fn ask_about(&self, lacking: &[Lacking], elsewhere: &[Gone]) {
        let here = lacking.iter().filter_map(|one| one.pod.clone());
        let all = here.chain(elsewhere.iter().filter_map(|gone| gone.pod.clone()));
        let matters = rotation::waits_for_absent(&self.authority.state());
        self.pods.ask_about(all.filter(|_| matters));
    }

    /// The version of the bundle that sidecars are told. What is published may be older than what the authority says: then
    /// nobody can have acknowledged it.
    fn told(&self, trust: &Trust) -> Option<String> {
        let published = self.published.borrow().clone();
        let domain = self.authority.domain();
        let current = published.bundles.own() == trust.bundles.own()
            && published.bundles.jwt_of(domain) == trust.bundles.jwt_of(domain);
        published.bundle_version(domain).filter(|_| current)
    }

    fn connected(
        &self,
        trust: &Trust,
        version: Option<&str>,
    ) -> (Vec<Connected>, BTreeMap<Key, Seen>) {
        // First who is there, then who lags: one that comes between is in neither, never taken for one that has it.
        let connected = self.fleet.connected();
        let lagging: Option<BTreeSet<Key>> = version.map(|version| {
            let asked = (TRUST_BUNDLE_TYPE, self.authority.domain().as_str());
            let found = self.fleet.acknowledged(asked, Some(version)).lagging;
            found.into_iter().map(|one| (one.id, one.serial)).collect()
        });
        let has = |key: &Key| lagging.as_ref().is_some_and(|lagging| !lagging.contains(key));
        let overdue_since = self.authority.state().overdue_since();
        let mut present: BTreeMap<Key, Seen> = BTreeMap::new();
        let mut seen = Vec::with_capacity(connected.len());
        for one in connected {
            let certificate = one.certificate;
            let key = (certificate.id.clone(), certificate.serial.clone());
            let acknowledged = has(&key);
            seen.push(Connected {
                id: certificate.id,
                acknowledged,
                key_id: certificate.authority_key_id,
                since: overdue_since.map_or(one.since, |since| since.max(one.since)),
            });
            let acknowledged = acknowledged.then_some(trust.sequence);
            let (since, not_after) = (one.since, certificate.not_after);
            present.insert(key, Seen { since, not_after, acknowledged, pod: one.pod });
        }
        (seen, present)
    }

    fn say(
        &self,
        (connected, lacking, found): (&[Connected], &[Lacking], &BTreeSet<String>),
        bundle: Option<String>,
        trust: &Trust,
    ) {
        let signs = trust.active_key_id.clone();
        let mut report = Report { bundle, signs, found: found.clone(), ..Report::default() };
        report.count(connected.iter().map(|one| Named {
            id: one.id.clone(),
            acknowledged: one.acknowledged,
            key_id: one.key_id.clone(),
            since: replicas::unix(one.since),
        }));
        let (over, gone): (Vec<&Lacking>, Vec<&Lacking>) =
            lacking.iter().partition(|one| self.pods.state(one.pod.as_ref()) == PodState::Over);
        report.over = over.len();
        report.miss(gone.into_iter().map(Lacking::to_gone).collect());
        self.replicas.say(report);
    }

    fn merged(
        &self,
        connected: Vec<Connected>,
        lacking: Vec<Lacking>,
        others: Others,
    ) -> FleetView {
        let gone = |(id, until, pod): (SpiffeId, SystemTime, Option<PodId>)| rotation::Gone {
            id,
            until,
            pod: self.pods.state(pod.as_ref()),
        };
        let here = lacking.into_iter().map(|one| (one.key.0, one.until, one.pod));
        let elsewhere = others.gone.into_iter().map(|one| (one.id, at(one.until), one.pod));
        // Whoever was connected to a replica that ended has the time to come back that there is after any start.
        let watching_since =
            others.ended.map_or(self.watching_since, |end| end.max(self.watching_since));
        FleetView {
            watching_since,
            connected,
            gone: here.chain(elsewhere).map(gone).collect(),
            over_elsewhere: others.over,
            readers: self.readers,
            more_gone_until: others.more_gone_until,
            replicas: others.replicas,
            lag: self.replicas.lag(),
        }
    }
}
