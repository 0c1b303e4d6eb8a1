//! `hopgate policy test`: suites of cases against the policies that they name.
//!
//! Each case is a rehearsal (see [`crate::authz::rehearse`]): the request is read, judged and answered by the code of a
//! gate, and only who is calling is supposed.

mod compare;
mod find;
mod junit;
mod load;
mod rehearse;
mod report;
mod survivors;
mod watch;

pub(in crate::cli) use self::rehearse::envoy_check;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::Output;
use crate::policy::suite::Coverage;
use load::Loaded;
use report::{Report, SuiteReport};

pub(super) use find::is_suite;

/// Run cases against policies, by the code of a gate
///
/// A suite is a YAML file named *.test.yaml that names resources, a workload and cases; docs/policy-tools.md describes it.
/// Exit code 0: every case came out as expected, 1: one did not, or too few rules are covered, 2: could not tell.
#[derive(Debug, clap::Args)]
pub(crate) struct TestArgs {
    /// Suites, and directories to search for files named *.test.yaml
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Fail when fewer rules than this, in per cent, decide a case
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    min_coverage: Option<u8>,
    /// Name every part of a rule that could be left out or changed without any case noticing
    #[arg(long)]
    parts: bool,
    /// The form of what stands on stdout
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Write the results as JUnit XML too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Run again whenever a suite or a resource changes, until stopped
    #[arg(long)]
    watch: bool,
}

/// Runs the verb.
///
/// # Errors
/// When a suite or what it names cannot be read or used.
pub(crate) fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    if args.watch { watch::run(args) } else { once(&load::all(&find::suites(&args.paths)?)?, args) }
}

/// Runs every suite once.
fn once(suites: &[Loaded], args: &TestArgs) -> anyhow::Result<ExitCode> {
    let report = run_suites(suites, args)?;
    if let Some(file) = &args.junit {
        std::fs::write(file, junit::xml(&report)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Text => out.write_all(report.text().as_bytes())?,
        Output::Json => writeln!(out, "{:#}", report.json())?,
    }
    Ok(report.exit_code())
}

fn run_suites(suites: &[Loaded], args: &TestArgs) -> anyhow::Result<Report> {
    let mut coverage = Coverage::default();
    let mut reports = Vec::with_capacity(suites.len());
    for suite in suites {
        coverage.add(&suite.policies);
        reports.push(SuiteReport::of(suite, &mut coverage));
    }
    let survivors = if args.parts { Some(survivors::of(suites)?) } else { None };
    Ok(Report { suites: reports, coverage, survivors, min_coverage: args.min_coverage })
}
