//! Runs again whenever a suite, or a resource that one names, changes.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use super::TestArgs;
use crate::cli::{report, stop_signal};
use crate::runtime::FileWatch;

/// Runs until it is stopped; what cannot be read is told, and read again once it changed.
pub(super) fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stopped = stop_signal()?;
        tokio::pin!(stopped);
        let mut watch = FileWatch::new(&args.paths)?;
        loop {
            let code = match super::once(args) {
                Ok((outcome, suites)) => {
                    let files: Vec<PathBuf> =
                        suites.into_iter().flat_map(|suite| suite.watched).collect();
                    for file in files {
                        watch.also(&file)?;
                    }
                    outcome
                }
                Err(error) => {
                    report(&error);
                    ExitCode::from(2)
                }
            };
            writeln!(std::io::stderr(), "waiting for a change")?;
            tokio::select! {
                () = &mut stopped => return Ok(code),
                changed = watch.changed() => if changed.is_none() { return Ok(code) },
            }
        }
    })
}
