//! What one Check costs the server, in CPU time, beside a bare tonic + envoy-types server that always answers OK.
//!
//! Each server runs in a process of its own, pinned to one core where `taskset` is there; the load comes from this
//! process over a unix socket. CPU time is what the kernel counted for all threads of the server. Cases take turns within
//! each round, and each is compared with the bare server of the same round: only these ratios mean something.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::as_conversions,
    unreachable_pub,
    reason = "a bench fails loudly"
)]

mod bare;
mod load;
mod material;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use load::Load;
use material::Material;

const ROUNDS: usize = 7;
const CHECKS: usize = 60_000;
const WARM_UP: usize = 10_000;

/// One server to measure; ended when this goes, also by a panic.
struct Case {
    name: &'static str,
    socket: PathBuf,
    child: Child,
}

impl Drop for Case {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("bare-server") {
        return bare::serve(&PathBuf::from(arguments.next().expect("the socket's path")));
    }
    let directory = std::env::temp_dir().join(format!("hopgate-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let material = Material::make();
    let mut cases = vec![bare_server(&directory)];
    for (name, rules) in
        [("hopgate, 10 rules", 10), ("hopgate, 100 rules", 100), ("hopgate, 10,000 rules", 10_000)]
    {
        cases.push(sidecar(&directory, name, rules, &material));
    }
    let result = measure(&cases, &material);
    print(&cases, &result);
    cases.clear();
    std::fs::remove_dir_all(&directory).unwrap();
}

/// CPU nanoseconds per Check: by case, then by round.
fn measure(cases: &[Case], material: &Material) -> Vec<Vec<f64>> {
    let message = material.check_request();
    println!(
        "CheckRequest of {} bytes, {CHECKS} Checks a round, {ROUNDS} rounds, 1 connection x 64 in flight, unix socket",
        message.len()
    );
    let mut result = vec![Vec::new(); cases.len()];
    let check = |case: &Case, count| {
        let allowed = Load::new(&case.socket, &message).run(count);
        assert_eq!(allowed, count, "{}: every Check must be allowed", case.name);
    };
    for case in cases {
        wait_for(&case.socket);
        check(case, WARM_UP);
    }
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS}", round + 1);
        for (case, costs) in cases.iter().zip(&mut result) {
            let before = cpu_nanoseconds(case.child.id());
            check(case, CHECKS);
            costs.push((cpu_nanoseconds(case.child.id()) - before) / CHECKS as f64);
        }
    }
    result
}

fn print(cases: &[Case], result: &[Vec<f64>]) {
    println!("{:<24} {:>14} {:>22}", "server", "CPU per Check", "ratio to bare (range)");
    let bare = &result[0];
    for (case, costs) in cases.iter().zip(result) {
        let ratios: Vec<f64> = costs.iter().zip(bare).map(|(cost, bare)| cost / bare).collect();
        let (low, middle, high) = spread(&ratios);
        println!(
            "{:<24} {:>11.2} us {middle:>8.2} ({low:.2} to {high:.2})",
            case.name,
            spread(costs).1 / 1000.0
        );
    }
    let growth: Vec<f64> = result[3].iter().zip(&result[1]).map(|(many, few)| many / few).collect();
    let (low, middle, high) = spread(&growth);
    println!("10,000 rules cost {middle:.2} x 10 rules ({low:.2} to {high:.2})");
    println!("targets: 100 rules at most 1.0 x bare; 10,000 rules at most 1.2 x 10 rules");
}

fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1])
}

fn bare_server(directory: &Path) -> Case {
    let socket = directory.join("bare.sock");
    let this = std::env::current_exe().unwrap();
    let child = pinned(&this).arg("bare-server").arg(&socket).spawn().unwrap();
    Case { name: "bare tonic, answers OK", socket, child }
}

fn sidecar(directory: &Path, name: &'static str, rules: usize, material: &Material) -> Case {
    let home = directory.join(rules.to_string());
    std::fs::create_dir_all(&home).unwrap();
    let socket = home.join("authz.sock");
    std::fs::write(home.join("provider.yaml"), material.provider()).unwrap();
    std::fs::write(home.join("policy.yaml"), material.policy(rules)).unwrap();
    let config = "workload: { trustDomain: bench.mesh, namespace: shop, serviceAccount: orders, labels: { app: orders } }\n\
         resources: [provider.yaml, policy.yaml]\n\
         extAuthz: { listen: [\"unix:authz.sock\"] }\n\
         admin: { listen: \"unix:admin.sock\" }\n\
         decisionLog: { path: decisions.log }\n";
    std::fs::write(home.join("sidecar.yaml"), config).unwrap();
    let child = pinned(Path::new(env!("CARGO_BIN_EXE_hopgate")))
        .args(["sidecar", "--log", "error", "--config"])
        .arg(home.join("sidecar.yaml"))
        .spawn()
        .unwrap();
    Case { name, socket, child }
}

/// Runs a program on the first core, if `taskset` can do that here.
fn pinned(program: &Path) -> Command {
    let can_pin = Command::new("taskset")
        .args(["-c", "0", "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !can_pin {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(program);
    command
}

fn wait_for(socket: &Path) {
    let began = Instant::now();
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "{} does not answer", socket.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// CPU time of all threads of a process.
fn cpu_nanoseconds(process: u32) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    tasks
        .map(|task| {
            let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
            text.split_whitespace().next().unwrap().parse::<f64>().unwrap()
        })
        .sum()
}
