//! `hopgate token`: look at a token, make one for tests, make an API key.

mod api_key;
mod input;
mod inspect;
mod mint;
mod report;
mod show;
mod signer;

use std::process::ExitCode;
use std::time::Duration;

/// Look at tokens, and make them for tests.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Inspect(inspect::InspectArgs),
    Mint(mint::MintArgs),
    Key(api_key::KeyArgs),
}

/// The form of what stands on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people
    Text,
    /// One JSON object
    Json,
}

/// Runs the verb.
///
/// # Errors
/// When it could not be told or done.
pub(crate) fn run(args: &TokenArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        Verb::Inspect(args) => inspect::run(args),
        Verb::Mint(args) => mint::run(args),
        Verb::Key(args) => api_key::run(args),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime_serde::re::humantime::parse_duration(text).map_err(|error| error.to_string())
}
