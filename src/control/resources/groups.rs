//! Sets of resources, each made once and shared by all sidecars that it is for.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use crate::kube::index::{Held, ResourceKey};
use crate::xds::SharedTable;
use crate::xds::own::{Encoded, POLICY_KIND, PolicyResource};

/// All resources, and the sets that were asked for since they last changed.
pub(super) struct Groups {
    all: Arc<SharedTable>,
    by_names: HashMap<Vec<String>, Arc<SharedTable>>,
    /// Sets of before: one that did not change stays the same value, so that no stream has to look at it again.
    before: HashMap<String, Weak<SharedTable>>,
}

impl Default for Groups {
    fn default() -> Self {
        Self { all: SharedTable::empty(), by_names: HashMap::new(), before: HashMap::new() }
    }
}

impl Groups {
    /// Takes what there is now.
    pub(super) fn renew<'r>(&mut self, resources: impl Iterator<Item = &'r Arc<Held>>) {
        let contents: BTreeMap<String, Vec<u8>> = resources
            .map(|held| {
                let Encoded { name, content } = encoded(held);
                (name, content)
            })
            .collect();
        match self.all.followed_by(&POLICY_KIND, contents) {
            Ok(all) if Arc::ptr_eq(&all, &self.all) => return,
            Ok(all) => self.all = all,
            // Documents are bounded where they are heard.
            Err(error) => {
                tracing::error!(%error, "resources cannot be told; what was told before stands");
                return;
            }
        }
        let sets = std::mem::take(&mut self.by_names).into_values();
        self.before = sets.map(|set| (set.revision().to_owned(), Arc::downgrade(&set))).collect();
    }

    /// The set of these resources.
    pub(super) fn table(&mut self, keys: &[&ResourceKey]) -> Arc<SharedTable> {
        let names: Vec<String> = keys.iter().map(|key| resource_name(key)).collect();
        if let Some(set) = self.by_names.get(&names) {
            return Arc::clone(set);
        }
        let made = self.all.only(names.iter().map(String::as_str));
        let same = self.before.get(made.revision()).and_then(Weak::upgrade);
        let set = same.unwrap_or(made);
        self.by_names.insert(names, Arc::clone(&set));
        set
    }

    /// The version of a resource on its way to sidecars.
    pub(super) fn version(&self, key: &ResourceKey) -> Option<&Arc<str>> {
        self.all.version(&resource_name(key))
    }

    /// How many sets there are.
    pub(super) fn len(&self) -> usize {
        self.by_names.len()
    }
}

/// The name of a resource on its way to sidecars.
pub(super) fn resource_name(ResourceKey { namespace, kind, name }: &ResourceKey) -> String {
    format!("{kind}/{namespace}/{name}")
}

fn encoded(held: &Held) -> Encoded {
    let ResourceKey { namespace, kind, name } = &held.key;
    let resource = PolicyResource {
        kind: (*kind).to_owned(),
        namespace: namespace.clone(),
        name: name.clone(),
        generation: held.generation,
        document: held.document.clone(),
    };
    resource.encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, generation: u64) -> Arc<Held> {
        let object = serde_json::json!({
            "apiVersion": "hopgate.dev/v1alpha1",
            "kind": "AccessPolicy",
            "metadata": { "name": name, "namespace": "shop", "generation": generation },
            "spec": { "rules": [{ "name": "r", "deny": {} }] },
        });
        Arc::new(Held::read(&object).unwrap())
    }

    #[test]
    fn equal_sets_are_one_value_also_when_others_change() {
        let (a, b, c) = (policy("a", 1), policy("b", 1), policy("c", 1));
        let mut groups = Groups::default();
        groups.renew([&a, &b, &c].into_iter());
        let ab = groups.table(&[&a.key, &b.key]);
        let bc = groups.table(&[&b.key, &c.key]);
        assert!(Arc::ptr_eq(&ab, &groups.table(&[&a.key, &b.key])));
        assert_eq!(groups.len(), 2);
        let changed = policy("c", 2);
        groups.renew([&a, &b, &changed].into_iter());
        assert!(Arc::ptr_eq(&ab, &groups.table(&[&a.key, &b.key])));
        assert!(!Arc::ptr_eq(&bc, &groups.table(&[&b.key, &c.key])));
        assert_ne!(bc.revision(), groups.table(&[&b.key, &c.key]).revision());
        let names: Vec<&str> = ab.names().map(|name| &**name).collect();
        assert_eq!(names, ["AccessPolicy/shop/a", "AccessPolicy/shop/b"]);
        assert_eq!(groups.version(&a.key), ab.version("AccessPolicy/shop/a"));
    }
}
