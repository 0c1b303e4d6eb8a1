//! `hopgate ca`: the certificate authority of a mesh, for its operators.

mod bundle;
mod change;
mod follow;
mod report;

use std::process::ExitCode;

/// Look at the certificate authority of a mesh, and change its root
#[derive(Debug, clap::Args)]
pub(crate) struct CaArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Bundle(bundle::BundleArgs),
    Rotate(change::RotateArgs),
    Status(change::StatusArgs),
    Abort(change::AbortArgs),
    Taint(change::TaintArgs),
}

/// Runs the verb.
///
/// # Errors
/// When it could not be told or done.
pub(crate) fn run(args: &CaArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        Verb::Bundle(args) => bundle::run(args),
        Verb::Rotate(args) => change::rotate(args),
        Verb::Status(args) => change::status(args),
        Verb::Abort(args) => change::abort(args),
        Verb::Taint(args) => change::taint(args),
    }
}
