//! What other resources mean for one.

use std::collections::BTreeSet;

use super::ResourceKey;

/// What the resources of the whole mesh mean for others.
#[derive(Debug, Clone, Default)]
pub struct Neighbours {
    root: String,
    /// Kinds and names in the root namespace.
    named: BTreeSet<(&'static str, String)>,
    /// The MeshPolicy that counts.
    mesh_policy: Option<String>,
}

impl Neighbours {
    /// The resources of the namespace `root`, and the name of the MeshPolicy that counts among them.
    #[must_use]
    pub fn new<'k>(
        root: &str,
        of_root: impl Iterator<Item = &'k ResourceKey>,
        mesh_policy: Option<&str>,
    ) -> Self {
        Self {
            root: root.to_owned(),
            named: of_root.map(|key| (key.kind, key.name.clone())).collect(),
            mesh_policy: mesh_policy.map(str::to_owned),
        }
    }

    /// Why a resource of that name does not count however good it is; `None` when it does.
    #[must_use]
    pub fn displaced(&self, key: &ResourceKey) -> Option<String> {
        let ResourceKey { namespace, kind, name } = key;
        match *kind {
            "MeshPolicy" if *namespace != self.root => {
                Some(format!("a MeshPolicy counts in the namespace {} only", self.root))
            }
            "MeshPolicy" => {
                let first = self.mesh_policy.as_ref().filter(|first| *first != name)?;
                Some(format!("the MeshPolicy {first} is older, and a mesh has one: join them"))
            }
            // Rules of the whole mesh name providers and engines, and must not come to mean those of a namespace.
            "IdentityProvider" | "PolicyEngine" if *namespace != self.root => {
                self.named.contains(&(*kind, name.clone())).then(|| {
                    format!("the {kind} {name} of the whole mesh, in {}, has that name", self.root)
                })
            }
            _ => None,
        }
    }
}
