//! `AccessPolicy`: who may do what to a workload.

use std::collections::BTreeMap;

use super::condition::Condition;
use super::facts::Confirmation;
use super::field::FieldPath;
use super::presentation::{PresentationChoice, ResponseChoice};
use super::problem::{Origin, Problem};
use super::raw::{RawAccessPolicy, RawMatch, RawRequest, RawRule, RawSelector};
use super::resource::{Checked, Context, Metadata, check_list};
use super::template::PathTemplate;
use crate::identity::SpiffeId;

const MAX_METHOD: usize = 32;
const MAX_RULE_NAME: usize = 128;

/// Rules of the workloads that it selects.
#[derive(Debug, Clone)]
pub struct AccessPolicy {
    /// Its name.
    pub metadata: Metadata,
    /// What it says.
    pub spec: AccessPolicySpec,
    origin: Origin,
}

/// What a policy says.
#[derive(Debug, Clone)]
pub struct AccessPolicySpec {
    /// Labels a workload must have; `None` selects every workload of the namespace.
    pub selector: Option<BTreeMap<String, String>>,
    /// The rules, in the order they are written.
    pub rules: Vec<Rule>,
    /// How identity is presented to the application.
    pub identity: Option<PresentationChoice>,
    /// What becomes of requests and refusals beside that.
    pub response: Option<ResponseChoice>,
}

/// One named clause: all of its parts must match; a part that is absent does not restrict.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name, unique in the policy.
    pub name: String,
    /// What it does when it matches.
    pub effect: Effect,
    /// The workload on the wire must be one of these.
    pub peers: Option<Vec<PeerPattern>>,
    /// There must be a verified user, and it must be all of this.
    pub users: Option<Users>,
    /// The program that calls for the user must have proven itself too, and it must be all of this.
    pub clients: Option<Users>,
    /// The request must be one of these. A TCP connection is none: such a rule, `deny` included, never matches it.
    pub requests: Option<Vec<RequestPattern>>,
    /// This must be true.
    pub when: Option<Condition>,
    origin: Origin,
}

/// What a rule does when it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Admits, unless something refuses.
    Allow,
    /// Refuses, whatever else matches.
    Deny,
}

/// A workload on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerPattern {
    /// Any workload with a verified certificate.
    Any,
    /// `ns/<namespace>/sa/<service account>` of the guarded workload's own trust domain.
    ServiceAccount {
        /// The namespace.
        namespace: String,
        /// The service account.
        account: String,
    },
    /// Exactly this SPIFFE ID.
    Id(SpiffeId),
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

/// A request: method and path, a list that is absent does not restrict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPattern {
    /// Methods, exactly: `GET` does not stand for `HEAD`.
    pub methods: Option<Vec<String>>,
    /// Path templates.
    pub paths: Option<Vec<PathTemplate>>,
}

impl AccessPolicy {
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
        let RawAccessPolicy { selector, rules, identity, response } = raw;
        let at = FieldPath::root().field("spec");
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
        Ok(Self {
            metadata,
            spec: AccessPolicySpec { selector, rules, identity, response },
            origin,
        })
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

impl Rule {
    /// Where it was written.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    fn check(raw: RawRule, at: &FieldPath, origin: Origin) -> Checked<Self> {
        let RawRule { name, allow, deny } = raw;
        check_rule_name(&name, at.field("name"))?;
        let (effect, matcher, at) = match (allow, deny) {
            (Some(matcher), None) => (Effect::Allow, matcher, at.field("allow")),
            (None, Some(matcher)) => (Effect::Deny, matcher, at.field("deny")),
            (Some(_), Some(_)) => {
                return Err(Problem::new(
                    at.clone(),
                    "has both `allow` and `deny`: write two rules",
                ));
            }
            (None, None) => return Err(Problem::new(at.clone(), "needs `allow` or `deny`")),
        };
        let RawMatch { peers, users, clients, requests, when } = matcher;
        let restricts = peers.is_some()
            || users.is_some()
            || clients.is_some()
            || requests.is_some()
            || when.is_some();
        if effect == Effect::Allow && !restricts {
            return Err(Problem::new(at, "would allow everybody everything").hint(
                "say whom or what: `peers: [\"*\"]` is any workload of the mesh, `users: {}` any verified user, \
                 `requests: [{ paths: [\"/**\"] }]` any request, even anonymous",
            ));
        }
        let requests =
            requests.map(|raw| check_requests(raw, &at.field("requests"))).transpose()?;
        let when = when.map(|text| check_when(&text, requests.as_deref(), &at)).transpose()?;
        Ok(Self {
            name,
            effect,
            peers: peers.map(|raw| check_peers(raw, &at.field("peers"))).transpose()?,
            users: users.map(|raw| Users::check(raw, &at.field("users"))).transpose()?,
            clients: clients.map(|raw| Users::check(raw, &at.field("clients"))).transpose()?,
            requests,
            when,
            origin,
        })
    }
}

