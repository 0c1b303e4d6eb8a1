//! Who belongs to a mesh that may go by several names.

use super::{SpiffeId, TrustDomain};

/// The workloads of one mesh: those of its trust domain, and those of the domains that it also goes by.
#[derive(Debug, Clone, Copy)]
pub struct Members<'a> {
    own: &'a TrustDomain,
    aliases: &'a [TrustDomain],
}

impl<'a> Members<'a> {
    /// Those of one trust domain.
    #[must_use]
    pub fn of(own: &'a TrustDomain) -> Self {
        Self { own, aliases: &[] }
    }

    /// These too.
    #[must_use]
    pub fn with_aliases(self, aliases: &'a [TrustDomain]) -> Self {
        Self { aliases, ..self }
    }

    /// The trust domain whose roots vouch for all of them.
    #[must_use]
    pub fn own(&self) -> &'a TrustDomain {
        self.own
    }

    /// True for a workload of this mesh.
    #[must_use]
    pub fn include(&self, id: &SpiffeId) -> bool {
        id.is_member_of(self.own) || self.aliases.iter().any(|domain| id.is_member_of(domain))
    }

    /// True for a name that this mesh goes by.
    #[must_use]
    pub fn include_domain(&self, name: &str) -> bool {
        self.own.as_str() == name || self.aliases.iter().any(|domain| domain.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_of_the_domain_or_an_alias_and_of_no_other() {
        let domain = |name| TrustDomain::parse(name).unwrap();
        let (own, aliases) = (domain("mesh.example"), [domain("old.example")]);
        let member = |id, members: Members<'_>| members.include(&SpiffeId::parse(id).unwrap());
        let both = Members::of(&own).with_aliases(&aliases);
        assert!(member("spiffe://mesh.example/a", both));
        assert!(member("spiffe://old.example/a", both));
        assert!(!member("spiffe://old.example/a", Members::of(&own)));
        for other in ["spiffe://older.example/a", "spiffe://old.example.evil/a", "spiffe://x/a"] {
            assert!(!member(other, both), "{other}");
        }
    }
}
