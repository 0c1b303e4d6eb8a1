//! `hopgate completions SHELL`.

use std::process::ExitCode;

use clap::CommandFactory as _;

/// Prints a completion script, for example: `source <(hopgate completions bash)`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    let mut command = super::Cli::command();
    clap_complete::generate(args.shell, &mut command, "hopgate", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}
