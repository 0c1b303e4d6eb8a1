//! A control plane that is killed while the root changes goes on where it was. The journal is looked at without a pause, and
//! the process is killed the moment that a step stands in it; what the journal says after that is the step that was met.
//! That no point within a step leaves anything else is for the tests of the store, which cut the power before each change
//! of the directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use hopgate::ca::Authority;
use hopgate::runtime::Clock;
use serde_json::Value;

use super::parts::{Directory, domain};

/// So often a step is aimed at before it counts as missed.
const ATTEMPTS: usize = 40;

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

/// Where the authority stands, in a word.
fn step(state: &Value) -> &str {
    let change = &state["rotation"];
    match change["step"].as_str() {
        None => "none",
        Some(_) if change["goingBack"] == true => "going back",
        Some(step) => step,
    }
}

/// A mesh whose control plane is killed again and again.
struct Mesh {
    directory: Directory,
    state: PathBuf,
}

impl Mesh {
    fn new() -> Self {
        let directory = Directory::new();
        let text = "trustDomain: demo.mesh\nlisten: 127.0.0.1:0\ndirectory: ca\n";
        directory.write("control.yaml", text, 0o644);
        let state = directory.path("ca/state.json");
        Self { directory, state }
    }

    /// Starts it, gives it this order, and kills it the moment that `is` holds of the journal. What stands in the journal
    /// after that.
    fn killed(&self, order: &[&str], is: impl Fn(&Value) -> bool) -> Value {
        let process = Process::start(&self.directory);
        status(&self.directory);
        std::thread::scope(|scope| {
            let ordered = scope.spawn(|| ca(&self.directory, order));
            let end = Instant::now() + Duration::from_secs(20);
            let mut last = Vec::new();
            while Instant::now() < end {
                let now = std::fs::read(&self.state).unwrap();
                if now != last && is(&journal_of(&now)) {
                    break;
                }
                last = now;
            }
            process.kill();
            drop(ordered.join().unwrap());
        });
        journal(&self.state)
    }

