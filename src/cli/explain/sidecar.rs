//! A running sidecar, asked by its admin pages.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;

use super::Site;
use super::record::Record;
use crate::cli::admin::AdminPages;
use crate::identity::TrustDomain;
use crate::policy::Workload;
use crate::runtime::Address;
use crate::sidecar::{AssignedPage, Resources, Sources};

const PATIENCE: Duration = Duration::from_secs(5);

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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let pages = AdminPages::new(admin, PATIENCE).context("--admin")?;
        let one = request_id.map_or_else(String::new, |id| {
            let id = percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC);
            format!("request_id={id}&")
        });
        let Decisions { mut decisions } = pages.json(&format!("/decisions?{one}limit=1")).await?;
        let record = decisions.pop().with_context(|| match request_id {
            Some(id) => format!("{admin}: no decision on request {id} is among the last that it keeps; its decision log may have it"),
            None => format!("{admin}: no decision was made yet"),
        })?;
        let config: Config = pages.json("/config").await?;
        Ok(Asked { record, page: config })
    })
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
