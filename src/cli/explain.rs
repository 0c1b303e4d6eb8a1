//! `hopgate explain`: why one request is admitted or refused, and what would have to change.
//!
//! The request is described, or taken from a decision record: of a log, or of a running sidecar. It is judged by the code
//! of the gate under the resources as they are now, and every rule is examined part by part.

mod advice;
mod answer;
mod given;
mod record;
mod sidecar;
mod text;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use self::answer::Answer;
pub(in crate::cli) use self::answer::{Decision, judge};
use self::given::{Described, Given};
pub(in crate::cli) use self::record::{Record, each as each_record};
use crate::policy::Workload;
use crate::runtime::Address;
use crate::sidecar::Resources;

/// Say why a request is admitted or refused, which rule came closest, and what would have to change
///
/// The request is described here (METHOD PATH, --peer, --user, or --case), or taken from a decision record: of a log
/// (--decisions) or of a running sidecar (--admin). Exit code 0: it is admitted, 1: it is refused, 2: could not tell.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    described: Described,
    /// A decision log; - for stdin. Its last record, or the last of --request-id
    #[arg(long, value_name = "FILE", group = "record")]
    decisions: Option<PathBuf>,
    /// The admin address of a running sidecar, which knows its last decisions, its workload and its resources
    #[arg(long, value_name = "ADDRESS", group = "record")]
    admin: Option<Address>,
    /// The request, as the answer to the client and the record name it
    #[arg(long, value_name = "ID", requires = "record")]
    request_id: Option<String>,
    #[command(flatten)]
    guarded: Guarded,
    /// Show every rule, not only the one that decides and the one that comes closest
    #[arg(long)]
    all: bool,
    /// The form of what stands on stdout
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// What is guarded, and by which rules.
#[derive(Debug, clap::Args)]
struct Guarded {
    /// The configuration of a sidecar: says the workload and its resources
    #[arg(long, value_name = "FILE", conflicts_with_all = ["resources", "namespace", "labels"])]
    config: Option<PathBuf>,
    /// Files and directories with resources
    #[arg(long, value_name = "PATH", value_delimiter = ',', requires = "namespace")]
    resources: Vec<PathBuf>,
    /// The namespace of the workload that is called
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// A label of the workload that is called, as NAME=VALUE
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// The trust domain of the workload that is called
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    trust_domain: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people
    Text,
    /// One JSON object
    Json,
}

pub(in crate::cli) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A workload, and the rules that hold for it.
pub(in crate::cli) struct Site {
    workload: Workload,
    resources: Resources,
}

/// Runs the verb.
///
/// # Errors
/// When there is nothing to explain, or the resources cannot be used.
pub(crate) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let answer = match (&args.decisions, &args.admin) {
        (Some(file), _) => {
            let record = record::find(file, args.request_id.as_deref())?;
            Answer::to_record(&record, args.guarded.site()?.as_ref())?
        }
        (None, Some(admin)) => {
            let asked = sidecar::ask(admin, args.request_id.as_deref())?;
            let site = match args.guarded.site()? {
                Some(site) => Some(site),
                None => asked.site()?,
            };
            Answer::to_record(&asked.record, site.as_ref())?
        }
        (None, None) => {
            let site = args.guarded.site()?.context(
                "say by which rules: --config SIDECAR.yaml, or --resources PATH --namespace NAMESPACE --label NAME=VALUE",
            )?;
            let given = Given::described(&args.described, &site.workload)?;
            Answer::to_given(given, &site)?
        }
    };
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Text => out.write_all(text::write(&answer, args.all).as_bytes())?,
        Output::Json => writeln!(out, "{:#}", answer.json())?,
    }
    Ok(answer.exit_code())
}

impl Guarded {
    /// Nothing where nothing was said.
    fn site(&self) -> anyhow::Result<Option<Site>> {
        let Self { config, resources, namespace, labels, trust_domain } = self;
        if let Some(file) = config {
            let config = crate::config::sidecar(file, crate::config::SidecarOverrides::default())?;
            let workload = config.validate()?.workload;
            return Site::load(&config.resources.files, workload).map(Some);
        }
        let (Some(namespace), false) = (namespace, resources.is_empty()) else { return Ok(None) };
        let workload = Workload {
            trust_domain: crate::identity::TrustDomain::parse(trust_domain)
                .with_context(|| format!("--trust-domain {trust_domain}"))?,
            namespace: namespace.clone(),
            labels: labels.iter().cloned().collect(),
        };
        Site::load(resources, workload).map(Some)
    }
}

impl Site {
    pub(in crate::cli) fn load(paths: &[PathBuf], workload: Workload) -> anyhow::Result<Self> {
        let resources = Resources::load(paths, &workload)?;
        Ok(Self { workload, resources })
    }
}
