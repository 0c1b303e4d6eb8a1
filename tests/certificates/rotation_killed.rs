//! A control plane that is killed while the root changes goes on where it was.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::parts::Directory;

/// `hopgate control` as a process of its own; killed on drop.
struct Process(Child);

impl Process {
    fn start(directory: &Directory) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_hopgate"))
            .args(["--log", "warn", "control", "--config"])
            .arg(directory.path("control.yaml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(directory.path("control.log")).unwrap())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// SIGKILL.
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn ca(directory: &Directory, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .arg("ca")
        .args(arguments)
        .arg("--config")
        .arg(directory.path("control.yaml"))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Asks until it answers.
fn status(directory: &Directory) -> Value {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let output = ca(directory, &["status", "--output", "json"]);
        if output.status.code() == Some(0) {
            return serde_json::from_slice(&output.stdout).unwrap();
        }
        assert!(
            Instant::now() < end,
            "{output:?}: {}",
            std::fs::read_to_string(directory.path("control.log")).unwrap_or_default()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The journal, read as another process would: it is whole at every moment.
fn journal(path: &Path) -> Value {
    let sealed: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    sealed["state"].clone()
}

#[test]
fn a_control_plane_killed_at_any_step_goes_on_where_it_was() {
    let directory = Directory::new();
    directory.write(
        "control.yaml",
        "trustDomain: demo.mesh\nlisten: 127.0.0.1:0\ndirectory: ca\n",
        0o644,
    );
    let state = directory.path("ca/state.json");
    let mut process = Process::start(&directory);
    let first = status(&directory);
    let mut killed_in = std::collections::BTreeSet::new();
    for delay in [0_u64, 3, 6, 10, 15, 25, 40, 80] {
        // Without sidecars and without the wait for absent ones the steps follow one another at once.
        let order = std::thread::scope(|scope| {
            let order =
                scope.spawn(|| ca(&directory, &["rotate", "--no-wait", "--without-absent"]));
            let before = std::fs::read(&state).unwrap();
            let end = Instant::now() + Duration::from_secs(20);
            while std::fs::read(&state).unwrap() == before && Instant::now() < end {
                std::hint::spin_loop();
            }
            std::thread::sleep(Duration::from_millis(delay));
            process.kill();
            order.join().unwrap()
        });
        drop(order);
        let found = journal(&state);
        let step = found["rotation"]["step"].as_str().unwrap_or("none").to_owned();
        killed_in.insert(step.clone());
        process = Process::start(&directory);
        let standing = status(&directory);
        let phases: Vec<&str> = standing["generations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["phase"].as_str().unwrap())
            .collect();
        assert_eq!(phases.iter().filter(|phase| **phase == "active").count(), 1, "{standing}");
        // It goes on, to the end.
        if !standing["change"].is_null() && standing["change"]["withoutAbsent"] == false {
            let said = ca(&directory, &["rotate", "--no-wait", "--without-absent"]);
            assert_eq!(said.status.code(), Some(0), "{said:?}");
        }
        let end = Instant::now() + Duration::from_secs(20);
        while !status(&directory)["change"].is_null() {
            assert!(Instant::now() < end, "killed in {step}: {}", status(&directory));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    println!("killed in {killed_in:?}");
    let last = status(&directory);
    assert_ne!(last["generations"], first["generations"]);
    assert!(last["sequence"].as_u64() > first["sequence"].as_u64());
    process.kill();

    // A damaged journal: it says which file and what to do, and makes no new root.
    let whole = std::fs::read_to_string(&state).unwrap();
    std::fs::write(&state, &whole[..whole.len() / 2]).unwrap();
    let refused = Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .args(["control", "--config"])
        .arg(directory.path("control.yaml"))
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("state.json") && said.contains("restore it from a backup"), "{said}");
    assert_eq!(std::fs::read_to_string(&state).unwrap(), whole[..whole.len() / 2]);
}
