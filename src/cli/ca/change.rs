//! `hopgate ca rotate`, `status`, `abort`, `taint`: the authority of a running control plane, and changing its root.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::super::operator::{self as call, OperatorArgs, Output, duration};
use super::{follow, report};
use crate::control::Standing;
use crate::runtime::Address;

use follow::Outcome;

const PATH: &str = "/v1/authority";

/// Give the mesh a new root: publish it, wait for every sidecar, let it sign, replace every leaf, retire the old one
///
/// Progress stands on stderr; to stop watching does not stop the change. Exits 0 when the old root is retired, 1 when it went back to the old root, 2 when that could not be told.
#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    /// Over how long the leaves are replaced, such as 10m; without this at 20 a second
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    within: Option<Duration>,
    /// Sidecars that are not connected do not count: do not wait until their certificates end. Also said to a change that is under way
    #[arg(long)]
    without_absent: bool,
    /// Only begin; do not wait for the end
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    common: OperatorArgs,
}

/// Show the generations, and how far a change of the root is
///
/// Exits 1 while a connected sidecar has held a change up for more than a minute.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    common: OperatorArgs,
}

/// Go back to the old root
///
/// Before the new root signed, it is dropped at once. After that every leaf is replaced once more, which takes as long as going on would.
#[derive(Debug, Args)]
pub(super) struct AbortArgs {
    /// Over how long the leaves are replaced, such as 10m; without this at 20 a second
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    within: Option<Duration>,
    /// Do not wait for the end
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    common: OperatorArgs,
}

/// Have every leaf replaced within a time, under a new issuing key
///
/// The root stays, and so what the old issuing key signed stays valid until it ends; to distrust that, change the root. Exits 1 when a connected sidecar did not replace its leaf in time.
#[derive(Debug, Args)]
pub(super) struct TaintArgs {
    /// Within which time, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    within: Duration,
    /// Do not wait for the end
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    common: OperatorArgs,
}

/// Shows where the authority stands.
pub(super) fn status(StatusArgs { common }: &StatusArgs) -> anyhow::Result<ExitCode> {
    let standing = ask(&common.address()?)?;
    show(common, &standing)?;
    Ok(if report::is_stuck(&standing) { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Begins a change of the root, and watches it.
pub(super) fn rotate(args: &RotateArgs) -> anyhow::Result<ExitCode> {
    let RotateArgs { within, without_absent, no_wait, common } = args;
    let order = json!({ "withinSeconds": seconds(*within)?, "withoutAbsent": without_absent });
    let standing = order_to(&common.address()?, "rotate", &order)?;
    let goal = standing.change.as_ref().map(|change| change.to);
    // Another authority was asked: which generation comes of it shows when it answers, if one does.
    let asked = standing.request.is_some().then(|| signing(&standing));
    to_the_end(common, standing, *no_wait, |standing| match &standing.change {
        Some(change) if change.going_back => Outcome::Failed,
        Some(_) => Outcome::NotYet,
        None if asked.is_some() && standing.request.is_some() => Outcome::NotYet,
        None if asked.is_some_and(|before| before == signing(standing)) => Outcome::Failed,
        None if goal.is_none_or(|goal| report::is_active(standing, goal)) => Outcome::Done,
        None => Outcome::Failed,
    })
}

/// The generation that signs.
fn signing(standing: &Standing) -> Option<u32> {
    let active = standing.generations.iter().find(|one| one.phase == "active");
    active.map(|one| one.number)
}

/// Goes back to the old root.
pub(super) fn abort(args: &AbortArgs) -> anyhow::Result<ExitCode> {
    let AbortArgs { within, no_wait, common } = args;
    let order = json!({ "withinSeconds": seconds(*within)? });
    let standing = order_to(&common.address()?, "abort", &order)?;
    to_the_end(common, standing, *no_wait, |standing| match &standing.change {
        Some(_) => Outcome::NotYet,
        None => Outcome::Done,
    })
}

/// Has every leaf replaced.
pub(super) fn taint(args: &TaintArgs) -> anyhow::Result<ExitCode> {
    let TaintArgs { within, no_wait, common } = args;
    let order = json!({ "withinSeconds": seconds(Some(*within))? });
    let standing = order_to(&common.address()?, "taint", &order)?;
    // Sidecars begin within the time; the last one needs a moment to be signed and to connect.
    let end = follow::deadline(within.saturating_add(Duration::from_secs(15)));
    to_the_end(common, standing, *no_wait, move |standing| {
        match (standing.done == standing.connected, end.is_over()) {
            (true, _) => Outcome::Done,
            (false, true) => Outcome::Failed,
            (false, false) => Outcome::NotYet,
        }
    })
}

fn show(common: &OperatorArgs, standing: &Standing) -> anyhow::Result<()> {
    let out = &mut std::io::stdout().lock();
    match common.output {
        Output::Json => writeln!(out, "{}", serde_json::to_string(standing)?)?,
        Output::Text => report::text(standing, out)?,
    }
    Ok(())
}

/// Says on stderr what changes until `judge` knows the outcome, then shows where the authority stands.
fn to_the_end(
    common: &OperatorArgs,
    first: Standing,
    no_wait: bool,
    judge: impl Fn(&Standing) -> Outcome,
) -> anyhow::Result<ExitCode> {
    if no_wait {
        show(common, &first)?;
        return Ok(ExitCode::SUCCESS);
    }
    let address = common.address()?;
    let err = &mut std::io::stderr();
    let (last, done) = follow::follow(first, || ask(&address), judge, err)?;
    show(common, &last)?;
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn ask(address: &Address) -> anyhow::Result<Standing> {
    read(call::get(address, PATH)?.done()?)
}

fn order_to(address: &Address, what: &str, order: &Value) -> anyhow::Result<Standing> {
    read(call::post(address, &format!("{PATH}/{what}"), order)?.done()?)
}

fn read(told: Value) -> anyhow::Result<Standing> {
    use anyhow::Context as _;
    serde_json::from_value(told)
        .context("the control plane answers what this version does not know")
}

fn seconds(duration: Option<Duration>) -> anyhow::Result<Option<u32>> {
    let seconds = duration.map(|duration| u32::try_from(duration.as_secs()));
    seconds.transpose().map_err(|_| anyhow::anyhow!("--within: is too long"))
}
