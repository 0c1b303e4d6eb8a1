//! Which requests and connections a rule is for.

use std::collections::BTreeMap;

use super::query::{Parameter, parameter};
use super::raw::{RawRequest, RawRpc};
use super::request_names::{
    check_grpc, check_headers, check_hosts, check_methods, check_paths, check_ports,
};
use super::truth::Truth;
use crate::policy::decide::{Difference, UndecidableReason};
use crate::policy::facts::{Facts, HeaderValue, RequestFacts, RpcFacts};
use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::resource::{Checked, check_list, check_text};
use crate::policy::template::{PathTemplate, Slash};

/// A request or connection: all that is written must match. What names something of HTTP never matches a bare
/// connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPattern {
    /// The host that the request names, without port.
    pub hosts: Option<Vec<HostPattern>>,
    /// The port on which it was accepted.
    pub ports: Option<Vec<u16>>,
    /// Methods, exactly: `GET` does not stand for `HEAD`.
    pub methods: Option<Vec<String>>,
    /// Path templates. Those of gRPC methods are among them.
    pub paths: Option<Vec<PathTemplate>>,
    /// Headers by lower-case name, each with the values of which it must have one.
    pub headers: Vec<(String, Vec<String>)>,
    /// Parameters of the query, decoded, each with the values of which it must have one.
    pub query: Vec<(String, Vec<String>)>,
    /// JSON-RPC calls in the body.
    pub rpc: Option<Vec<RpcPattern>>,
    /// TLS server names that the client asked for. They are its word, no proof.
    pub sni: Option<Vec<HostPattern>>,
}

/// A host name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// Exactly this one, in lower case.
    Exactly(String),
    /// `*.` and this: every name below it, at any depth, but not the name itself.
    Below(String),
}

/// A JSON-RPC call, such as those of the Model Context Protocol. All that is written must match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcPattern {
    /// The method, for example `tools/call`.
    pub method: Option<String>,
    /// The tool of a `tools/call`.
    pub tool: Option<String>,
}

impl RequestPattern {
    pub(super) fn check_all(raw: Vec<RawRequest>, at: &FieldPath) -> Checked<Vec<Self>> {
        if raw.is_empty() {
            return Err(Problem::new(at.clone(), "is empty")
                .hint("an empty list does not mean no restriction"));
        }
        raw.into_iter().enumerate().map(|(place, raw)| Self::check(raw, &at.item(place))).collect()
    }

    fn check(raw: RawRequest, at: &FieldPath) -> Checked<Self> {
        let RawRequest { hosts, ports, methods, paths, grpc, headers, query, rpc, sni } = raw;
        if paths.is_some() && grpc.is_some() {
            return Err(Problem::new(at.clone(), "has both `paths` and `grpc`")
                .hint("write two entries; one of them is enough"));
        }
        if methods.is_some() && grpc.is_some() {
            return Err(Problem::new(at.field("methods"), "stands beside `grpc`")
                .hint("leave it out: gRPC is always POST"));
        }
        let (methods, paths) = match grpc {
            Some(grpc) => {
                (Some(vec!["POST".to_owned()]), Some(check_grpc(grpc, &at.field("grpc"))?))
            }
            None => (
                methods.map(|raw| check_methods(raw, &at.field("methods"))).transpose()?,
                paths.map(|raw| check_paths(raw, &at.field("paths"))).transpose()?,
            ),
        };
        let pattern = Self {
            hosts: hosts.map(|raw| check_hosts(raw, &at.field("hosts"))).transpose()?,
            ports: ports.map(|raw| check_ports(raw, &at.field("ports"))).transpose()?,
            methods,
            paths,
            headers: match headers {
                Some(raw) => check_headers(raw, &at.field("headers"))?,
                None => Vec::new(),
            },
            query: match query {
                Some(raw) => check_query(raw, &at.field("query"))?,
                None => Vec::new(),
            },
            rpc: rpc.map(|raw| RpcPattern::check_all(raw, &at.field("rpc"))).transpose()?,
            sni: sni.map(|raw| check_hosts(raw, &at.field("sni"))).transpose()?,
        };
        if pattern == Self::anything() {
            return Err(Problem::new(at.clone(), "needs `methods` or `paths`, or another field")
                .hint("any request is `paths: [\"/**\"]`"));
        }
        Ok(pattern)
    }

    /// Asks for nothing.
    pub(in crate::policy) fn anything() -> Self {
        Self {
            hosts: None,
            ports: None,
            methods: None,
            paths: None,
            headers: Vec::new(),
            query: Vec::new(),
            rpc: None,
            sni: None,
        }
    }

    /// True when it can match a bare connection.
    pub(in crate::policy) fn fits_connections(&self) -> bool {
        self.hosts.is_none()
            && self.methods.is_none()
            && self.paths.is_none()
            && self.headers.is_empty()
            && self.query.is_empty()
            && self.rpc.is_none()
    }

    /// True when what it asks beyond host, method and path may be unknown.
    pub(in crate::policy) fn may_be_unknown(&self) -> bool {
        self.ports.is_some()
            || !self.headers.is_empty()
            || !self.query.is_empty()
            || self.rpc.is_some()
    }

    /// Each host it names, or nothing once where it names none.
    pub(in crate::policy) fn each_host(&self) -> impl Iterator<Item = Option<&HostPattern>> {
        let none = self.hosts.is_none().then_some(None);
        none.into_iter().chain(self.hosts.iter().flatten().map(Some))
    }

    /// Each path it names, or nothing once where it names none.
    pub(in crate::policy) fn each_path(&self) -> impl Iterator<Item = Option<&PathTemplate>> {
        let none = self.paths.is_none().then_some(None);
        none.into_iter().chain(self.paths.iter().flatten().map(Some))
    }

