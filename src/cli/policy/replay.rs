//! `hopgate policy replay`: decisions that were made, judged again under other resources.

mod report;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use self::report::{Outcome, Report};
use super::Output;
use crate::cli::explain::{Decision, Record, Site, each_record, judge};
use crate::identity::TrustDomain;
use crate::policy::explain::{Examiner, Fact, Field, RuleReport, Standing, State};
use crate::policy::{Effect, Mode, Workload};

/// Judge recorded decisions again under other resources, and say what would change
///
/// A record holds no claims, headers, queries or bodies, and roles, groups, scopes and tenants only where the sidecar
/// records them (decisionLog.callerAttributes). Where the answer depends on what a record does not hold, it is counted
/// as "cannot tell", never guessed. Exit code 0: nothing changes, 1: something does, 2: it cannot be told for some.
#[derive(Debug, clap::Args)]
pub(super) struct ReplayArgs {
    /// Decision logs of one sidecar; - for stdin
    #[arg(value_name = "LOG", required = true)]
    logs: Vec<PathBuf>,
    /// Files and directories with the resources to judge under
    #[arg(long, value_name = "PATH", required = true, value_delimiter = ',')]
    against: Vec<PathBuf>,
    /// The configuration of the sidecar: says which workload it guards
    #[arg(long, value_name = "FILE", conflicts_with_all = ["namespace", "labels"])]
    config: Option<PathBuf>,
    /// The namespace of the workload
    #[arg(long, value_name = "NAMESPACE", required_unless_present = "config")]
    namespace: Option<String>,
    /// A label of the workload, as NAME=VALUE
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = crate::cli::explain::pair)]
    labels: Vec<(String, String)>,
    /// The trust domain of the workload
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    trust_domain: String,
    /// The form of what stands on stdout
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Runs the verb.
///
/// # Errors
/// When a log cannot be read, or the resources cannot be used.
pub(super) fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let site = Site::load(&args.against, args.workload()?)?;
    let mut report = Report::default();
    for log in &args.logs {
        each_record(log, |record| {
            if record.is_by_rules() {
                let now = again(&record, &site)?;
                report.add(&record, now);
            } else {
                report.add_before_rules();
            }
            Ok(())
        })?;
    }
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Text => out.write_all(report.text().as_bytes())?,
        Output::Json => writeln!(out, "{:#}", report.json())?,
    }
    Ok(report.exit_code())
}

impl ReplayArgs {
    fn workload(&self) -> anyhow::Result<Workload> {
        if let Some(file) = &self.config {
            let config = crate::config::sidecar(file, crate::config::SidecarOverrides::default())?;
            return Ok(config.validate()?.workload);
        }
        let domain = &self.trust_domain;
        Ok(Workload {
            trust_domain: TrustDomain::parse(domain)
                .with_context(|| format!("--trust-domain {domain}"))?,
            namespace: self.namespace.clone().unwrap_or_default(),
            labels: self.labels.iter().cloned().collect(),
        })
    }
}

/// What the resources make of a record.
fn again(record: &Record, site: &Site) -> anyhow::Result<Outcome> {
    let (decision, rule, examiner) = judge(record.given()?, site);
    Ok(match (open(&decision, &examiner), decision) {
        (Some((rule, fact)), _) => Outcome::CannotTell { rule: rule.name.clone(), fact },
        (None, Decision::Admitted) => Outcome::Admitted { rule: rule.unwrap_or_default() },
        (None, Decision::Refused { code, .. }) => Outcome::Refused { code, rule },
    })
}

/// A rule that could change the outcome, if what the record does not say were known.
fn open<'e>(decision: &Decision, examiner: &'e Examiner) -> Option<(&'e RuleReport, Fact)> {
    let rules: Vec<&RuleReport> =
        examiner.rules.iter().filter(|rule| rule.mode == Mode::Enforce).collect();
    let stands = |effect, standing| {
        rules.iter().any(|rule| rule.effect == effect && rule.standing() == standing)
    };
    match decision {
        // Whatever else matches, this one refuses.
        Decision::Refused { .. }
            if stands(Effect::Deny, Standing::Matches)
                || stands(Effect::Deny, Standing::Undecidable)
                || stands(Effect::Allow, Standing::Undecidable) =>
        {
            None
        }
        // A deny more makes no difference to what is refused; an allow might admit it.
        Decision::Refused { .. } => {
            rules.into_iter().filter(|rule| rule.effect == Effect::Allow).find_map(missing)
        }
        Decision::Admitted => {
            rules.into_iter().find_map(|rule| missing(rule).filter(|_| could_refuse(rule)))
        }
    }
}

/// The fact that a rule waits for, where nothing else keeps it from matching.
fn missing(rule: &RuleReport) -> Option<(&RuleReport, Fact)> {
    if rule.standing() != Standing::CannotTell {
        return None;
    }
    let fact = rule.parts.iter().find_map(|part| match part.state {
        State::NotRecorded(fact) => Some(fact),
        State::Met | State::Unmet | State::Unknown(_) | State::NotReached => None,
    });
    Some((rule, fact.unwrap_or(Fact::Claims)))
}

/// A deny may refuse, and so may any rule that may turn out to have no answer.
fn could_refuse(rule: &RuleReport) -> bool {
    rule.effect == Effect::Deny
        || rule.parts.iter().any(|part| match (&part.state, part.field) {
            (State::NotRecorded(_), Field::User | Field::Client) => {
                matches!(part.state, State::NotRecorded(Fact::Groups))
            }
            (State::NotRecorded(_), Field::StepUp) => false,
            (State::NotRecorded(_), _) => true,
            (State::Unknown(_), _) => true,
            (State::Met | State::Unmet | State::NotReached, _) => false,
        })
}
