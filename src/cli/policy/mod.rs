//! `hopgate policy`: look at policies before they decide anything.

mod check;
mod graph;
mod import;
mod replay;
mod schema;
pub(super) mod test;

use std::process::ExitCode;

/// Check, test, compare, draw and import policies.
#[derive(Debug, clap::Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Check(check::CheckArgs),
    Test(test::TestArgs),
    Schema(schema::SchemaArgs),
    Replay(replay::ReplayArgs),
    Graph(graph::GraphArgs),
    Import(import::ImportArgs),
}

/// The form of what stands on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For machines
    Json,
}

/// Runs the verb.
///
/// # Errors
/// When it could not be told or done.
pub(crate) fn run(args: &PolicyArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        Verb::Check(args) => check::run(args),
        Verb::Test(args) => test::run(args),
        Verb::Schema(args) => schema::run(args),
        Verb::Replay(args) => replay::run(args),
        Verb::Graph(args) => graph::run(args),
        Verb::Import(args) => import::run(args),
    }
}
