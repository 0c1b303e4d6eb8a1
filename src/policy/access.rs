//! `AccessPolicy`: who may do what to a workload.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::condition::ImpliedRoles;
use super::facts::Confirmation;
use super::field::FieldPath;
use super::presentation::{PresentationChoice, ResponseChoice};
use super::problem::{Origin, Problem};
use super::raw::{RawAccessPolicy, RawMode, RawSelector};
use super::resource::{Checked, Context, Metadata};
use super::rule::{RawRule, Rule, check_roles};

/// Rules of the workloads that it selects.
#[derive(Debug, Clone)]
pub struct AccessPolicy {
    /// Its name.
    pub metadata: Metadata,
    /// What it says.
    pub spec: AccessPolicySpec,
    origin: Origin,
    reach: Reach,
}

/// Which workloads a policy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Those of its namespace that its selector selects.
    Selector,
    /// The one that it was sent to: whoever sent it knows the workload's labels, and which policies are for the whole mesh.
    Chosen,
}

/// What a policy says.
#[derive(Debug, Clone)]
pub struct AccessPolicySpec {
    /// Labels a workload must have; `None` selects every workload of the namespace.
    pub selector: Option<BTreeMap<String, String>>,
    /// Whether its rules decide.
    pub mode: Mode,
    /// Which roles imply which, for these rules.
    pub roles: Arc<ImpliedRoles>,
    /// The rules, in the order they are written.
    pub rules: Vec<Rule>,
    /// How identity is presented to the application.
    pub identity: Option<PresentationChoice>,
    /// What becomes of requests and refusals beside that.
    pub response: Option<ResponseChoice>,
}

/// Whether the rules of a policy decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They do.
    Enforce,
    /// They are judged beside those that do, on the same requests, and what would come of it is recorded.
    Audit,
}

/// Whom the credential of a request must speak for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserPattern {
    /// Nobody: the request has no credential.
    Anonymous,
    /// Somebody who was verified.
    Verified(Box<Users>),
}

/// What a verified user must be: each list holds alternatives, the lists are joined by *and*. With no list, any
/// verified user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Users {
    /// Names of identity providers.
    pub providers: Option<Vec<String>>,
    /// Subjects.
    pub subjects: Option<Vec<String>>,
    /// Roles.
    pub roles: Option<Vec<String>>,
    /// Groups. Where the provider does not say which, the rule cannot be decided.
    pub groups: Option<Vec<String>>,
    /// Scopes.
    pub scopes: Option<Vec<String>>,
    /// Tenants or organizations.
    pub tenants: Option<Vec<String>>,
    /// Mail addresses, exactly as the provider writes them.
    pub emails: Option<Vec<String>>,
    /// Claims by their top-level name. A claim that is a list matches if a member does.
    pub claims: Vec<(String, Vec<ClaimValue>)>,
    /// The credential is bound to a key in one of these ways, and its holder proved it.
    pub bound_by: Option<Vec<Confirmation>>,
}

/// What a claim is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClaimValue {
    /// Text, byte for byte.
    Text(String),
    /// A whole number.
    Number(i64),
    /// True or false.
    Boolean(bool),
}

impl AccessPolicy {
    /// The same policy for a workload that was chosen for it: neither its selector nor its namespace is looked at again.
    #[must_use]
    pub fn chosen(self) -> Self {
        Self { reach: Reach::Chosen, ..self }
    }

    pub(super) fn reach(&self) -> Reach {
        self.reach
    }

    /// Where it was written.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(super) fn check(
        metadata: Metadata,
        raw: RawAccessPolicy,
        context: &Context<'_>,
    ) -> Checked<Self> {
        let RawAccessPolicy { selector, mode, roles, rules, identity, response } = raw;
        let at = FieldPath::root().field("spec");
        let roles = roles.map(|raw| check_roles(raw, &at.field("roles"))).transpose()?;
        let selector = selector.map(|raw| check_selector(raw, &at)).transpose()?;
        let identity = identity
            .map(|raw| PresentationChoice::check(raw, &at.field("identity")))
            .transpose()?;
        let response =
            response.map(|raw| ResponseChoice::check(raw, &at.field("response"))).transpose()?;
        let rules = match rules {
            Some(raw) => check_rules(raw, &at.field("rules"), context)?,
            None if identity.is_some() || response.is_some() => Vec::new(),
            None => return Err(Problem::new(at, "has no `rules`")),
        };
        let origin = context.origin(&FieldPath::root().field("metadata").field("name"));
        let spec = AccessPolicySpec {
            selector,
            mode: match mode {
                None | Some(RawMode::Enforce) => Mode::Enforce,
                Some(RawMode::Audit) => Mode::Audit,
            },
            roles: Arc::new(roles.unwrap_or_default()),
            rules,
            identity,
            response,
        };
        Ok(Self { metadata, spec, origin, reach: Reach::Selector })
    }
}

fn check_selector(raw: RawSelector, at: &FieldPath) -> Checked<BTreeMap<String, String>> {
    let RawSelector { match_labels } = raw;
    if match_labels.is_empty() {
        let at = at.field("selector").field("matchLabels");
        return Err(Problem::new(at, "is empty")
            .hint("leave `selector` out to select every workload of the namespace"));
    }
    Ok(match_labels)
}

fn check_rules(raw: Vec<RawRule>, at: &FieldPath, context: &Context<'_>) -> Checked<Vec<Rule>> {
    if raw.is_empty() {
        return Err(Problem::new(at.clone(), "is empty").hint("leave the field out"));
    }
    let mut names = std::collections::HashSet::with_capacity(raw.len());
    let mut rules = Vec::with_capacity(raw.len());
    for (place, raw) in raw.into_iter().enumerate() {
        let at = at.item(place);
        let rule = Rule::check(raw, &at, context.origin(&at))?;
        if !names.insert(rule.name.clone()) {
            let message = format!("another rule of this policy is named `{}`", rule.name);
            return Err(Problem::new(at.field("name"), message));
        }
        rules.push(rule);
    }
    Ok(rules)
}
