//! A request to explain: as a person describes it, or as a record tells it.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use crate::identity::SpiffeId;
use crate::policy::explain::Known;
use crate::policy::suite::{Case, Suite, Target};
use crate::policy::{UserParts, Workload, yaml};
use crate::runtime::read_limited;

const MAX_CASE: u64 = 1024 * 1024;

/// A request, described by arguments. It has the fields of a case of `hopgate policy test`.
#[derive(Debug, clap::Args)]
pub(super) struct Described {
    /// The method and the path, such as GET /orders/7
    #[arg(value_names = ["METHOD", "PATH"], num_args = 2, conflicts_with_all = ["case", "record"])]
    request: Vec<String>,
    /// A YAML file with the fields of a case of `hopgate policy test`: peer, user, client, request, now; - for stdin
    #[arg(long, value_name = "FILE", conflicts_with = "record")]
    case: Option<PathBuf>,
    /// The workload on the wire: ns/NAMESPACE/sa/ACCOUNT or a SPIFFE ID
    #[arg(long, value_name = "PEER")]
    peer: Option<String>,
    /// The subject of the verified user
    #[arg(long, value_name = "SUBJECT")]
    user: Option<String>,
    /// The identity provider of the user [default: the only one there is]
    #[arg(long, value_name = "NAME", requires = "user")]
    provider: Option<String>,
    /// A role of the user
    #[arg(long = "role", value_name = "ROLE", requires = "user")]
    roles: Vec<String>,
    /// A scope of the user's token
    #[arg(long = "scope", value_name = "SCOPE", requires = "user")]
    scopes: Vec<String>,
    /// A group of the user
    #[arg(long = "group", value_name = "GROUP", requires = "user")]
    groups: Vec<String>,
    /// A claim of the user's token, as NAME=VALUE; a value that is JSON is read as such
    #[arg(long = "claim", value_name = "NAME=VALUE", requires = "user", value_parser = super::pair)]
    claims: Vec<(String, String)>,
    /// The host that the request names
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// A header of the request, as NAME=VALUE
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = super::pair)]
    headers: Vec<(String, String)>,
    /// The address that the request comes from
    #[arg(long, value_name = "ADDRESS")]
    source: Option<String>,
    /// Judge as if it were this time: RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

/// A request and who is calling.
pub(in crate::cli) struct Given {
    pub(super) target: Target,
    pub(super) peer: Option<SpiffeId>,
    pub(super) user: Option<UserParts>,
    pub(super) client: Option<UserParts>,
    pub(super) now: std::time::SystemTime,
    /// What is known of all that.
    pub(super) known: Known,
}

impl Given {
    /// What the arguments, or the file that they name, describe.
    pub(super) fn described(described: &Described, workload: &Workload) -> anyhow::Result<Self> {
        let mut fields = match &described.case {
            Some(file) => read(file)?,
            None => described.fields()?,
        };
        if !fields.contains_key("now") {
            let now = time::OffsetDateTime::from(crate::runtime::Clock::system().now());
            let now = now.format(&time::format_description::well_known::Rfc3339)?;
            fields.insert("now".to_owned(), json!(now));
        }
        let Case { peer, user, client, target, now, .. } = case(fields, workload)?;
        Ok(Self { target, peer, user, client, now, known: Known::everything() })
    }
}

/// One parser reads the cases of suites and what is explained: this is a suite of one case.
fn case(mut fields: Map<String, Value>, workload: &Workload) -> anyhow::Result<Case> {
    fields.insert("name".to_owned(), json!("explained"));
    fields.entry("expect").or_insert(json!("deny"));
    let suite = json!({
        "resources": ["."],
        "workload": {
            "namespace": workload.namespace,
            "labels": workload.labels,
            "trustDomain": workload.trust_domain.as_str(),
        },
        "cases": [fields],
    });
    let mut suite = Suite::parse("the request", &suite.to_string())?;
    suite.cases.pop().context("there is no request to explain")
}

fn read(file: &Path) -> anyhow::Result<Map<String, Value>> {
    if file.as_os_str() != "-" {
        let text = read_limited(file, MAX_CASE)?;
        return Ok(yaml::parse_one(&file.display().to_string(), &text)?);
    }
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(MAX_CASE)
        .read_to_string(&mut text)
        .context("cannot read stdin")?;
    Ok(yaml::parse_one("stdin", &text)?)
}

impl Described {
    fn fields(&self) -> anyhow::Result<Map<String, Value>> {
        let Self {
            request,
            case: _,
            peer,
            user,
            provider,
            roles,
            scopes,
            groups,
            claims,
            host,
            headers,
            source,
            at,
        } = self;
        let [method, path] = request.as_slice() else {
            anyhow::bail!(
                "say what to explain: METHOD PATH, --case FILE, --decisions FILE, or --admin ADDRESS --request-id ID"
            );
        };
        let mut asked = json!({ "method": method, "path": path });
        let mut put = |name: &str, value: Value| {
            if let Value::Object(asked) = &mut asked {
                asked.insert(name.to_owned(), value);
            }
        };
        if let Some(host) = host {
            put("host", json!(host));
        }
        if let Some(source) = source {
            put("sourceAddress", json!(source));
        }
        if !headers.is_empty() {
            let mut lines: Map<String, Value> = Map::new();
            for (name, value) in headers {
                let values = lines.entry(name.clone()).or_insert(json!([]));
                if let Value::Array(values) = values {
                    values.push(json!(value));
                }
            }
            put("headers", Value::Object(lines));
        }
        let mut fields = Map::new();
        fields.insert("request".to_owned(), asked);
        if let Some(peer) = peer {
            fields.insert("peer".to_owned(), json!(peer));
        }
        if let Some(at) = at {
            fields.insert("now".to_owned(), json!(at));
        }
        if let Some(sub) = user {
            let claims: Map<String, Value> = claims
                .iter()
                .map(|(name, text)| {
                    (name.clone(), serde_json::from_str(text).unwrap_or_else(|_| json!(text)))
                })
                .collect();
            let mut user = json!({ "sub": sub, "roles": roles, "scopes": scopes, "groups": groups, "claims": claims });
            if let (Value::Object(user), Some(provider)) = (&mut user, provider) {
                user.insert("provider".to_owned(), json!(provider));
            }
            fields.insert("user".to_owned(), user);
        }
        Ok(fields)
    }
}
