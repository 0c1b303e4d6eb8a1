//! A control plane with a thousand connected sidecars: how long a change takes to be acknowledged by the last of them,
//! and what each costs in memory. The sidecars are simulated: one TLS connection with a certificate of its own each,
//! and an acknowledgement as soon as an answer is read. The control plane is a process of its own.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a bench fails loudly and needs no documentation of its items"
)]

mod cluster;
mod plane;
mod sidecar;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SIDECARS: usize = 1000;
const ROUNDS: usize = 5;

/// The control plane's process; ended when this goes, also by a panic.
struct Plane {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Plane {
    fn start(directory: &std::path::Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("plane")
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("the control plane lives").unwrap()
    }

    fn ask(&mut self, command: &str) -> String {
        writeln!(self.child.stdin.as_mut().unwrap(), "{command}").unwrap();
        self.line()
    }

    /// Resident memory in KiB.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn report(what: &str, took: &mut [Duration]) {
    took.sort_unstable();
    println!(
        "{what}, to the last of {SIDECARS} acknowledgements: {:.0?} (middle of {ROUNDS}; {:.0?} to {:.0?})",
        took[ROUNDS / 2],
        took[0],
        took[ROUNDS - 1]
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("plane") {
        return plane::serve(&PathBuf::from(arguments.next().expect("the directory")));
    }
    let directory = std::env::temp_dir().join(format!("hopgate-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    eprintln!("issuing {SIDECARS} certificates");
    let identities = sidecar::identities(&directory, SIDECARS);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let cluster = runtime.block_on(cluster::Cluster::start(&directory));
    let pods = match &cluster {
        Some(cluster) => {
            eprintln!("making {SIDECARS} pods");
            runtime.block_on(cluster.pods(SIDECARS)).into_iter().map(Some).collect()
        }
        None => vec![None; SIDECARS],
    };
    let mut plane = Plane::start(&directory);
    let port: u16 = plane.line().parse().unwrap();
    let before = plane.memory();
    let since = Instant::now();
    let progress = sidecar::Progress::new();
    let identities = identities.into_iter().zip(pods).collect();
    let sidecars = runtime.block_on(sidecar::connect(port, identities, &progress));
    plane.ask(&format!("connected {SIDECARS}"));
    println!("{SIDECARS} sidecars connected and in step after {:.2?}", since.elapsed());
    let per_sidecar = plane.memory().saturating_sub(before) / SIDECARS as u64;
    println!("memory of the control plane per connected sidecar: {per_sidecar} KiB");
    for (what, command) in [
        ("a new root", "root"),
        ("a revoked workload", "revoke"),
        ("an order to replace certificates", "reissue"),
    ] {
        let mut took: Vec<Duration> = (0..ROUNDS)
            .map(|_| Duration::from_micros(plane.ask(command).parse().unwrap()))
            .collect();
        report(what, &mut took);
    }
    match &cluster {
        Some(cluster) => {
            let apply = |round| runtime.block_on(cluster.apply(round, (&progress, SIDECARS)));
            // The first one makes the set; what changes later is told like that.
            apply(0);
            let mut took: Vec<Duration> = (1..=ROUNDS).map(apply).collect();
            report("a policy that is applied to the cluster", &mut took);
        }
        None => println!("policies of a cluster: not measured, HOPGATE_KUBE is not set"),
    }
    let held = plane.memory().saturating_sub(before) / SIDECARS as u64;
    println!("memory per connected sidecar after that: {held} KiB");
    drop(sidecars);
    drop(plane);
    drop(std::fs::remove_dir_all(&directory));
}
