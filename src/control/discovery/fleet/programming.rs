//! Resources that are for some sidecars only: who is told which, and how far each got.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::identity::SpiffeId;
use crate::kube::PodId;
use crate::xds::own::{POLICY_KIND, POLICY_RESOURCE_TYPE, Running, SERVICE_KIND};
use crate::xds::{Catalogue, Kind, Refusal, SharedTable};

use super::{Certificate, Connection, Fleet};

/// How far one resource got that is for some sidecars only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Programming {
    /// How many connected sidecars it is for.
    pub selected: usize,
    /// How many of them have accepted it as it is now.
    pub running: usize,
    /// How many of them refuse it as it is now.
    pub refusing: usize,
    /// One that refuses it, and why.
    pub refusal: Option<(SpiffeId, Arc<str>)>,
}

/// How far one resource got at one sidecar.
enum Standing {
    /// It runs it as it is now.
    Running,
    /// It refuses it as it is now: why.
    Refusing(Arc<str>),
    /// It has said nothing of it as it is now.
    Waiting,
}

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::control) enum Audience {
    /// Everybody who is connected: what there is changed.
    Everyone,
    /// Those only who were told nothing yet.
    Newcomers,
}

impl Fleet {
    /// Tells sidecars that have said what they are the resources that are for them, and takes note of their pods. `None`:
    /// neither is known now, and what was told stands. `resources` must be quick.
    pub(in crate::control) fn tell_each(
        &self,
        audience: Audience,
        mut resources: impl FnMut(&Certificate, &Running) -> Option<(PodId, Arc<SharedTable>)>,
    ) {
        let mut seats = self.lock();
        let all = seats.taken.values_mut().filter(|connection| connection.feed.is_some());
        for connection in all {
            if audience == Audience::Newcomers && connection.resources().is_some() {
                continue;
            }
            let Some((pod, table)) = resources(&connection.certificate, &connection.running) else {
                continue;
            };
            connection.pod = Some(pod);
            connection.tell(POLICY_KIND, table);
        }
    }

    /// Tells the services of the mesh to all sidecars that have said what they are. Those that need none do not ask.
    pub(in crate::control) fn tell_services(&self, services: &Arc<SharedTable>) {
        let seats = self.lock();
        for connection in seats.taken.values().filter(|connection| connection.feed.is_some()) {
            connection.tell(SERVICE_KIND, Arc::clone(services));
        }
    }

    /// How far each resource got that is for some sidecars only, by its name. One that is for nobody is not in it.
    #[must_use]
    pub(in crate::control) fn programmed(&self) -> BTreeMap<Arc<str>, Programming> {
        let mut all: BTreeMap<Arc<str>, Programming> = BTreeMap::new();
        for connection in self.lock().taken.values() {
            connection.count_programmed(&mut all);
        }
        all
    }
}

impl Connection {
    /// What is for it; `None` while that is not known.
    pub(super) fn resources(&self) -> Option<Arc<SharedTable>> {
        self.own.borrow().table(POLICY_RESOURCE_TYPE).cloned()
    }

    /// Replaces what it is told of one type.
    fn tell(&self, kind: Kind, table: Arc<SharedTable>) {
        self.own.send_if_modified(|told| {
            if told.table(kind.type_url).is_some_and(|held| Arc::ptr_eq(held, &table)) {
                return false;
            }
            let others = told.tables().iter().filter(|(of, _)| *of != kind).cloned();
            *told = Arc::new(Catalogue::new(others.chain([(kind, table)]).collect()));
            true
        });
    }

    fn count_programmed(&self, all: &mut BTreeMap<Arc<str>, Programming>) {
        for (name, standing) in self.standings() {
            let count = all.entry(name).or_default();
            count.selected += 1;
            match standing {
                Standing::Running => count.running += 1,
                Standing::Refusing(reason) => {
                    count.refusing += 1;
                    count.refusal.get_or_insert((self.certificate.id.clone(), reason));
                }
                Standing::Waiting => {}
            }
        }
    }

    /// How many resources are for it, and how many of them it runs; `None` while that is not known.
    pub(super) fn programmed(&self) -> Option<(usize, usize)> {
        self.resources()?;
        let standings = self.standings();
        let running =
            standings.iter().filter(|(_, standing)| matches!(standing, Standing::Running)).count();
        Some((standings.len(), running))
    }

    /// How far each resource got that is for it; none while that is not known.
    fn standings(&self) -> Vec<(Arc<str>, Standing)> {
        let (Some(table), Some(feed)) = (self.resources(), &self.feed) else { return Vec::new() };
        let feed = feed.lock();
        let refused: BTreeMap<&Arc<str>, &Refusal> = feed
            .refusals()
            .filter(|(type_url, ..)| *type_url == POLICY_RESOURCE_TYPE)
            .map(|(_, name, refusal)| (name, refusal))
            .collect();
        let standing = |name: &Arc<str>| {
            let version = table.version(name);
            if feed.has_acknowledged(POLICY_RESOURCE_TYPE, name, version.map(|v| &**v)) {
                return Standing::Running;
            }
            match refused.get(name) {
                Some(refusal) if refusal.version.as_ref() == version => {
                    Standing::Refusing(Arc::clone(&refusal.reason))
                }
                Some(_) | None => Standing::Waiting,
            }
        };
        table.names().map(|name| (Arc::clone(name), standing(name))).collect()
    }
}
