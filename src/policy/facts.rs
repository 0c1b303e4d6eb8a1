//! What is known of one request or connection when it is judged.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::identity::SpiffeId;

/// Everything a decision may depend on. What is absent was not proven: it matches nothing that asks for it.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The workload on the wire.
    pub peer: Option<&'a SpiffeId>,
    /// Whoever the verified token speaks for.
    pub user: Option<&'a UserFacts>,
    /// The program that calls for the user, where it proved itself by a credential of its own.
    pub client: Option<&'a UserFacts>,
    /// The HTTP request; `None` for a TCP connection.
    pub request: Option<RequestFacts<'a>>,
    /// The connection it came on.
    pub connection: Connection<'a>,
    /// What engines beside the rules say.
    pub engines: &'a dyn Engines,
    /// The time of the decision.
    pub now: SystemTime,
}

/// Both ends of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Connection<'a> {
    /// The address on the wire; `None` where it is none (a unix socket) or was not told.
    pub source: Option<IpAddr>,
    /// The address of the client in front of the trusted proxies.
    pub forwarded: Forwarded,
    /// The port it was accepted on.
    pub port: Option<u16>,
    /// The TLS server name that the client asked for: its word, no proof.
    pub sni: Option<&'a str>,
}

/// The address of the client in front of the proxies that the mesh trusts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Forwarded {
    /// Told by the proxy that is trusted to tell it.
    Known(IpAddr),
    /// Not told, or not readable. No rule that asks for it can be decided.
    #[default]
    Unknown,
}

/// A verified user or client, as the provider's claim mapping found it.
#[derive(Debug)]
pub struct UserFacts {
    parts: UserParts,
}

/// What verification found of a user. Only what was proven may be put in.
#[derive(Debug, Clone, PartialEq)]
pub struct UserParts {
    /// The name of the identity provider.
    pub provider: String,
    /// Whom the credential speaks for: `sub`, unless the provider's mapping says otherwise.
    pub subject: String,
    /// The roles, by the names they have in policies.
    pub roles: Vec<String>,
    /// The scopes.
    pub scopes: Vec<String>,
    /// The groups.
    pub groups: Groups,
    /// The tenant or organization.
    pub tenant: Option<String>,
    /// The mail address.
    pub email: Option<String>,
    /// How the credential is bound to a key of its holder.
    pub confirmation: Option<Confirmation>,
    /// All claims.
    pub claims: Map<String, Value>,
}

/// The groups of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    /// These and no others.
    Known(Vec<String>),
    /// The provider did not say: the user may be in any. No rule that asks for groups can be decided.
    Unknown,
}

/// The proof by which the holder of a credential showed that it is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    /// RFC 9449.
    Dpop,
    /// RFC 8705, section 3.
    Certificate,
}

/// One HTTP request, normalised by the caller.
#[derive(Clone, Copy)]
pub struct RequestFacts<'a> {
    /// The method as sent, for example `GET`.
    pub method: &'a str,
    /// The authority the request names.
    pub host: &'a str,
    /// The decoded path without query: the segments, joined.
    pub path: &'a str,
    /// The decoded segments: `/a/` is `["a", ""]`, `/` is `[""]`.
    pub segments: &'a [Cow<'a, str>],
    /// What stands after the question mark.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a dyn Headers,
    /// The body, where it was buffered.
    pub body: &'a dyn Body,
}

/// The body of a request, read when a rule first asks for it.
pub trait Body {
    /// The body as one value: a JSON document, the fields of a form, or a protobuf message as JSON.
    fn value(&self) -> BodyFacts<'_>;
    /// The JSON-RPC call that it is.
    fn rpc(&self) -> RpcFacts<'_>;
}

/// What is known of a body.
#[derive(Debug, Clone, Copy)]
pub enum BodyFacts<'a> {
    /// There is none, or the proxy did not hand it on.
    Absent,
    /// The proxy handed on only its beginning.
    Truncated,
    /// It is not what its type says, or of a type that is not read. The text says why, without any of its content.
    Unreadable(&'static str),
    /// Read.
    Value(&'a Value),
}

/// What is known of a JSON-RPC call (the Model Context Protocol is made of such).
#[derive(Debug, Clone, Copy)]
pub enum RpcFacts<'a> {
    /// There is no body, or none that was handed on whole, or it cannot be read as exactly one call.
    Unreadable(&'static str),
    /// One call.
    Call {
        /// `method`.
        method: &'a str,
        /// `params.name` of a `tools/call`.
        tool: Option<&'a str>,
    },
}

/// Nothing is known of a body.
#[derive(Debug, Clone, Copy)]
pub struct NoBody;

impl Body for NoBody {
    fn value(&self) -> BodyFacts<'_> {
        BodyFacts::Absent
    }

    fn rpc(&self) -> RpcFacts<'_> {
        RpcFacts::Unreadable("there is no body")
    }
}

/// Policy engines beside the rules, by the names of their resources.
pub trait Engines {
    /// What the engine says of these facts. It is asked only where everything else of the rule matches.
    fn answer(&self, engine: &str, facts: &Facts<'_>) -> EngineAnswer;
}

/// What an engine says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineAnswer {
    /// Yes.
    Yes,
    /// No.
    No,
    /// It says nothing about such a request: no for an `allow`; a `deny` cannot be decided.
    Undefined,
    /// It could not say. The text is for the operator and holds nothing of the request.
    Failed(Cow<'static, str>),
    /// Only the network can tell, and it was not asked yet.
    NotAsked,
}

/// There are no engines.
#[derive(Debug, Clone, Copy)]
pub struct NoEngines;

impl Engines for NoEngines {
    fn answer(&self, _: &str, _: &Facts<'_>) -> EngineAnswer {
        EngineAnswer::Failed(Cow::Borrowed("there is no such engine"))
    }
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
    /// Several, or something that may be several: which of them counts is not for us to guess.
    Many,
}

impl Facts<'_> {
    /// Nothing is known but the time. No rule that asks for anything else matches.
    #[must_use]
    pub fn at(now: SystemTime) -> Self {
        Self {
            peer: None,
            user: None,
            client: None,
            request: None,
            connection: Connection::default(),
            engines: &NoEngines,
            now,
        }
    }
}

impl UserParts {
    /// Somebody of whom nothing else is known.
    #[must_use]
    pub fn of(provider: &str, subject: &str) -> Self {
        Self {
            provider: provider.to_owned(),
            subject: subject.to_owned(),
            roles: Vec::new(),
            scopes: Vec::new(),
            groups: Groups::Known(Vec::new()),
            tenant: None,
            email: None,
            confirmation: None,
            claims: Map::new(),
        }
    }
}

impl UserFacts {
    /// The facts of a verified user.
    #[must_use]
    pub fn new(parts: UserParts) -> Self {
        Self { parts }
    }

    /// The name of the identity provider.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.parts.provider
    }

    /// Whom the credential speaks for.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.parts.subject
    }

    /// The roles that the claim mapping found.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.parts.roles
    }

    /// The scopes that the claim mapping found.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.parts.scopes
    }

    /// The groups that the claim mapping found.
    #[must_use]
    pub fn groups(&self) -> &Groups {
        &self.parts.groups
    }

    /// The tenant or organization.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.parts.tenant.as_deref()
    }

    /// The mail address.
    #[must_use]
    pub fn email(&self) -> Option<&str> {
        self.parts.email.as_deref()
    }

    /// How the credential is bound to a key of its holder.
    #[must_use]
    pub fn confirmation(&self) -> Option<Confirmation> {
        self.parts.confirmation
    }

    /// All claims of the token.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.parts.claims
    }
}
