//! `hopgate sidecar`.

use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use super::LogArgs;
use crate::config::{self, SidecarOverrides};
use crate::runtime::{Address, Clock};
use crate::sidecar::{Bound, Config, DoorAddress, Resources};
use crate::telemetry::Telemetry;

/// Run beside a workload.
#[derive(Debug, clap::Args)]
pub(crate) struct SidecarArgs {
    /// The configuration file (YAML)
    #[arg(
        long,
        env = "HOPGATE_SIDECAR_CONFIG",
        value_name = "FILE",
        required_unless_present = "config_text"
    )]
    config: Option<PathBuf>,
    /// The configuration itself, instead of a file that holds it
    #[arg(
        long,
        env = "HOPGATE_SIDECAR_CONFIG_TEXT",
        value_name = "YAML",
        hide_env_values = true,
        conflicts_with = "config"
    )]
    config_text: Option<String>,
    /// The workload's namespace, instead of `workload.namespace`
    #[arg(long, env = "HOPGATE_SIDECAR_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,
    /// The workload's service account, instead of `workload.serviceAccount`
    #[arg(long, env = "HOPGATE_SIDECAR_SERVICE_ACCOUNT", value_name = "NAME")]
    service_account: Option<String>,
    /// The pod's own address, instead of `pod.address`
    #[arg(long, env = "HOPGATE_SIDECAR_POD_IP", value_name = "IP")]
    pod_ip: Option<IpAddr>,
    /// All addresses of the pod, of both families, instead of `capture.addresses`
    #[arg(long, env = "HOPGATE_SIDECAR_POD_IPS", value_name = "IP", value_delimiter = ',')]
    pod_ips: Vec<IpAddr>,
    /// Only check the configuration and the resources, then exit: 0 good, 2 bad
    #[arg(long)]
    validate: bool,
    /// Files or directories of resources, instead of those under `resources` in the file
    #[arg(long, env = "HOPGATE_SIDECAR_RESOURCES", value_name = "PATH", value_delimiter = ',')]
    resources: Vec<PathBuf>,
    /// The UID of this pod (metadata.uid), instead of `workload.podUid`
    #[arg(long, env = "HOPGATE_SIDECAR_POD_UID", value_name = "UID")]
    pod_uid: Option<String>,
    /// Where Envoy asks, instead of `extAuthz.listen`: IP:PORT or unix:/path
    #[arg(long, env = "HOPGATE_SIDECAR_LISTEN", value_name = "ADDRESS", value_delimiter = ',')]
    listen: Vec<Address>,
    /// Where a door of the file listens instead: NAME=IP:PORT or NAME=unix:/path
    #[arg(long, env = "HOPGATE_SIDECAR_DOORS", value_name = "DOOR", value_delimiter = ',')]
    doors: Vec<DoorAddress>,
    /// Where the admin pages are, instead of `admin.listen`
    #[arg(long, env = "HOPGATE_SIDECAR_ADMIN", value_name = "ADDRESS")]
    admin: Option<Address>,
    /// Where decision records go, instead of `decisionLog.path`: a file, or stdout
    #[arg(long, env = "HOPGATE_SIDECAR_DECISION_LOG", value_name = "PATH")]
    decision_log: Option<PathBuf>,
    /// The collector of traces, instead of `tracing.otlpEndpoint`
    #[arg(long, env = "HOPGATE_SIDECAR_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// How long requests in flight may take on shutdown, instead of `drainTimeout`
    #[arg(long, env = "HOPGATE_SIDECAR_DRAIN_TIMEOUT", value_name = "DURATION", value_parser = duration)]
    drain_timeout: Option<Duration>,
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime_serde::re::humantime::parse_duration(text).map_err(|error| error.to_string())
}

pub(crate) fn run(args: SidecarArgs, log: &LogArgs) -> anyhow::Result<ExitCode> {
    let overrides = SidecarOverrides {
        namespace: args.namespace,
        service_account: args.service_account,
        pod_address: args.pod_ip,
        pod_addresses: args.pod_ips,
        resources: args.resources,
        pod_uid: args.pod_uid,
        listen: args.listen,
        doors: args.doors,
        admin: args.admin,
        decision_log: args.decision_log,
        otlp_endpoint: args.otlp_endpoint,
        drain_timeout: args.drain_timeout,
    };
    let config = match (args.config, args.config_text) {
        (Some(path), _) => config::sidecar(&path, overrides)?,
        (None, Some(text)) => config::sidecar_text(&text, overrides)?,
        (None, None) => anyhow::bail!("--config FILE is needed"),
    };
    if args.validate {
        return validate(&config);
    }
    // One thread: a Check never waits, and one thread answers it with the least work.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(config, log))
}

fn validate(config: &Config) -> anyhow::Result<ExitCode> {
    let identity = config.validate()?;
    let counts = Resources::load(&config.resources.files, &identity.workload)?.counts();
    writeln!(
        std::io::stdout(),
        "good: {} policies, {} rules for {}, {} identity providers",
        counts.policies,
        counts.rules,
        identity.id,
        counts.providers
    )?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: Config, log: &LogArgs) -> anyhow::Result<ExitCode> {
    let endpoint = config.tracing.as_ref().map(|tracing| tracing.otlp_endpoint.clone());
    let name = format!("{}.{}", config.workload.service_account, config.workload.namespace);
    let telemetry = Telemetry::install(&log.setup(&name, endpoint))?;
    let stop = super::stop_signal().context("cannot receive signals")?;
    let bound = Bound::build(config, Clock::system()).await?;
    let addresses = bound.addresses();
    tracing::info!(
        ext_authz = addresses.ext_authz.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        doors = addresses.doors.iter().map(|(name, at)| format!("{name}={at}")).collect::<Vec<_>>().join(" "),
        sds = addresses.sds.as_ref().map(ToString::to_string),
        admin = %addresses.admin,
        "serving"
    );
    let ended = bound.run(stop).await;
    tokio::task::spawn_blocking(|| telemetry.flush()).await?;
    ended?;
    Ok(ExitCode::SUCCESS)
}
