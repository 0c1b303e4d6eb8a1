//! The resources that come out, written field by field as a person would.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::ImportError;
use crate::policy::API_VERSION;

/// One resource.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(super) enum Resource {
    Policy(Policy),
    Provider(Provider),
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Policy {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata,
    pub(super) spec: PolicySpec,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Provider {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata,
    spec: Value,
}

#[derive(Debug, Clone, Serialize)]
struct Metadata {
    name: String,
    namespace: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolicySpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) selector: Option<Selector>,
    pub(super) rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Selector {
    pub(super) match_labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Rule {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) effect: Effect,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Effect {
    Allow(Matcher),
    Deny(Matcher),
}

/// The parts of a rule, joined by *and*.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Matcher {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peers: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) not_peers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) users: Option<Asked>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) not_users: Option<Asked>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) clients: Option<Asked>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) requests: Option<Vec<Pattern>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) not_requests: Vec<Pattern>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sources: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) not_sources: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) forwarded_for: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) not_forwarded_for: Vec<String>,
    /// Joined by *and* when it is written.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "joined")]
    pub(super) when: Vec<String>,
}

/// What is asked of users or clients.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked {
    /// `Only`: nobody is signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) anonymous: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) providers: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subjects: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scopes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) claims: BTreeMap<String, Vec<String>>,
}

/// One kind of request.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pattern {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hosts: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ports: Option<Vec<u16>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) methods: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) paths: Option<Vec<String>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) headers: BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) query: BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sni: Option<Vec<String>>,
}

fn joined<S: serde::Serializer>(parts: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&parts.join(" && "))
}

impl Resource {
    pub(super) fn policy(
        (name, namespace): (String, &str),
        selector: Option<Selector>,
        rules: Vec<Rule>,
    ) -> Self {
        Self::Policy(Policy {
            api_version: API_VERSION,
            kind: "AccessPolicy",
            metadata: Metadata { name, namespace: namespace.to_owned() },
            spec: PolicySpec { selector, rules },
        })
    }

    pub(super) fn provider((name, namespace): (String, &str), spec: Value) -> Self {
        Self::Provider(Provider {
            api_version: API_VERSION,
            kind: "IdentityProvider",
            metadata: Metadata { name, namespace: namespace.to_owned() },
            spec,
        })
    }

    /// The policy, where it is one.
    pub(super) fn as_policy(&self) -> Option<&Policy> {
        match self {
            Self::Policy(policy) => Some(policy),
            Self::Provider(_) => None,
        }
    }

    /// The policy, where it is one, to be added to.
    pub(super) fn as_policy_mut(&mut self) -> Option<&mut Policy> {
        match self {
            Self::Policy(policy) => Some(policy),
            Self::Provider(_) => None,
        }
    }

    pub(super) fn yaml(&self) -> Result<String, ImportError> {
        serde_saphyr::to_string(self).map_err(|error| ImportError::Unaccepted(error.to_string()))
    }

    pub(super) fn json(&self) -> Value {
        // Every key is text, so this does not fail.
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl Pattern {
    /// Every HTTP request, and no connection.
    pub(super) fn http() -> Self {
        Self { paths: Some(vec!["/**".to_owned()]), ..Self::default() }
    }

    /// Asks for nothing.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Asks for what a TCP connection has too.
    pub(super) fn fits_connections(&self) -> bool {
        let Self { hosts, ports: _, methods, paths, headers, query, sni: _ } = self;
        hosts.is_none()
            && methods.is_none()
            && paths.is_none()
            && headers.is_empty()
            && query.is_empty()
    }
}

impl Matcher {
    /// Everything: every peer and none, requests and connections.
    pub(super) fn everything() -> Self {
        Self { peers: Some(vec!["*".to_owned(), "none".to_owned()]), ..Self::default() }
    }

    /// True for a condition that asks for what only an HTTP request has.
    pub(super) fn is_about_http(condition: &str) -> bool {
        ["request.", "user.", "path."].iter().any(|name| condition.contains(name))
    }

    /// The same for HTTP requests alone, where something of it is about HTTP: such a rule never matches a connection there,
    /// while here what is excepted does not keep one out.
    pub(super) fn without_connections(mut self) -> Self {
        let http = self.users.is_some()
            || self.not_users.is_some()
            || self.forwarded_for.is_some()
            || !self.not_forwarded_for.is_empty()
            || self.not_requests.iter().any(|pattern| !pattern.fits_connections())
            || self.when.iter().any(|part| Self::is_about_http(part));
        if !http {
            return self;
        }
        let patterns = self.requests.get_or_insert_with(|| vec![Pattern::http()]);
        for pattern in patterns.iter_mut().filter(|pattern| pattern.fits_connections()) {
            pattern.paths = Pattern::http().paths;
        }
        self
    }

    /// The same, of every peer and none where it only says of whom it is not.
    pub(super) fn of_somebody(mut self) -> Self {
        let says = self.peers.is_some()
            || self.users.is_some()
            || self.clients.is_some()
            || self.requests.is_some()
            || self.sources.is_some()
            || self.forwarded_for.is_some();
        if !says {
            self.peers = Self::everything().peers;
        }
        self
    }

    /// May match a TCP connection.
    pub(super) fn fits_connections(&self) -> bool {
        self.users.is_none()
            && self.clients.is_none()
            && self.requests.as_ref().is_none_or(|all| all.iter().any(Pattern::fits_connections))
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
