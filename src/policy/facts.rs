//! What is known of one request or connection when it is judged.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::SystemTime;

use cel::common::types::CelMap;
use serde_json::{Map, Value};

use super::condition::claims_for_cel;
use crate::identity::SpiffeId;

/// Everything a decision may depend on. What is absent was not proven: it matches nothing that asks for it.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The workload on the wire.
    pub peer: Option<&'a SpiffeId>,
    /// Whoever the verified token speaks for.
    pub user: Option<&'a UserFacts>,
    /// The HTTP request; `None` for a TCP connection.
    pub request: Option<RequestFacts<'a>>,
    /// The time of the decision.
    pub now: SystemTime,
}

/// A verified user: subject, roles and scopes as the provider's claim mapping found them, and all claims.
#[derive(Debug)]
pub struct UserFacts {
    provider: String,
    subject: String,
    roles: Vec<String>,
    scopes: Vec<String>,
    claims: Map<String, Value>,
    /// Converted at the first condition that asks, then kept as long as the verified token is.
    cel: OnceLock<UserForCel>,
}

/// The parts of a user as the CEL interpreter wants them.
#[derive(Debug)]
pub(super) struct UserForCel {
    pub(super) claims: CelMap<'static>,
    pub(super) roles: cel::common::types::CelList<'static>,
    pub(super) scopes: cel::common::types::CelList<'static>,
}

/// One HTTP request, normalised by the caller.
#[derive(Clone, Copy)]
pub struct RequestFacts<'a> {
    /// The method as sent, for example `GET`.
    pub method: &'a str,
    /// The authority the request names.
    pub host: &'a str,
    /// The normalised path without query.
    pub path: &'a str,
    /// The decoded segments: `/a/` is `["a", ""]`, `/` is `[""]`.
    pub segments: &'a [Cow<'a, str>],
    /// What stands after the question mark.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a dyn Headers,
}

/// A look-up of request headers by lower-case name.
pub trait Headers {
    /// What the request holds under this lower-case name.
    fn value(&self, lower_case_name: &str) -> HeaderValue<'_>;
}

/// What a request holds under one header name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderValue<'a> {
    /// No such header.
    Absent,
    /// Exactly one.
    One(&'a [u8]),
    /// Several: which of them counts is not for us to guess.
    Many,
}

impl UserFacts {
    /// The facts of a verified user. Only what verification found may be passed.
    #[must_use]
    pub fn new(
        provider: String,
        subject: String,
        roles: Vec<String>,
        scopes: Vec<String>,
        claims: Map<String, Value>,
    ) -> Self {
        Self { provider, subject, roles, scopes, claims, cel: OnceLock::new() }
    }

    /// The name of the identity provider.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The `sub` claim.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The roles that the claim mapping found.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// The scopes that the claim mapping found.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// All claims of the token.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    pub(super) fn for_cel(&self) -> &UserForCel {
        self.cel.get_or_init(|| claims_for_cel(self))
    }
}
