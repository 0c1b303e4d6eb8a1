//! A running sidecar, asked by its admin pages.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;

use super::Site;
use super::record::Record;
use crate::identity::TrustDomain;
use crate::policy::Workload;
use crate::runtime::Address;
use crate::sidecar::{AssignedPage, Resources, Sources};

const PATIENCE: Duration = Duration::from_secs(5);
/// All records that a sidecar keeps fit into this.
const MAX_PAGE: usize = 8 * 1024 * 1024;

/// What it answered.
pub(super) struct Asked {
    pub(super) record: Record,
    page: Config,
}

/// What `/config` says of the workload and its resources.
#[derive(Debug, Deserialize)]
struct Config {
    config: Section,
    /// What the control plane assigned; not there in earlier versions.
    #[serde(default)]
    assigned: Option<AssignedPage>,
}

#[derive(Debug, Deserialize)]
struct Section {
    workload: Guarded,
    resources: Sources,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Guarded {
    trust_domain: String,
    namespace: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Decisions {
    decisions: Vec<Record>,
}

/// Asks for the last record, or for that of one request.
pub(super) fn ask(admin: &Address, request_id: Option<&str>) -> anyhow::Result<Asked> {
    anyhow::ensure!(
        admin.is_local(),
        "--admin: the admin pages are on loopback addresses and unix sockets only"
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = client(admin)?;
        let wanted: Vec<(&str, &str)> =
            request_id.map(|id| ("request_id", id)).into_iter().chain([("limit", "1")]).collect();
        let Decisions { mut decisions } = page(&client, admin, ("/decisions", &wanted)).await?;
        let record = decisions.pop().with_context(|| match request_id {
            Some(id) => format!("{admin}: no decision on request {id} is among the last that it keeps; its decision log may have it"),
            None => format!("{admin}: no decision was made yet"),
        })?;
        let config: Config = page(&client, admin, ("/config", &[])).await?;
        Ok(Asked { record, page: config })
    })
}

fn client(admin: &Address) -> anyhow::Result<reqwest::Client> {
    let builder = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
    let builder = match admin {
        Address::Tcp(_) => builder,
        Address::Unix(path) => builder.unix_socket(path.clone()),
    };
    Ok(builder.build()?)
}

async fn page<T: serde::de::DeserializeOwned>(
    client: &reqwest::Client,
    admin: &Address,
    (path, query): (&str, &[(&str, &str)]),
) -> anyhow::Result<T> {
    let host = match admin {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(_) => "localhost".to_owned(),
    };
    let query: Vec<String> = query
        .iter()
        .map(|(name, value)| {
            let value =
                percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
            format!("{name}={value}")
        })
        .collect();
    let url = format!("http://{host}{path}?{}", query.join("&"));
    let from = || format!("{admin}{path}");
    let mut response = client.get(url).send().await.with_context(from)?;
    anyhow::ensure!(response.status().is_success(), "{}: answers {}", from(), response.status());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.with_context(from)? {
        anyhow::ensure!(body.len() + chunk.len() <= MAX_PAGE, "{}: is too long", from());
        body.extend_from_slice(&chunk);
    }
    let value: Value = serde_json::from_slice(&body).with_context(from)?;
    serde_json::from_value(value).with_context(from)
}

impl Asked {
    /// The workload and the resources of the sidecar, where its files can be read here.
    pub(super) fn site(&self) -> anyhow::Result<Option<Site>> {
        let Config { config: Section { workload, resources }, assigned } = &self.page;
        let workload = Workload {
            trust_domain: TrustDomain::parse(&workload.trust_domain)?,
            namespace: workload.namespace.clone(),
            labels: workload.labels.clone(),
        };
        if !resources.files.iter().all(|path| path.exists()) {
            return Ok(None);
        }
        let resources = Resources::as_shown(resources, assigned.as_ref(), &workload)?;
        Ok(Some(Site { workload, resources }))
    }
}
