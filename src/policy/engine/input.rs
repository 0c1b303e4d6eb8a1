//! A request as OPA's Envoy plugin tells it to a policy, so that policies written for that run unchanged.
//!
//! Beside it stands `hopgate`: who is calling, verified. `source.principal` is the verified peer, or absent: what Envoy
//! merely saw is not told. Envoy's dynamic metadata is not told either, because it proves nothing here.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::facts::{BodyFacts, Facts, HeaderValue, RequestFacts};
use super::fault::EngineFault;
use super::principals::principals;
use super::remote::Sent;
use crate::policy::presentation::Credentials;

/// What a request brings beside what is judged.
#[derive(Clone, Copy)]
pub struct InputParts<'a> {
    /// Where it comes from.
    pub source: End<'a>,
    /// Where it was received.
    pub destination: End<'a>,
    /// The HTTP request; nothing for a bare connection.
    pub http: Option<RequestInput<'a>>,
    /// What the operator attached to the route.
    pub context_extensions: &'a [(&'a str, &'a str)],
    /// Names that credentials may stand under.
    pub hidden: Hidden<'a>,
}

/// One end of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct End<'a> {
    /// The address.
    pub address: Option<&'a str>,
    /// The port.
    pub port: Option<u32>,
}

/// The HTTP request as it came.
#[derive(Clone, Copy)]
pub struct RequestInput<'a> {
    /// Path and query.
    pub target: &'a str,
    /// The authority.
    pub authority: &'a str,
    /// What the client says of the scheme.
    pub scheme: &'a str,
    /// `HTTP/1.1`, `HTTP/2`.
    pub protocol: &'a str,
    /// All header lines.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The body as text, as far as it was buffered.
    pub body: &'a str,
}

/// Names that credentials may stand under.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hidden<'a> {
    /// Headers, in lower case.
    pub headers: &'a [String],
    /// Parameters of the query.
    pub parameters: &'a [String],
}

/// Headers in which credentials stand, whatever providers say.
const CREDENTIALS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "dpop"];
/// Headers that differ from request to request: with them no answer would fit a second one.
const PASSING: [&str; 14] = [
    "x-request-id",
    "traceparent",
    "tracestate",
    "baggage",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "x-cloud-trace-context",
    "x-amzn-trace-id",
    "x-envoy-attempt-count",
    "x-envoy-expected-rq-timeout-ms",
];

