//! `hopgate status`: the workloads of a mesh, or one sidecar.

mod table;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use super::admin::AdminPages;
use super::cluster::{CONTROL_NAMESPACE, ClusterArgs};
use super::operator::duration;
use super::terminal::Style;
use crate::runtime::{Address, Clock};
use crate::survey::{self, Mesh, Wanted, Workload};

const PATIENCE: Duration = Duration::from_secs(5);

/// Show the workloads of a mesh: who they are, how they stand, what they decide
///
/// Each pod with a gate, and each that should have one: its SPIFFE ID, age and rest of its certificate, the revision of the
/// policies that are in force and how many of those that it is told, the version of its gate, decisions and refusals per
/// second, counted over --interval. What is wrong, and what could not be seen, stands below with the reason. Pods are asked
/// through the API server, by ports that it forwards. Exit code 0: nothing is wrong; 1: something is, or is not known; 2: it
/// is not known which workloads there are.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The namespace of the workloads [default: that of the context]
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// The workloads of all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// The namespace of the control plane
    #[arg(long, value_name = "NAMESPACE", default_value = CONTROL_NAMESPACE)]
    control_namespace: String,
    /// One sidecar that runs on this machine, by its admin address, instead of a cluster
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["kubeconfig", "context", "namespace", "all_namespaces", "control_namespace"])]
    admin: Option<Address>,
    /// How long decisions are counted
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    interval: Duration,
    /// The form of what stands on stdout
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people
    Table,
    /// One JSON object
    Json,
}

/// Runs the verb.
///
/// # Errors
/// When it is not known which workloads there are.
pub(crate) fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let clock = Clock::system();
    let mesh = runtime.block_on(async {
        match &args.admin {
            Some(admin) => alone(admin, args.interval, &clock).await,
            None => of_cluster(args, &clock).await,
        }
    })?;
    let out = &mut std::io::stdout().lock();
    match args.output {
        Output::Table => table::text(&mesh, Style::of_stdout(), out)?,
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&mesh)?)?,
    }
    Ok(if mesh.is_well() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

async fn of_cluster(args: &StatusArgs, clock: &Clock) -> anyhow::Result<Mesh> {
    let viewer = args.cluster.viewer(clock).await?;
    let namespace = args.namespace.clone().unwrap_or_else(|| viewer.namespace());
    let wanted = Wanted {
        control_namespace: args.control_namespace.clone(),
        namespace: (!args.all_namespaces).then_some(namespace),
        pause: args.interval,
    };
    Ok(survey::workloads(&viewer, &wanted, clock).await?)
}

/// One sidecar, by its admin pages.
async fn alone(admin: &Address, interval: Duration, clock: &Clock) -> anyhow::Result<Mesh> {
    let pages = AdminPages::new(admin, PATIENCE)?;
    let page = pages.json("/config").await?;
    let first = pages.text("/metrics").await?;
    let began = tokio::time::Instant::now();
    tokio::time::sleep(interval).await;
    let last = pages.text("/metrics").await?;
    let workload = Workload::alone(&page, (&first, &last), began.elapsed(), clock.now());
    Ok(Mesh { workloads: vec![workload], missing: Vec::new() })
}
