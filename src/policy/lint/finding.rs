//! What a check of resources finds.

/// One thing that is wrong, or probably not meant, or worth to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which kind of thing.
    pub lint: Lint,
    /// The file.
    pub source: String,
    /// Line and column, counted from one, where they are known.
    pub place: Option<(u64, u64)>,
    /// The resource or rule: `shop/orders`, `shop/orders#rule`; empty where it has no name.
    pub subject: String,
    /// What is found.
    pub message: String,
    /// What to write instead, where there is a next step.
    pub hint: Option<String>,
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A sidecar would refuse the resources.
    Error,
    /// A sidecar would take them; they probably do not say what was meant.
    Warning,
    /// Only told.
    Note,
}

/// The kinds of things that are found. Their names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lint {
    /// The resource is no valid resource, or not among the others.
    Invalid,
    /// A rule, or a part of one, that can match nothing, or whose match is always refused.
    NeverMatches,
    /// Another rule takes everything that this one does.
    Shadowed,
    /// An allow that asks neither who calls nor for whom.
    Open,
    /// Any workload of the mesh may write.
    AnyPeerWrites,
    /// A selector that no workload of the manifests has.
    SelectsNothing,
    /// Text that looks like a pattern where every character is meant as it stands.
    LooksLikePattern,
    /// An identity provider that no rule asks for.
    UnusedProvider,
    /// A policy that is only recorded.
    Audit,
}

impl Lint {
    /// All of them, in the order in which they are documented.
    pub const ALL: [Self; 9] = [
        Self::Invalid,
        Self::NeverMatches,
        Self::Shadowed,
        Self::Open,
        Self::AnyPeerWrites,
        Self::SelectsNothing,
        Self::LooksLikePattern,
        Self::UnusedProvider,
        Self::Audit,
    ];

    /// The stable name.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NeverMatches => "never-matches",
            Self::Shadowed => "shadowed",
            Self::Open => "open",
            Self::AnyPeerWrites => "any-peer-writes",
            Self::SelectsNothing => "selects-nothing",
            Self::LooksLikePattern => "looks-like-pattern",
            Self::UnusedProvider => "unused-provider",
            Self::Audit => "audit",
        }
    }

    /// How much it matters.
    #[must_use]
    pub fn level(self) -> Level {
        match self {
            Self::Invalid => Level::Error,
            Self::NeverMatches
            | Self::Shadowed
            | Self::Open
            | Self::AnyPeerWrites
            | Self::SelectsNothing
            | Self::LooksLikePattern
            | Self::UnusedProvider => Level::Warning,
            Self::Audit => Level::Note,
        }
    }

    /// What it says of a resource, in one sentence.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Invalid => "a sidecar would refuse this resource",
            Self::NeverMatches => {
                "a rule or a part of it can match nothing, or a deny refuses all that it matches"
            }
            Self::Shadowed => "another rule takes everything that this rule does",
            Self::Open => {
                "an allow asks neither for peers nor for users: anybody may, even anonymously"
            }
            Self::AnyPeerWrites => "any workload of the mesh may write, whoever it calls for",
            Self::SelectsNothing => "no workload of the manifests has the labels of the selector",
            Self::LooksLikePattern => {
                "a text looks like a pattern and is compared letter by letter"
            }
            Self::UnusedProvider => "no rule asks for users of this identity provider",
            Self::Audit => "the policy is in mode Audit: it is recorded and decides nothing",
        }
    }
}

impl Level {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}
