//! One case: who calls, with what, and what must come of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use serde_json::Value;

use super::raw::{RawCase, RawConnection, RawExpect, RawLines, RawRequest};
use super::time;
use super::who::{check_peer, check_user};
use crate::identity::SpiffeId;
use crate::policy::facts::UserParts;
use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::resource::Checked;
use crate::policy::set::Workload;

const DEFAULT_METHOD: &str = "GET";
const DEFAULT_HOST: &str = "localhost";

/// One case of a suite.
#[derive(Debug, Clone)]
pub struct Case {
    /// What a report calls it.
    pub name: String,
    /// The line it stands on.
    pub line: Option<u64>,
    /// The workload on the wire.
    pub peer: Option<SpiffeId>,
    /// The verified user. An empty provider stands for the only one there is.
    pub user: Option<UserParts>,
    /// The verified client. An empty provider stands for the only one there is.
    pub client: Option<UserParts>,
    /// What is asked for.
    pub target: Target,
    /// When.
    pub now: SystemTime,
    /// What must come of it.
    pub expected: Expected,
}

/// What a case asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An HTTP request.
    Request(CaseRequest),
    /// A TCP connection.
    Connection(CaseConnection),
}

/// An HTTP request, as it would come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseRequest {
    /// The method.
    pub method: String,
    /// The authority.
    pub host: String,
    /// Path and query, verbatim.
    pub path: String,
    /// Header lines, names in lower case as Envoy makes them.
    pub headers: Vec<(String, String)>,
    /// The body, where there is one.
    pub body: Option<String>,
    /// The connection it came on.
    pub connection: CaseConnection,
}

/// What is known of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaseConnection {
    /// Where it comes from.
    pub source: Option<IpAddr>,
    /// The port it was accepted on.
    pub port: Option<u16>,
    /// The TLS server name that was asked for.
    pub sni: Option<String>,
}

/// What must come of a case. What is absent is not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Whether it passes.
    pub outcome: Outcome,
    /// The rule that decides: its name, or `policy#rule`, or `namespace/policy#rule`.
    pub rule: Option<String>,
    /// The operator's code of the refusal.
    pub code: Option<String>,
    /// The HTTP status of the refusal.
    pub status: Option<u16>,
    /// Headers that the application receives, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Headers that the application does not receive, names in lower case.
    pub without_headers: Vec<String>,
    /// Headers that the client receives with a refusal, names in lower case.
    pub answer_headers: Vec<(String, String)>,
}

/// Whether a request passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It passes.
    Allow,
    /// It is refused.
    Deny,
}

impl Case {
    pub(super) fn check(
        raw: RawCase,
        workload: &Workload,
        at: &FieldPath,
        line: Option<u64>,
    ) -> Checked<Self> {
        let RawCase {
            name,
            peer,
            user,
            client,
            request,
            connection,
            now,
            expect,
            rule,
            code,
            status,
            headers,
            without_headers,
            answer_headers,
        } = raw;
        let user = user.map(|user| check_user(user, &at.field("user"))).transpose()?;
        let client = client.map(|client| check_user(client, &at.field("client"))).transpose()?;
        let expected = Expected {
            outcome: match expect {
                RawExpect::Allow => Outcome::Allow,
                RawExpect::Deny => Outcome::Deny,
            },
            rule,
            code,
            status,
            headers: lower(headers.unwrap_or_default()),
            without_headers: without_headers
                .unwrap_or_default()
                .iter()
                .map(|name| name.to_ascii_lowercase())
                .collect(),
            answer_headers: lower(answer_headers.unwrap_or_default()),
        };
        expected.check(at)?;
        Ok(Self {
            name,
            line,
            peer: peer.map(|text| check_peer(&text, workload, at.field("peer"))).transpose()?,
            user,
            client,
            target: Target::check(request, connection, at)?,
            now: now
                .map(|now| time::moment(&now, &at.field("now")))
                .transpose()?
                .unwrap_or_else(time::default),
            expected,
        })
    }
}

impl Expected {
    /// What only one of the outcomes has must not be asked of the other: it would never be compared.
    fn check(&self, at: &FieldPath) -> Checked<()> {
        let (outcome, wrong) = match self.outcome {
            Outcome::Allow => (
                "allow",
                [
                    ("code", self.code.is_some()),
                    ("status", self.status.is_some()),
                    ("answerHeaders", !self.answer_headers.is_empty()),
                ],
            ),
            Outcome::Deny => (
                "deny",
                [
                    ("headers", !self.headers.is_empty()),
                    ("withoutHeaders", !self.without_headers.is_empty()),
                    ("", false),
                ],
            ),
        };
        match wrong.iter().find(|(_, is_there)| *is_there) {
            Some((field, _)) => Err(Problem::new(
                at.field(field),
                format!("means nothing beside `expect: {outcome}`"),
            )),
            None => Ok(()),
        }
    }
}

impl Target {
    fn check(
        request: Option<RawRequest>,
        connection: Option<RawConnection>,
        at: &FieldPath,
    ) -> Checked<Self> {
        match (request, connection) {
            (Some(request), None) => {
                CaseRequest::check(request, &at.field("request")).map(Self::Request)
            }
            (None, Some(RawConnection { source_address, destination_port, sni })) => {
                let at = at.field("connection");
                CaseConnection::check(source_address, destination_port, sni, &at)
                    .map(Self::Connection)
            }
            (Some(_), Some(_)) => Err(Problem::new(
                at.clone(),
                "has both `request` and `connection`: what a request comes on is written in `request`",
            )),
            (None, None) => Err(Problem::new(at.clone(), "needs `request` or `connection`")
                .hint("`connection: {}` is a TCP connection of which nothing is known")),
        }
    }
}

impl CaseRequest {
    fn check(raw: RawRequest, at: &FieldPath) -> Checked<Self> {
        let RawRequest { method, host, path, headers, body, source_address, destination_port, sni } =
            raw;
        let mut lines = Vec::new();
        for (name, RawLines(values)) in headers.unwrap_or_default() {
            let name = name.to_ascii_lowercase();
            lines.extend(values.into_iter().map(|value| (name.clone(), value)));
        }
        let body = match body {
            None => None,
            Some(Value::String(text)) => Some(text),
            Some(value) => {
                if !lines.iter().any(|(name, _)| name == "content-type") {
                    lines.push(("content-type".to_owned(), "application/json".to_owned()));
                }
                Some(value.to_string())
            }
        };
        Ok(Self {
            method: method.unwrap_or_else(|| DEFAULT_METHOD.to_owned()),
            host: host.unwrap_or_else(|| DEFAULT_HOST.to_owned()),
            path,
            headers: lines,
            body,
            connection: CaseConnection::check(source_address, destination_port, sni, at)?,
        })
    }
}

impl CaseConnection {
    fn check(
        source: Option<String>,
        port: Option<u16>,
        sni: Option<String>,
        at: &FieldPath,
    ) -> Checked<Self> {
        let address = |text: String| {
            text.parse().map_err(|_| {
                let at = at.field("sourceAddress");
                Problem::new(at, format!("`{text}` is no IP address")).hint("it has no port")
            })
        };
        Ok(Self { source: source.map(address).transpose()?, port, sni })
    }
}

fn lower(headers: BTreeMap<String, String>) -> Vec<(String, String)> {
    headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
}
