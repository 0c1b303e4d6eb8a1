//! The roles that a role implies, for the policy in which a condition stands.

use std::collections::{BTreeMap, BTreeSet};

/// Which roles each role implies, over any number of steps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImpliedRoles {
    implied: BTreeMap<String, Vec<String>>,
}

impl ImpliedRoles {
    /// Closes what a policy says of one step each: `admin: [editor]` and `editor: [viewer]` make `admin` imply both.
    /// Roles that imply each other are all held by who holds one of them.
    #[must_use]
    pub fn close(direct: &BTreeMap<String, Vec<String>>) -> Self {
        let implied = direct.keys().map(|role| {
            let mut found = BTreeSet::new();
            let mut pending: Vec<&str> = vec![role];
            while let Some(next) = pending.pop() {
                for implied in direct.get(next).into_iter().flatten() {
                    if implied != role && found.insert(implied.as_str()) {
                        pending.push(implied);
                    }
                }
            }
            (role.clone(), found.into_iter().map(str::to_owned).collect())
        });
        Self { implied: implied.collect() }
    }

    /// True when no role implies another.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.implied.is_empty()
    }

    /// What a role implies, itself left out.
    #[must_use]
    pub fn of(&self, role: &str) -> &[String] {
        self.implied.get(role).map(Vec::as_slice).unwrap_or_default()
    }

    /// True when whoever holds `held` holds `wanted`.
    #[must_use]
    pub fn grants(&self, held: &str, wanted: &str) -> bool {
        held == wanted || self.of(held).iter().any(|implied| implied == wanted)
    }

    /// Every role whose holder holds `wanted`, itself first.
    pub fn granting<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = &'a str> {
        let others = self.implied.iter().filter(move |(role, implied)| {
            *role != wanted && implied.iter().any(|implied| implied == wanted)
        });
        std::iter::once(wanted).chain(others.map(|(role, _)| role.as_str()))
    }

    /// The roles that are held, and those they imply, each once.
    pub fn effective<'a>(&'a self, held: &'a [String]) -> impl Iterator<Item = &'a str> {
        let mut seen = BTreeSet::new();
        held.iter()
            .flat_map(|role| std::iter::once(role).chain(self.of(role)))
            .map(String::as_str)
            .filter(move |role| seen.insert(*role))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(direct: &[(&str, &[&str])]) -> ImpliedRoles {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        ImpliedRoles::close(
            &direct.iter().map(|(role, implied)| ((*role).to_owned(), own(implied))).collect(),
        )
    }

    #[test]
    fn roles_imply_over_steps_and_in_circles() {
        let roles = roles(&[
            ("admin", &["editor"]),
            ("editor", &["viewer"]),
            ("a", &["b"]),
            ("b", &["a", "c"]),
        ]);
        assert_eq!(roles.of("admin"), ["editor", "viewer"]);
        assert_eq!(roles.of("a"), ["b", "c"]);
        assert_eq!(roles.of("b"), ["a", "c"]);
        assert!(roles.of("viewer").is_empty() && roles.of("nobody").is_empty());
        assert!(roles.grants("admin", "viewer") && roles.grants("viewer", "viewer"));
        assert!(!roles.grants("viewer", "admin") && !roles.grants("a", "admin"));
        assert_eq!(roles.granting("viewer").collect::<Vec<_>>(), ["viewer", "admin", "editor"]);
        let held = ["editor".to_owned(), "viewer".to_owned(), "x".to_owned()];
        assert_eq!(roles.effective(&held).collect::<Vec<_>>(), ["editor", "viewer", "x"]);
    }
}
