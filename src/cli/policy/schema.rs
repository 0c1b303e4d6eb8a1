//! `hopgate policy schema`: JSON Schema for editors.

use std::io::Write as _;
use std::process::ExitCode;

use crate::policy::{did_you_mean, schema};

/// Print the JSON Schema (2020-12) of a kind of resource, of suites, or of all resources, for editors
#[derive(Debug, clap::Args)]
pub(crate) struct SchemaArgs {
    /// A kind of resource, or Suite [default: one schema for all kinds of resources]
    #[arg(value_name = "KIND")]
    kind: Option<String>,
}

/// Runs the verb.
///
/// # Errors
/// When there is no such kind.
pub(crate) fn run(args: &SchemaArgs) -> anyhow::Result<ExitCode> {
    let document = match &args.kind {
        None => schema::of_resources()?,
        Some(kind) => {
            let name = schema::names().find(|name| name.eq_ignore_ascii_case(kind));
            let Some(document) = schema::of(name.unwrap_or(kind))? else {
                let names: Vec<&str> = schema::names().collect();
                let hint = did_you_mean(kind, names.iter().copied()).unwrap_or_default();
                anyhow::bail!("there is no kind {kind}, only {} {hint}", names.join(", "));
            };
            document
        }
    };
    writeln!(std::io::stdout().lock(), "{document:#}")?;
    Ok(ExitCode::SUCCESS)
}
