//! A decision record, and what it says and does not say of a request.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context as _;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::given::Given;
use crate::identity::SpiffeId;
use crate::policy::explain::{Fact, Known};
use crate::policy::suite::{CaseConnection, CaseRequest, Target};
use crate::policy::{Groups, UserParts};

/// Longer lines are none of ours.
const MAX_LINE: usize = 256 * 1024;
/// Refusals that come from the rules. All others come before a rule is looked at.
const BY_RULES: [&str; 2] = ["no_rule_allows", "no_rule_allows_anonymous"];

/// One record. Fields that nobody here asks for are skipped.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::cli) struct Record {
    pub(in crate::cli) time: Option<String>,
    pub(in crate::cli) decision: String,
    pub(in crate::cli) code: Option<String>,
    pub(in crate::cli) reason: Option<String>,
    pub(in crate::cli) hint: Option<String>,
    #[serde(rename = "rule.name")]
    pub(in crate::cli) rule: Option<String>,
    #[serde(rename = "peer.id")]
    peer: Option<String>,
    #[serde(rename = "user.provider")]
    user_provider: Option<String>,
    #[serde(rename = "user.id")]
    user: Option<String>,
    #[serde(rename = "user.roles")]
    user_roles: Option<Vec<String>>,
    #[serde(rename = "user.groups")]
    user_groups: Option<Vec<String>>,
    #[serde(rename = "user.scopes")]
    user_scopes: Option<Vec<String>>,
    #[serde(rename = "user.tenant")]
    user_tenant: Option<String>,
    #[serde(rename = "client.provider")]
    client_provider: Option<String>,
    #[serde(rename = "client.id")]
    client: Option<String>,
    #[serde(rename = "client.roles")]
    client_roles: Option<Vec<String>>,
    #[serde(rename = "client.groups")]
    client_groups: Option<Vec<String>>,
    #[serde(rename = "client.scopes")]
    client_scopes: Option<Vec<String>>,
    #[serde(rename = "client.tenant")]
    client_tenant: Option<String>,
    #[serde(rename = "request.id")]
    pub(in crate::cli) request_id: Option<String>,
    #[serde(rename = "request.method")]
    pub(in crate::cli) method: Option<String>,
    #[serde(rename = "request.host")]
    host: Option<String>,
    #[serde(rename = "request.path")]
    pub(in crate::cli) path: Option<String>,
    #[serde(rename = "source.address")]
    source: Option<String>,
    pub(in crate::cli) revision: Option<String>,
}

/// The last record of a log, or the last of one request.
pub(super) fn find(file: &Path, request_id: Option<&str>) -> anyhow::Result<Record> {
    let mut found = None;
    let mut count = 0_u64;
    each(file, |record| {
        count += 1;
        if request_id.is_none() || record.request_id.as_deref() == request_id {
            found = Some(record);
        }
        Ok(())
    })?;
    found.with_context(|| match request_id {
        Some(id) => format!("{}: none of its {count} records is of request {id}", file.display()),
        None => format!("{}: holds no decision record", file.display()),
    })
}

/// Reads a log record by record. `-` is stdin.
pub(in crate::cli) fn each(
    file: &Path,
    mut take: impl FnMut(Record) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let reader: Box<dyn std::io::BufRead> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        let open = std::fs::File::open(file);
        Box::new(BufReader::new(open.with_context(|| format!("cannot read {}", file.display()))?))
    };
    for (number, line) in (1_u64..).zip(reader.lines()) {
        let at = || format!("{}:{number}", file.display());
        let line = line.with_context(at)?;
        if line.trim().is_empty() {
            continue;
        }
        anyhow::ensure!(line.len() <= MAX_LINE, "{}: is longer than {MAX_LINE} bytes", at());
        let record = serde_json::from_str(&line)
            .with_context(|| format!("{}: is no decision record", at()))?;
        take(record)?;
    }
    Ok(())
}

impl Record {
    /// True when the rules decided, and not what comes before them.
    pub(in crate::cli) fn is_by_rules(&self) -> bool {
        let code = self.code.as_deref().unwrap_or_default();
        self.decision == "allow" || self.rule.is_some() || BY_RULES.contains(&code)
    }

