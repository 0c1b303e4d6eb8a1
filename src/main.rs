//! The `hopgate` binary: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    hopgate::cli::main()
}
