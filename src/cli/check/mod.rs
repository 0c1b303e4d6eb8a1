//! `hopgate check`: whether a cluster can have hopgate, and whether what is installed is well.

mod report;

use std::process::ExitCode;

use super::cluster::{CONTROL_NAMESPACE, ClusterArgs};
use super::operator::Output;
use super::terminal::Style;
use crate::runtime::Clock;
use crate::survey::{self, Level};

/// Say whether a cluster can have hopgate, and whether what is installed is well
///
/// Each check is one line: ok, warning or error, what was seen, and what to do next where it is not well. Nothing is
/// changed: what is created is created as a dry run. What cannot be read counts as not well. Exit code 0: no error; 1:
/// errors; 2: the cluster could not be asked at all.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// Only whether it can be installed, by whoever asks
    #[arg(long, alias = "pre")]
    before_install: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The namespace of the control plane
    #[arg(short, long, value_name = "NAMESPACE", default_value = CONTROL_NAMESPACE)]
    namespace: String,
    /// The form of what stands on stdout
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Runs the verb.
///
/// # Errors
/// When the kubeconfig cannot be used, or the API server is not reached.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let CheckArgs { before_install, cluster, namespace, output } = args;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let findings = runtime.block_on(async {
        let clock = Clock::system();
        let viewer = cluster.viewer(&clock).await?;
        let asked = before_install.then_some(namespace.as_str());
        let cluster = survey::cluster(&viewer, asked).await;
        if let Err(why) = &cluster.version {
            anyhow::bail!("the cluster at {} is not reached: {why}", viewer.url());
        }
        if *before_install {
            return Ok(survey::before(&cluster));
        }
        let installation = survey::installation(&viewer, namespace, &clock).await;
        Ok(survey::after(&cluster, &installation))
    })?;
    let out = &mut std::io::stdout().lock();
    match output {
        Output::Text => report::text(&findings, Style::of_stdout(), out)?,
        Output::Json => report::json(&findings, out)?,
    }
    let failed = findings.iter().any(|finding| finding.level == Level::Error);
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}
