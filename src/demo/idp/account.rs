//! Who can sign in.

/// Somebody the provider knows.
#[derive(Debug)]
pub(crate) struct Account {
    /// The `sub` of the tokens, and the name to sign in with.
    pub(crate) name: &'static str,
    /// No secret: it is printed by the demo.
    pub(crate) password: &'static str,
    /// A person signs in with the password grant, a machine with client credentials.
    pub(crate) kind: Kind,
    pub(crate) roles: &'static [&'static str],
    pub(crate) scope: &'static str,
}

/// What an account stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Person,
    Machine,
}

/// Everybody.
pub(crate) const ACCOUNTS: [Account; 4] = [
    Account {
        name: "alice",
        password: "alice-password",
        kind: Kind::Person,
        roles: &["customer"],
        scope: "orders:read",
    },
    Account {
        name: "bob",
        password: "bob-password",
        kind: Kind::Person,
        roles: &["customer"],
        scope: "orders:read",
    },
    Account {
        name: "sue",
        password: "sue-password",
        kind: Kind::Person,
        roles: &["support"],
        scope: "orders:read orders:refund",
    },
    Account {
        name: "nightly-report",
        password: "nightly-report-secret",
        kind: Kind::Machine,
        roles: &["report"],
        scope: "orders:read",
    },
];

impl Account {
    /// The account of that name and kind, if the password is right.
    pub(crate) fn sign_in(kind: Kind, name: &str, password: &str) -> Option<&'static Self> {
        ACCOUNTS.iter().find(|account| {
            account.kind == kind && account.name == name && account.password == password
        })
    }

    /// The account of that name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        ACCOUNTS.iter().find(|account| account.name == name)
    }

    /// Whether it signs in with a password, as people do.
    pub(crate) fn is_person(&self) -> bool {
        self.kind == Kind::Person
    }

    /// What to send to the token endpoint.
    pub(crate) fn credentials(&self) -> Vec<(&'static str, &'static str)> {
        let [grant, name, password] = match self.kind {
            Kind::Person => ["password", "username", "password"],
            Kind::Machine => ["client_credentials", "client_id", "client_secret"],
        };
        vec![("grant_type", grant), (name, self.name), (password, self.password)]
    }
}
