//! Which facts are known. A record of a decision holds few: what it does not say must not be taken for absent.

use std::collections::BTreeSet;

/// A kind of fact that may not be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fact {
    /// The roles of users and clients.
    Roles,
    /// Their groups.
    Groups,
    /// Their scopes.
    Scopes,
    /// Their tenant.
    Tenant,
    /// Their mail address.
    Email,
    /// All their claims, how they signed in among them.
    Claims,
    /// How their credential is bound to a key.
    Binding,
    /// The headers of the request.
    Headers,
    /// Its query.
    Query,
    /// Its body.
    Body,
    /// The port of the connection.
    Port,
    /// The TLS server name.
    Sni,
    /// The address of the client in front of the proxies.
    Forwarded,
    /// What policy engines say.
    Engines,
}

/// What is known, told by what is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    missing: BTreeSet<Fact>,
}

/// What conditions call the facts that may be missing.
const NAMES: [(&str, Fact); 16] = [
    ("user.roles", Fact::Roles),
    ("client.roles", Fact::Roles),
    ("user.groups", Fact::Groups),
    ("client.groups", Fact::Groups),
    ("user.scopes", Fact::Scopes),
    ("client.scopes", Fact::Scopes),
    ("user.tenant", Fact::Tenant),
    ("client.tenant", Fact::Tenant),
    ("user.email", Fact::Email),
    ("client.email", Fact::Email),
    ("user.claims", Fact::Claims),
    ("client.claims", Fact::Claims),
    ("user.boundBy", Fact::Binding),
    ("client.boundBy", Fact::Binding),
    ("request.headers", Fact::Headers),
    ("request.query", Fact::Query),
];

impl Known {
    /// Everything.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// Everything but these.
    #[must_use]
    pub fn without(missing: impl IntoIterator<Item = Fact>) -> Self {
        Self { missing: missing.into_iter().collect() }
    }

    pub(super) fn is_missing(&self, fact: Fact) -> bool {
        self.missing.contains(&fact)
    }

    /// What a condition may ask for that is not known. Its text is searched: a name inside a literal
    /// counts too, which only makes the answer more careful.
    pub(super) fn leaves_open(&self, condition: &str) -> Option<Fact> {
        // Conditions may learn further names; whoever lacks the body or the connection's facts does not guess.
        let further = [
            ("request.body", Fact::Body),
            ("request.json", Fact::Body),
            ("rpc.", Fact::Body),
            ("connection.", Fact::Port),
            ("destination.", Fact::Port),
            ("source.", Fact::Forwarded),
        ];
        let open = |(name, fact): &(&str, Fact)| {
            (self.is_missing(*fact) && condition.contains(name)).then_some(*fact)
        };
        NAMES.iter().chain(&further).find_map(open)
    }
}

impl Fact {
    /// For a sentence: "the record does not say …".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Roles => "the roles",
            Self::Groups => "the groups",
            Self::Scopes => "the scopes",
            Self::Tenant => "the tenant",
            Self::Email => "the mail address",
            Self::Claims => "the claims",
            Self::Binding => "how the credential is bound",
            Self::Headers => "the headers",
            Self::Query => "the query",
            Self::Body => "the body",
            Self::Port => "the port",
            Self::Sni => "the TLS server name",
            Self::Forwarded => "the address in front of the proxies",
            Self::Engines => "what the engines said",
        }
    }
}
