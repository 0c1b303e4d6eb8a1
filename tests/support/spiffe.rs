//! Clients of a Workload API that nobody here wrote: go-spiffe and the Python library, each as a program of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::tool;

const PATIENCE: Duration = Duration::from_secs(60);

/// Which library.
#[derive(Debug, Clone, Copy)]
pub enum Library {
    Go,
    Python,
}

/// A client that runs; ended on drop.
pub struct Probe {
    lines: Lines<BufReader<ChildStdout>>,
    child: Child,
}

impl Library {
    /// Starts the program for one command.
    pub fn start(self, command: &str, socket: &Path, rest: &[&str]) -> Probe {
        let mut program = match self {
            Self::Go => Command::new(tool("HOPGATE_SPIFFE_GO", "spiffe-go.sh")),
            Self::Python => {
                let script =
                    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/spiffe/probe.py");
                let library = tool("HOPGATE_SPIFFE_PYTHON", "spiffe-python.sh");
                let mut program = Command::new("python3");
                program.arg(script).env("PYTHONPATH", library).env("PYTHONDONTWRITEBYTECODE", "1");
                program
            }
        };
        let mut child = program
            .arg(command)
            .arg(socket)
            .args(rest)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the client starts");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Probe { lines, child }
    }

    /// Runs one command to its end and gives what it said.
    pub async fn ask(self, command: &str, socket: &Path, rest: &[&str]) -> Value {
        let mut probe = self.start(command, socket, rest);
        let said = probe.next().await.unwrap_or_else(|| panic!("{self:?} {command} said nothing"));
        assert!(probe.child.wait().await.unwrap().success(), "{self:?} {command}: {said}");
        said
    }
}

impl Probe {
    /// The next thing it says.
    pub async fn next(&mut self) -> Option<Value> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        let line = line.expect("the client says something in time").unwrap()?;
        Some(serde_json::from_str(&line).unwrap())
    }

    /// The next update of a watch, past errors that the client tells of before it tries again.
    pub async fn update(&mut self) -> Value {
        loop {
            let said = self.next().await.expect("the watch goes on");
            if said.get("error").is_none() {
                return said;
            }
        }
    }
}