    /// The request in one line, and who is calling.
    pub(in crate::cli) fn shown(&self) -> String {
        let asked = match (&self.method, &self.path) {
            (Some(method), Some(path)) => format!("{method} {path}"),
            (_, _) => "a TCP connection".to_owned(),
        };
        let peer = self.peer.as_deref().unwrap_or("no workload");
        match &self.user {
            Some(user) => format!("{asked} by {user} from {peer}"),
            None => format!("{asked} from {peer}"),
        }
    }

    /// The request, as far as the record tells it.
    pub(in crate::cli) fn given(&self) -> anyhow::Result<Given> {
        let source = self.source.as_deref().and_then(|text| text.parse().ok());
        let connection = CaseConnection { source, port: None, sni: None };
        let target = match (&self.method, &self.path) {
            (Some(method), Some(path)) => Target::Request(CaseRequest {
                method: method.clone(),
                host: self.host.clone().unwrap_or_default(),
                path: path.clone(),
                headers: Vec::new(),
                body: None,
                connection,
            }),
            (_, _) => Target::Connection(connection),
        };
        let peer = self.peer.as_deref().map(SpiffeId::parse).transpose().context("peer.id")?;
        Ok(Given {
            target,
            peer,
            user: self.user(),
            client: self.client(),
            now: self.now().context("time: is no moment of RFC 3339")?,
            known: self.known(),
        })
    }

    fn now(&self) -> Option<SystemTime> {
        OffsetDateTime::parse(self.time.as_deref()?, &Rfc3339).ok().map(SystemTime::from)
    }

    fn user(&self) -> Option<UserParts> {
        let (provider, subject) = (self.user_provider.as_deref()?, self.user.as_deref()?);
        Some(UserParts {
            roles: self.user_roles.clone().unwrap_or_default(),
            groups: self.user_groups.clone().map_or(Groups::Unknown, Groups::Known),
            scopes: self.user_scopes.clone().unwrap_or_default(),
            tenant: self.user_tenant.clone(),
            ..UserParts::of(provider, subject)
        })
    }

    fn client(&self) -> Option<UserParts> {
        let (provider, subject) = (self.client_provider.as_deref()?, self.client.as_deref()?);
        Some(UserParts {
            roles: self.client_roles.clone().unwrap_or_default(),
            groups: self.client_groups.clone().map_or(Groups::Unknown, Groups::Known),
            scopes: self.client_scopes.clone().unwrap_or_default(),
            tenant: self.client_tenant.clone(),
            ..UserParts::of(provider, subject)
        })
    }

    /// A record holds no header, no query, no body and no claim; of callers only what its sidecar was told to record.
    pub(in crate::cli) fn known(&self) -> Known {
        let mut missing = vec![
            Fact::Email,
            Fact::Claims,
            Fact::Binding,
            Fact::Headers,
            Fact::Query,
            Fact::Body,
            Fact::Port,
            Fact::Sni,
            Fact::Forwarded,
            Fact::Engines,
        ];
        let user = self.user.is_some();
        let client = self.client.is_some();
        let lacks = |of_user: bool, of_client: bool| (user && of_user) || (client && of_client);
        let detailed = |roles: &Option<Vec<String>>, scopes: &Option<Vec<String>>| {
            roles.is_some() && scopes.is_some()
        };
        for (fact, of_user, of_client) in [
            (Fact::Roles, self.user_roles.is_none(), self.client_roles.is_none()),
            (Fact::Groups, self.user_groups.is_none(), self.client_groups.is_none()),
            (Fact::Scopes, self.user_scopes.is_none(), self.client_scopes.is_none()),
            // Nobody's tenant is recorded as nothing, so it is known where the others are.
            (
                Fact::Tenant,
                !detailed(&self.user_roles, &self.user_scopes),
                !detailed(&self.client_roles, &self.client_scopes),
            ),
        ] {
            if lacks(of_user, of_client) {
                missing.push(fact);
            }
        }
        Known::without(missing)
    }
}
