//! `hopgate policy check`: what a sidecar would refuse, and what it would take although it was probably not meant.

mod input;
mod report;
mod sarif;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::policy::lint::{Checked, Finding, Level, Lint, check};

/// Check resources for mistakes, and for rules that do not say what was probably meant
///
/// Exit code 0: clean, 1: something was found (a warning only with --strict), 2: could not tell, as for a path that cannot be
/// read. An annotation hopgate.dev/check-ignore: NAME,NAME of a resource silences findings about it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = described())]
pub(crate) struct CheckArgs {
    /// Files and directories of resources, or - for stdin
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Kubernetes manifests, files or directories: is there a workload for each selector? Only labels and namespaces are read
    #[arg(long, value_name = "PATH")]
    manifests: Vec<PathBuf>,
    /// Identity providers that exist although their resources are not among the paths
    #[arg(long = "provider", value_name = "NAME")]
    providers: Vec<String>,
    /// Kinds of findings not to tell of
    #[arg(long = "ignore", value_name = "NAME", value_parser = lint)]
    ignored: Vec<Lint>,
    /// Fail on warnings too
    #[arg(long)]
    strict: bool,
    /// The form of what stands on stdout
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// The form of what stands on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people
    Text,
    /// One JSON object
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
}

/// Runs the verb.
///
/// # Errors
/// When a path cannot be read.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let texts = input::resources(&args.paths)?;
    let workloads = input::workloads(&args.manifests)?;
    let mut findings = check(&Checked {
        texts: &texts,
        providers: &args.providers,
        workloads: (!args.manifests.is_empty()).then_some(workloads.as_slice()),
    });
    findings.retain(|finding| !args.ignored.contains(&finding.lint));
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Text => out.write_all(report::text(&findings, &texts).as_bytes())?,
        Output::Json => writeln!(out, "{:#}", report::json(&findings))?,
        Output::Sarif => writeln!(out, "{:#}", sarif::log(&findings))?,
    }
    let worst = if args.strict { Level::Warning } else { Level::Error };
    let fails = |finding: &Finding| finding.lint.level() <= worst;
    Ok(if findings.iter().any(fails) { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn lint(name: &str) -> Result<Lint, String> {
    let known = || Lint::ALL.into_iter().filter(|lint| *lint != Lint::Invalid);
    known().find(|lint| lint.id() == name).ok_or_else(|| {
        let names: Vec<&str> = known().map(Lint::id).collect();
        format!("expected one of {}", names.join(", "))
    })
}

/// Every kind of finding, for `--help`.
fn described() -> String {
    let mut text = "What is found:\n".to_owned();
    for lint in Lint::ALL {
        // Writing to a text cannot fail.
        let _infallible =
            writeln!(text, "  {:<19} {:<8} {}", lint.id(), lint.level().word(), lint.describe());
    }
    text
}
