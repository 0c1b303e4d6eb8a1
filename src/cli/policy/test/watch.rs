//! Runs again whenever a suite, or a resource that one names, changes.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use super::load::{self, Loaded};
use super::{TestArgs, find};
use crate::cli::{report, stop_signal};
use crate::runtime::FileWatch;

/// Runs until it is stopped; what cannot be read is told, and read again once it changed.
pub(super) fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stopped = stop_signal()?;
        tokio::pin!(stopped);
        let mut watched = Watched { watch: FileWatch::new(&args.paths)?, files: BTreeSet::new() };
        loop {
            let outcome = watched.read(args).and_then(|suites| super::once(&suites, args));
            let code = outcome.unwrap_or_else(|error| {
                report(&error);
                ExitCode::from(2)
            });
            writeln!(std::io::stderr(), "waiting for a change")?;
            tokio::select! {
                () = &mut stopped => return Ok(code),
                changed = watched.watch.changed() => if changed.is_none() { return Ok(code) },
            }
        }
    })
}

/// What is watched so far.
struct Watched {
    watch: FileWatch,
    files: BTreeSet<PathBuf>,
}

impl Watched {
    /// Reads the suites once every file that they name is watched: a change between reading and watching would be
    /// missed.
    fn read(&mut self, args: &TestArgs) -> anyhow::Result<Vec<Loaded>> {
        let mut found = find::suites(&args.paths)?;
        loop {
            self.also(found)?;
            let suites = load::all(&find::suites(&args.paths)?)?;
            found = suites.iter().flat_map(|suite| suite.watched.iter().cloned()).collect();
            if found.iter().all(|file| self.files.contains(file)) {
                return Ok(suites);
            }
        }
    }

    fn also(&mut self, files: Vec<PathBuf>) -> anyhow::Result<()> {
        for file in files {
            self.watch.also(&file)?;
            self.files.insert(file);
        }
        Ok(())
    }
}
