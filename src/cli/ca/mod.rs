//! `hopgate ca`: the certificate authority of a mesh, for its operators.

mod bundle;

use std::process::ExitCode;

/// Look at the certificate authority of a mesh
#[derive(Debug, clap::Args)]
pub(crate) struct CaArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Bundle(bundle::BundleArgs),
}

/// Runs the verb.
///
/// # Errors
/// When it could not be told or done.
pub(crate) fn run(args: &CaArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        Verb::Bundle(args) => bundle::run(args),
    }
}