impl InputParts<'_> {
    /// The input for an engine in process: everything, and the time.
    ///
    /// # Errors
    /// When the body is not what its type says.
    pub fn whole(&self, facts: &Facts<'_>, credentials: Credentials) -> Result<Value, EngineFault> {
        let keep = |name: &str| credentials == Credentials::Keep || !self.is_credential(name);
        let mut input = self.input(facts, credentials, &keep)?;
        let time = OffsetDateTime::from(facts.now).format(&Rfc3339).ok();
        if let Some(request) =
            input.pointer_mut("/attributes/request").and_then(Value::as_object_mut)
        {
            request.insert("time".to_owned(), json!(time));
        }
        Ok(input)
    }

    /// The input for a server: what is the same for the same request, without what only passes.
    ///
    /// # Errors
    /// When the body is not what its type says.
    pub fn lasting(&self, facts: &Facts<'_>, sent: &Sent) -> Result<Value, EngineFault> {
        let keep = |name: &str| {
            let secret = sent.credentials == Credentials::Strip && self.is_credential(name);
            let wanted = match &sent.headers {
                Some(names) => names.iter().any(|wanted| wanted == name) || name.starts_with(':'),
                None => !PASSING.contains(&name),
            };
            wanted && !secret
        };
        let mut lasting = *self;
        lasting.source.port = None;
        lasting.input(facts, sent.credentials, &keep)
    }

    fn input(
        &self,
        facts: &Facts<'_>,
        credentials: Credentials,
        keep: &dyn Fn(&str) -> bool,
    ) -> Result<Value, EngineFault> {
        let peer = facts.peer.map(crate::identity::SpiffeId::as_str);
        let mut source = self.source.tell();
        if let Some(peer) = peer {
            source.insert("principal".to_owned(), json!(peer));
        }
        let mut input = json!({
            "version": { "ext_authz": "v3", "encoding": "protojson" },
            "attributes": {
                "source": source,
                "destination": self.destination.tell(),
                "request": {},
                "contextExtensions": members(self.context_extensions.iter().copied()),
                "metadataContext": {},
            },
            "parsed_path": null,
            "parsed_query": {},
            "parsed_body": null,
            "truncated_body": false,
            "source_principal": peer,
            "hopgate": principals(facts),
        });
        if let (Some(http), Some(request), Value::Object(all)) =
            (&self.http, &facts.request, &mut input)
        {
            let query = self.query(request, credentials);
            let (body, truncated) = body(request)?;
            all.insert("parsed_path".to_owned(), json!(request.segments));
            all.insert("parsed_query".to_owned(), parsed_query(&query));
            all.insert("parsed_body".to_owned(), body);
            all.insert("truncated_body".to_owned(), json!(truncated));
            let told = self.http(http, request, &query, keep);
            if let Some(request) =
                input.pointer_mut("/attributes/request").and_then(Value::as_object_mut)
            {
                request.insert("http".to_owned(), told);
            }
        }
        Ok(input)
    }

    fn http(
        &self,
        http: &RequestInput<'_>,
        request: &RequestFacts<'_>,
        query: &str,
        keep: &dyn Fn(&str) -> bool,
    ) -> Value {
        let bare = http.target.split_once('?').map_or(http.target, |(path, _)| path);
        let target = if query.is_empty() { bare.to_owned() } else { format!("{bare}?{query}") };
        let mut headers = Map::new();
        for (name, value) in http.headers.iter().filter(|(name, _)| keep(name)) {
            let text = String::from_utf8_lossy(value);
            // It holds the query.
            let text = if *name == ":path" { target.as_str().into() } else { text };
            match headers.get_mut(*name) {
                Some(Value::String(before)) => {
                    before.push(',');
                    before.push_str(&text);
                }
                Some(_) | None => drop(headers.insert((*name).to_owned(), json!(text))),
            }
        }
        let mut told = json!({
            "method": request.method,
            "path": target,
            "host": http.authority,
            "scheme": http.scheme,
            "protocol": http.protocol,
            "headers": headers,
        });
        if let (false, Some(members)) = (http.body.is_empty(), told.as_object_mut()) {
            members.insert("body".to_owned(), json!(http.body));
        }
        told
    }

    /// The query as it was sent, without credentials where those are not told.
    fn query(&self, request: &RequestFacts<'_>, credentials: Credentials) -> String {
        let query = request.query.unwrap_or_default();
        if credentials == Credentials::Keep || self.hidden.parameters.is_empty() {
            return query.to_owned();
        }
        let secret = |pair: &&str| {
            let (name, _) = split(pair);
            self.hidden.parameters.contains(&name)
        };
        // Some applications split at semicolons too: what stands behind one is hidden with the rest of its part.
        let hides = |pair: &&str| pair.split(';').any(|part| secret(&part));
        query.split('&').filter(|pair| !hides(pair)).collect::<Vec<_>>().join("&")
    }

    fn is_credential(&self, name: &str) -> bool {
        CREDENTIALS.contains(&name) || self.hidden.headers.iter().any(|hidden| hidden == name)
    }
}

impl End<'_> {
    fn tell(&self) -> Map<String, Value> {
        let mut socket = Map::new();
        if let Some(address) = self.address {
            socket.insert("address".to_owned(), json!(address));
        }
        if let Some(port) = self.port {
            socket.insert("portValue".to_owned(), json!(port));
        }
        let mut end = Map::new();
        end.insert("address".to_owned(), json!({ "socketAddress": socket }));
        end
    }
}

/// The body as a value, and whether only its beginning is there.
fn body(request: &RequestFacts<'_>) -> Result<(Value, bool), EngineFault> {
    match request.body.value() {
        BodyFacts::Absent => Ok((Value::Null, false)),
        BodyFacts::Truncated => Ok((Value::Null, true)),
        BodyFacts::Value(value) => Ok((value.clone(), false)),
        // Of a type that a policy expects to see, it would read as if nothing had been sent.
        BodyFacts::Unreadable(_) => match request.headers.value("content-type") {
            HeaderValue::One(kind) if !is_read(kind) => Ok((Value::Null, false)),
            HeaderValue::One(_) | HeaderValue::Absent | HeaderValue::Many => {
                Err(EngineFault::Evaluation)
            }
        },
    }
}

fn is_read(kind: &[u8]) -> bool {
    let kind = String::from_utf8_lossy(kind).to_ascii_lowercase();
    ["json", "x-www-form-urlencoded", "multipart", "grpc", "protobuf"]
        .iter()
        .any(|read| kind.contains(read))
}

fn parsed_query(query: &str) -> Value {
    let mut all = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = split(pair);
        let values = all.entry(name).or_insert_with(|| json!([]));
        if let Value::Array(values) = values {
            values.push(json!(value));
        }
    }
    Value::Object(all)
}

/// Name and value of a pair, decoded as forms are.
fn split(pair: &str) -> (String, String) {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    (decode(name), decode(value))
}

fn members<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Map<String, Value> {
    pairs.map(|(name, value)| (name.to_owned(), json!(value))).collect()
}
