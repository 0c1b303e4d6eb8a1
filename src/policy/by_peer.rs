//! Entries by the workload on the wire.

use super::by_user::ByUser;
use super::facts::Facts;
use super::index::{EntryId, Table, UsersOf, Visitor};
use super::rule::{PeerKind, Peers};

#[derive(Debug, Default)]
pub(super) struct ByPeer {
    unrestricted: ByUser,
    any: ByUser,
    nobody: ByUser,
    exactly: Table<ByUser>,
    domains: Table<ByUser>,
    /// By trust domain, then namespace.
    namespaces: Table<Table<ByUser>>,
}

impl ByPeer {
    pub(super) fn file(&mut self, entry: EntryId, peers: &Peers) {
        let Peers::Of(kinds) = peers else { return self.unrestricted.file(entry) };
        for kind in kinds {
            let by_user = match kind {
                PeerKind::Any => &mut self.any,
                PeerKind::Nobody => &mut self.nobody,
                PeerKind::Id(id) => self.exactly.entry(id.as_str().into()).or_default(),
                PeerKind::Domain(domain) => self.domains.entry(domain.as_str().into()).or_default(),
                PeerKind::Namespace { domain, namespace } => self
                    .namespaces
                    .entry(domain.as_str().into())
                    .or_default()
                    .entry(namespace.as_str().into())
                    .or_default(),
            };
            by_user.file(entry);
        }
    }

    pub(super) fn seal(&mut self, users: &UsersOf<'_, '_>) {
        for by_user in [&mut self.unrestricted, &mut self.any, &mut self.nobody] {
            by_user.seal(users);
        }
        let namespaces = self.namespaces.values_mut().flat_map(|domain| domain.values_mut());
        self.exactly
            .values_mut()
            .chain(self.domains.values_mut())
            .chain(namespaces)
            .for_each(|by_user| by_user.seal(users));
    }

    pub(super) fn visit(&self, facts: &Facts<'_>, found: &mut impl Visitor) {
        self.unrestricted.visit(facts.user, found);
        let Some(peer) = facts.peer else { return self.nobody.visit(facts.user, found) };
        self.any.visit(facts.user, found);
        if let Some(by_user) = self.exactly.get(peer.as_str()) {
            by_user.visit(facts.user, found);
        }
        if self.domains.is_empty() && self.namespaces.is_empty() {
            return;
        }
        let domain = peer.trust_domain();
        if let Some(by_user) = self.domains.get(domain.as_str()) {
            by_user.visit(facts.user, found);
        }
        if let Some((namespace, _)) = peer.service_account()
            && let Some(namespaces) = self.namespaces.get(domain.as_str())
            && let Some(by_user) = namespaces.get(namespace)
        {
            by_user.visit(facts.user, found);
        }
    }
}