    /// Everything it asks.
    pub(in crate::policy) fn matches(&self, facts: &Facts<'_>, slash: Slash) -> Truth {
        let each = self.each_path().map(|path| self.matches_by(path, facts, slash));
        Truth::any(each, Difference::Path)
    }

    /// Everything it asks, by this one of its paths.
    pub(in crate::policy) fn matches_by(
        &self,
        path: Option<&PathTemplate>,
        facts: &Facts<'_>,
        slash: Slash,
    ) -> Truth {
        let Some(request) = &facts.request else {
            let connection = Truth::of(self.fits_connections(), Difference::Connection);
            return connection.and(|| self.matches_rest(facts));
        };
        if let Some(hosts) = &self.hosts
            && !hosts.iter().any(|host| host.is(request.host))
        {
            return Truth::Fails(Difference::Host);
        }
        if path.is_some_and(|path| !path.matches(request.segments, slash)) {
            return Truth::Fails(Difference::Path);
        }
        if let Some(methods) = &self.methods
            && !methods.iter().any(|method| method == request.method)
        {
            return Truth::Fails(Difference::Method);
        }
        self.matches_rest(facts)
    }

    /// What is left to ask where the index found host, method and path to match.
    pub(in crate::policy) fn matches_rest(&self, facts: &Facts<'_>) -> Truth {
        let port = match (&self.ports, facts.connection.port) {
            (None, _) => Truth::Holds,
            (Some(_), None) => Truth::Unknown(UndecidableReason::NoPort),
            (Some(ports), Some(port)) => Truth::of(ports.contains(&port), Difference::Port),
        };
        let sni = || {
            let Some(names) = &self.sni else { return Truth::Holds };
            let asked = facts.connection.sni.unwrap_or_default();
            Truth::of(names.iter().any(|name| name.is_caseless(asked)), Difference::Sni)
        };
        let http = || match &facts.request {
            Some(request) => self.matches_message(request),
            None => Truth::of(self.fits_connections(), Difference::Connection),
        };
        port.and(sni).and(http)
    }

    fn matches_message(&self, request: &RequestFacts<'_>) -> Truth {
        let mut truth = Truth::Holds;
        for (name, wanted) in &self.headers {
            truth = truth.and(|| match request.headers.value(name) {
                HeaderValue::Absent => Truth::Fails(Difference::Header),
                HeaderValue::Many => {
                    Truth::Unknown(UndecidableReason::HeaderRepeated(name.clone()))
                }
                HeaderValue::One(held) => Truth::of(
                    wanted.iter().any(|wanted| wanted.as_bytes() == held),
                    Difference::Header,
                ),
            });
        }
        let query = request.query.unwrap_or_default();
        for (name, wanted) in &self.query {
            truth = truth.and(|| match parameter(query, name) {
                Parameter::Absent => Truth::Fails(Difference::Query),
                Parameter::Ambiguous => {
                    Truth::Unknown(UndecidableReason::QueryAmbiguous(name.clone()))
                }
                Parameter::One(held) => {
                    Truth::of(wanted.iter().any(|wanted| *wanted == held), Difference::Query)
                }
            });
        }
        let Some(calls) = &self.rpc else { return truth };
        truth.and(|| match request.body.rpc() {
            RpcFacts::Unreadable(why) => Truth::Unknown(UndecidableReason::BodyUnreadable(why)),
            RpcFacts::Call { method, tool } => {
                Truth::of(calls.iter().any(|call| call.is(method, tool)), Difference::Rpc)
            }
        })
    }
}

impl HostPattern {
    /// True for a host in lower case.
    fn is(&self, host: &str) -> bool {
        match self {
            Self::Exactly(name) => name == host,
            Self::Below(parent) => host.strip_suffix(parent.as_str()).is_some_and(|rest| {
                rest.len() > 1 && rest.ends_with('.') && !rest.starts_with('.')
            }),
        }
    }

    fn is_caseless(&self, host: &str) -> bool {
        self.is(host) || self.is(&host.to_ascii_lowercase())
    }
}

impl RpcPattern {
    fn check_all(raw: Vec<RawRpc>, at: &FieldPath) -> Checked<Vec<Self>> {
        if raw.is_empty() {
            return Err(Problem::new(at.clone(), "is empty"));
        }
        let each = raw.into_iter().enumerate().map(|(place, raw)| {
            let at = at.item(place);
            let RawRpc { method, tool } = raw;
            let text = |text: Option<String>, field: &str| {
                text.map(|text| check_text(text, at.field(field))).transpose()
            };
            let pattern = Self { method: text(method, "method")?, tool: text(tool, "tool")? };
            match (&pattern.method, &pattern.tool) {
                (None, None) => Err(Problem::new(at, "needs `method` or `tool`")),
                (Some(method), Some(_)) if method != "tools/call" => {
                    Err(Problem::new(at.field("tool"), format!("stands beside `{method}`"))
                        .hint("only tools/call has a tool"))
                }
                _ => Ok(pattern),
            }
        });
        each.collect()
    }

    fn is(&self, method: &str, tool: Option<&str>) -> bool {
        self.method.as_ref().is_none_or(|wanted| wanted == method)
            && self.tool.as_ref().is_none_or(|wanted| tool == Some(wanted))
    }
}

fn check_query(
    raw: BTreeMap<String, Vec<String>>,
    at: &FieldPath,
) -> Checked<Vec<(String, Vec<String>)>> {
    if raw.is_empty() {
        return Err(Problem::new(at.clone(), "is empty").hint("leave the field out"));
    }
    raw.into_iter()
        .map(|(name, values)| {
            let at = at.field(&name);
            check_text(name.clone(), at.clone())?;
            Ok((name, check_list(values, &at)?))
        })
        .collect()
}