    /// Starts it once more: it is where the journal says, and goes on to the end.
    fn recovers(&self, found: &Value) -> Value {
        let process = Process::start(&self.directory);
        let standing = status(&self.directory);
        let met = step(found);
        let phases = standing["generations"].as_array().unwrap().iter();
        let active = phases.filter(|one| one["phase"] == "active").count();
        assert_eq!(active, 1, "killed in {met}: {standing}");
        // It goes on at once where it may, so it is where it was found, or later.
        let order = ["prepared", "publishing", "reissuing", "none"];
        let place = |step: &str| order.iter().position(|one| *one == step);
        let now = standing["change"]["step"].as_str().unwrap_or("none");
        if met == "going back" {
            assert!(standing["change"].is_null() || standing["change"]["goingBack"] == true);
        } else {
            assert!(place(now) >= place(met), "killed in {met}, found in {now}: {standing}");
        }
        if !standing["change"].is_null() && standing["change"]["withoutAbsent"] == false {
            let said = ca(&self.directory, &["rotate", "--no-wait", "--without-absent"]);
            assert_eq!(said.status.code(), Some(0), "killed in {met}: {said:?}");
        }
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let standing = status(&self.directory);
            if standing["change"].is_null() {
                process.kill();
                return standing;
            }
            assert!(Instant::now() < end, "killed in {met}: {standing}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Takes steps while no control plane runs, as one that was killed would have left them.
    fn by_hand(&self, steps: impl FnOnce(&Authority)) {
        let now = Clock::system().now();
        let authority = Authority::open(&self.directory.path("ca"), &domain(), now).unwrap();
        steps(&authority);
    }
}

fn journal_of(text: &[u8]) -> Value {
    let sealed: Value = serde_json::from_slice(text).unwrap();
    sealed["state"].clone()
}

fn active(state: &Value) -> u64 {
    let all = state["generations"].as_array().unwrap();
    let number = |one: &Value| one["number"].as_u64().unwrap();
    all.iter().find(|one| one["phase"] == "active").map(number).unwrap()
}

#[test]
fn a_control_plane_killed_at_any_step_goes_on_where_it_was() {
    let mesh = Mesh::new();
    drop(mesh.killed(&["status"], |_| true));
    let first = journal(&mesh.state);
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    for aim in ["prepared", "publishing", "reissuing", "none"] {
        let mut hit = false;
        for _ in 0..ATTEMPTS {
            let before = active(&journal(&mesh.state));
            // Without sidecars and without the wait for absent ones the steps follow one another at once.
            let order = ["rotate", "--no-wait", "--without-absent"];
            let found = mesh.killed(&order, |state| match aim {
                "none" => step(state) == "none" && active(state) > before,
                aim => step(state) == aim,
            });
            let landed = match step(&found) {
                "none" if active(&found) == before => continue,
                landed => ["prepared", "publishing", "reissuing", "none"]
                    .into_iter()
                    .find(|one| *one == landed),
            };
            *met.entry(landed.unwrap()).or_default() += 1;
            let after = mesh.recovers(&found);
            assert!(active(&after) > before, "{after}");
            if landed == Some(aim) {
                hit = true;
                break;
            }
        }
        assert!(hit, "never killed in {aim}, but in {met:?}");
    }
    println!("killed in {met:?}");
    let last = journal(&mesh.state);
    assert_ne!(last["generations"], first["generations"]);
    assert!(last["sequence"].as_u64() > first["sequence"].as_u64());

    // A damaged journal: it says which file and what to do, and makes no new root.
    let whole = std::fs::read_to_string(&mesh.state).unwrap();
    std::fs::write(&mesh.state, &whole[..whole.len() / 2]).unwrap();
    let refused = Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .args(["control", "--config"])
        .arg(mesh.directory.path("control.yaml"))
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("state.json") && said.contains("restore it from a backup"), "{said}");
    assert_eq!(std::fs::read_to_string(&mesh.state).unwrap(), whole[..whole.len() / 2]);
}

#[test]
fn a_control_plane_killed_while_it_goes_back_goes_on_going_back() {
    let now = Clock::system().now();
    let mesh = Mesh::new();
    drop(mesh.killed(&["status"], |_| true));
    // Before the new root signed, it is dropped in one step.
    for published in [false, true] {
        let before = active(&journal(&mesh.state));
        mesh.by_hand(|authority| {
            authority.prepare(None, now).unwrap();
            if published {
                authority.publish(now).unwrap();
            }
        });
        let found = mesh.killed(&["abort", "--no-wait"], |state| step(state) == "none");
        assert_eq!((step(&found), active(&found)), ("none", before));
        assert_eq!(active(&mesh.recovers(&found)), before);
    }
    // After that it goes back step by step; it waits for sidecars that are absent, and so is met for sure.
    let before = active(&journal(&mesh.state));
    mesh.by_hand(|authority| {
        authority.prepare(None, now).unwrap();
        authority.publish(now).unwrap();
        authority.activate(Duration::from_secs(60), now).unwrap();
    });
    assert_ne!(active(&journal(&mesh.state)), before);
    let found = mesh.killed(&["abort", "--no-wait"], |state| step(state) == "going back");
    assert_eq!((step(&found), active(&found)), ("going back", before));
    let after = mesh.recovers(&found);
    assert_eq!(active(&after), before, "{after}");

    // A new issuing key is there whole, or not at all.
    let keys = |state: &Value| {
        let all = state["generations"].as_array().unwrap();
        let found = all.iter().find(|one| one["phase"] == "active").unwrap();
        found["issuingKeys"].as_array().unwrap().len()
    };
    let had = keys(&journal(&mesh.state));
    let order = ["taint", "--within", "1m", "--no-wait"];
    let found = mesh.killed(&order, |state| keys(state) > had);
    assert_eq!(keys(&found), had + 1);
    assert_eq!(active(&mesh.recovers(&found)), before);
}
