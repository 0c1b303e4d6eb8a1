//! Child processes: started with a log of their own, killed when their handle goes.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::runtime::read_limited;

/// The longest log that is looked into.
const MAX_LOG: u64 = 64 * 1024 * 1024;
/// How many lines of the log an error shows.
const TAIL: usize = 12;
/// A helper command that takes longer is stuck.
const COMMAND_DEADLINE: Duration = Duration::from_secs(30);

/// A process could not be started, or ended when it should not.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The system did not start it.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// It ended by itself.
    #[error("{name} ended ({status}); its log {log} ends with:\n{tail}")]
    Ended {
        /// What it was.
        name: String,
        /// How it ended.
        status: String,
        /// Where its log is.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// A helper command failed.
    #[error("`{command}` failed ({status}):\n{stderr}")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// What it said.
        stderr: String,
    },
    /// A helper command did not end.
    #[error("`{0}` did not end within {COMMAND_DEADLINE:?}")]
    Stuck(String),
}

/// How processes are started: with which binaries and in which environment.
#[derive(Debug, Clone)]
pub(crate) struct Launcher {
    pub(crate) hopgate: PathBuf,
    pub(crate) envoy: PathBuf,
    pub(crate) environment: Vec<(OsString, OsString)>,
}

/// A running child. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Launcher {
    /// Runs `hopgate` with these arguments until it ends, and gives its standard output.
    pub(crate) async fn ask(&self, arguments: &[&str]) -> Result<Vec<u8>, ProcessError> {
        let line = format!("hopgate {}", arguments.join(" "));
        let running = self.command(&self.hopgate).args(arguments).stdin(Stdio::null()).output();
        let output = tokio::time::timeout(COMMAND_DEADLINE, running)
            .await
            .map_err(|_| ProcessError::Stuck(line.clone()))?
            .map_err(|source| ProcessError::Start { program: self.hopgate.clone(), source })?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(ProcessError::Failed {
            command: line,
            status: output.status.to_string(),
            stderr: String::from_utf8_lossy(&output.stderr).trim_end().to_owned(),
        })
    }

    /// Starts `hopgate` and leaves it running.
    pub(crate) fn hopgate(
        &self,
        name: String,
        directory: &Path,
        arguments: &[&str],
    ) -> Result<Process, ProcessError> {
        self.start(&self.hopgate, name, directory, arguments)
    }

    /// Starts an Envoy and leaves it running.
    pub(crate) fn envoy(
        &self,
        name: String,
        directory: &Path,
        arguments: &[&str],
    ) -> Result<Process, ProcessError> {
        self.start(&self.envoy, name, directory, arguments)
    }

    /// The log is a file named after the process, in `directory`, which is also its working directory.
    fn start(
        &self,
        program: &Path,
        name: String,
        directory: &Path,
        arguments: &[&str],
    ) -> Result<Process, ProcessError> {
        let failed = |source| ProcessError::Start { program: program.to_path_buf(), source };
        let log = directory.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).map_err(failed)?;
        let child = self
            .command(program)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(file.try_clone().map_err(failed)?)
            .stderr(file)
            .spawn()
            .map_err(failed)?;
        Ok(Process { name, log, child })
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(self.environment.iter().cloned()).kill_on_drop(true);
        command
    }
}

impl Process {
    /// Fails if the process has ended.
    pub(crate) fn check(&mut self) -> Result<(), ProcessError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.ended(status)),
            Err(source) => Err(ProcessError::Start { program: self.name.clone().into(), source }),
        }
    }

    /// Kills it without a chance to say goodbye, and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> Result<(), ProcessError> {
        let killed = self.child.kill().await;
        killed.map_err(|source| ProcessError::Start { program: self.name.clone().into(), source })
    }

    /// Everything it has said so far.
    pub(crate) fn log(&self) -> String {
        read_limited(&self.log, MAX_LOG).unwrap_or_default()
    }

    fn ended(&self, status: ExitStatus) -> ProcessError {
        let log = self.log();
        let mut tail: Vec<_> = log.lines().rev().take(TAIL).collect();
        tail.reverse();
        ProcessError::Ended {
            name: self.name.clone(),
            status: status.to_string(),
            log: self.log.clone(),
            tail: tail.join("\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launcher(program: &str) -> Launcher {
        Launcher { hopgate: program.into(), envoy: program.into(), environment: Vec::new() }
    }

    #[tokio::test]
    async fn a_process_that_ends_tells_its_last_words() {
        let directory = std::env::temp_dir().join(format!("hopgate-demo-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let shell = launcher("/bin/sh");
        let mut process = shell
            .envoy("envoy".into(), &directory, &["-c", "echo no such cluster; exit 3"])
            .unwrap();
        let ended = loop {
            if let Err(ended) = process.check() {
                break ended;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let text = ended.to_string();
        assert!(text.contains("exit status: 3") && text.ends_with("no such cluster"), "{text}");

        let mut sleeper = shell.hopgate("sidecar".into(), &directory, &["-c", "sleep 60"]).unwrap();
        sleeper.check().unwrap();
        sleeper.kill().await.unwrap();
        assert!(sleeper.check().is_err());
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[tokio::test]
    async fn a_command_gives_its_output_or_its_complaint() {
        let shell = launcher("/bin/sh");
        assert_eq!(shell.ask(&["-c", "echo a"]).await.unwrap(), b"a\n");
        let failed = shell.ask(&["-c", "echo b >&2; exit 2"]).await.unwrap_err();
        assert!(failed.to_string().ends_with("(exit status: 2):\nb"), "{failed}");
        let missing = launcher("/no/such/program").ask(&[]).await.unwrap_err();
        assert!(matches!(missing, ProcessError::Start { .. }));
    }
}