fn check_when(
    text: &str,
    requests: Option<&[RequestPattern]>,
    at: &FieldPath,
) -> Checked<Condition> {
    let at = at.field("when");
    let condition =
        Condition::compile(text).map_err(|error| Problem::new(at.clone(), error.to_string()))?;
    condition.check_variables(requests).map_err(|error| Problem::new(at, error.to_string()))?;
    Ok(condition)
}

fn check_rule_name(name: &str, at: FieldPath) -> Checked<()> {
    let shaped =
        name.chars().all(|c| matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.'));
    if name.is_empty() || name.len() > MAX_RULE_NAME || !shaped {
        let message = format!(
            "`{name}` is no name of letters, digits, `-`, `_` and `.`, at most {MAX_RULE_NAME} long"
        );
        return Err(Problem::new(at, message));
    }
    Ok(())
}

fn check_peers(raw: Vec<String>, at: &FieldPath) -> Checked<Vec<PeerPattern>> {
    check_list(raw, at)?
        .iter()
        .enumerate()
        .map(|(place, text)| check_peer(text, at.item(place)))
        .collect()
}

fn check_peer(text: &str, at: FieldPath) -> Checked<PeerPattern> {
    if text == "*" {
        return Ok(PeerPattern::Any);
    }
    if text.starts_with("spiffe:") {
        return SpiffeId::parse(text)
            .map(PeerPattern::Id)
            .map_err(|error| Problem::new(at, format!("`{text}` is no SPIFFE ID: it {error}")));
    }
    let mut parts = text.split('/');
    let (Some("ns"), Some(namespace), Some("sa"), Some(account), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Problem::new(at, format!("`{text}` is no peer")).hint(
            "write ns/<namespace>/sa/<service account>, a full spiffe:// ID, or \"*\" for any workload of the mesh",
        ));
    };
    let probe = crate::identity::TrustDomain::parse("probe")
        .and_then(|domain| SpiffeId::for_service_account(&domain, namespace, account));
    match probe {
        Ok(_) => Ok(PeerPattern::ServiceAccount {
            namespace: namespace.to_owned(),
            account: account.to_owned(),
        }),
        Err(error) => Err(Problem::new(at, format!("`{text}` is no peer: it {error}"))
            .hint("no part of it can be a pattern")),
    }
}

fn check_requests(raw: Vec<RawRequest>, at: &FieldPath) -> Checked<Vec<RequestPattern>> {
    if raw.is_empty() {
        return Err(
            Problem::new(at.clone(), "is empty").hint("an empty list does not mean no restriction")
        );
    }
    raw.into_iter()
        .enumerate()
        .map(|(place, raw)| {
            let at = at.item(place);
            let RawRequest { methods, paths } = raw;
            if methods.is_none() && paths.is_none() {
                return Err(Problem::new(at, "needs `methods` or `paths`")
                    .hint("any request is `paths: [\"/**\"]`"));
            }
            Ok(RequestPattern {
                methods: methods.map(|raw| check_methods(raw, &at.field("methods"))).transpose()?,
                paths: paths.map(|raw| check_paths(raw, &at.field("paths"))).transpose()?,
            })
        })
        .collect()
}

fn check_methods(raw: Vec<String>, at: &FieldPath) -> Checked<Vec<String>> {
    let methods = check_list(raw, at)?;
    for (place, method) in methods.iter().enumerate() {
        let shaped = method.starts_with(|c: char| c.is_ascii_uppercase())
            && method.len() <= MAX_METHOD
            && method.chars().all(|c| matches!(c, 'A'..='Z' | '0'..='9' | '-' | '_'));
        if !shaped {
            let upper = method.to_ascii_uppercase();
            let hint = match method.as_str() {
                "*" => "leave `methods` out for any method".to_owned(),
                _ => format!("methods are compared exactly; write {upper}"),
            };
            return Err(Problem::new(at.item(place), format!("`{method}` is no method")).hint(hint));
        }
    }
    Ok(methods)
}

fn check_paths(raw: Vec<String>, at: &FieldPath) -> Checked<Vec<PathTemplate>> {
    check_list(raw, at)?
        .iter()
        .enumerate()
        .map(|(place, text)| {
            PathTemplate::parse(text).map_err(|error| {
                Problem::new(at.item(place), format!("`{}` {error}", text.escape_debug()))
            })
        })
        .collect()
}
