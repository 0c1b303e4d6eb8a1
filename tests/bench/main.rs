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

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use load::Load;
use material::{Material, Signed};

const ROUNDS: usize = 7;
const CHECKS: usize = 60_000;
const WARM_UP: usize = 10_000;
/// Of tokens that were never seen before, each costs a signature to make first.
const UNSEEN_CHECKS: usize = 3_000;
const UNSEEN_WARM_UP: usize = 300;
/// As from a busy Envoy.
const MANY: usize = 64;
/// As from one that is hardly used: each Check wakes the server up.
const ONE: usize = 1;

/// One server to measure; ended when this goes, also by a panic.
struct Case {
    name: &'static str,
    socket: PathBuf,
    child: Child,
    load: Messages,
}

/// What is sent to a server.
struct Messages {
    messages: Vec<Vec<u8>>,
    next: Cell<usize>,
    warm_up: usize,
    checks: usize,
    in_flight: usize,
}

impl Messages {
    /// The same message again and again.
    fn same(message: Vec<u8>) -> Self {
        let (warm_up, checks) = (WARM_UP, CHECKS);
        Self { messages: vec![message], next: Cell::new(0), warm_up, checks, in_flight: MANY }
    }

    /// The next one is sent when the one before is answered.
    fn one_at_a_time(self) -> Self {
        Self { in_flight: ONE, ..self }
    }

    /// Each only once.
    fn unseen(material: &Material, signed: Signed) -> Self {
        let (warm_up, checks) = (UNSEEN_WARM_UP, UNSEEN_CHECKS);
        let tokens = material.distinct(signed, warm_up + ROUNDS * checks);
        let messages = tokens.iter().map(|token| material.check_request(token)).collect();
        Self { messages, next: Cell::new(0), warm_up, checks, in_flight: MANY }
    }

    fn send(&self, case: &Case, count: usize) {
        let first = self.next.replace(self.next.get() + count);
        let allowed = Load::new(&case.socket, &self.messages, first, self.in_flight).run(count);
        assert_eq!(allowed, count, "{}: every Check must be allowed", case.name);
    }
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
    eprintln!("making keys and tokens");
    let material = Material::make();
    let cached = material.check_request(&material.distinct(Signed::Rs256, 1)[0]);
    println!(
        "CheckRequest of {} bytes, {CHECKS} Checks a round ({UNSEEN_CHECKS} where each token is new), {ROUNDS} rounds, \
         1 connection x {MANY} in flight, unix socket",
        cached.len()
    );
    let mut cases =
        vec![bare_server(&directory, "bare tonic, answers OK", Messages::same(cached.clone()))];
    for (name, rules) in [
        ("token seen, 10 rules", 10),
        ("token seen, 100 rules", 100),
        ("token seen, 10,000 rules", 10_000),
    ] {
        let files = [("provider.yaml", material.tokens()), ("policy.yaml", material.policy(rules))];
        cases.push(sidecar(&directory, name, &files, Messages::same(cached.clone())));
    }
    for (name, signed) in [
        ("token new, RS256", Signed::Rs256),
        ("token new, ES256", Signed::Es256),
        ("token new, EdDSA", Signed::EdDsa),
    ] {
        let files = [("provider.yaml", material.tokens()), ("policy.yaml", material.policy(100))];
        cases.push(sidecar(&directory, name, &files, Messages::unseen(&material, signed)));
    }
    let url = introspection_server();
    let files =
        [("provider.yaml", material.introspection(&url)), ("policy.yaml", material.policy(100))];
    let opaque = Messages::same(material.check_request(material::OPAQUE));
    cases.push(sidecar(&directory, "introspected before", &files, opaque));
    let (provider, keys) = material.api_keys();
    let files =
        [("provider.yaml", provider), ("keys.txt", keys), ("policy.yaml", material.policy(100))];
    let key = Messages::same(material.check_request(material::API_KEY));
    cases.push(sidecar(&directory, "API key", &files, key));

    let one = || Messages::same(cached.clone()).one_at_a_time();
    cases.push(bare_server(&directory, "bare tonic, one in flight", one()));
    let files = [("provider.yaml", material.tokens()), ("policy.yaml", material.policy(100))];
    cases.push(sidecar(&directory, "token seen, one in flight", &files, one()));

    let result = measure(&cases);
    print(&cases, &result);
    cases.clear();
    std::fs::remove_dir_all(&directory).unwrap();
}

/// CPU nanoseconds per Check: by case, then by round.
fn measure(cases: &[Case]) -> Vec<Vec<f64>> {
    let mut result = vec![Vec::new(); cases.len()];
    for case in cases {
        wait_for(&case.socket);
        // The first alone, so that what has to be learned is learned before many ask.
        case.load.send(case, 1);
        case.load.send(case, case.load.warm_up - 1);
    }
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS}", round + 1);
        for (case, costs) in cases.iter().zip(&mut result) {
            let before = cpu_nanoseconds(case.child.id());
            case.load.send(case, case.load.checks);
            costs.push((cpu_nanoseconds(case.child.id()) - before) / case.load.checks as f64);
        }
    }
    result
}

fn print(cases: &[Case], result: &[Vec<f64>]) {
    println!("{:<26} {:>14} {:>22}", "server", "CPU per Check", "ratio to bare (range)");
    for (case, costs) in cases.iter().zip(result) {
        // Beside the bare server that was asked alike: it comes before all that are compared with it.
        let alike = |one: &&Case| one.load.in_flight == case.load.in_flight;
        let bare = &result[cases.iter().take_while(|one| !alike(one)).count()];
        let ratios: Vec<f64> = costs.iter().zip(bare).map(|(cost, bare)| cost / bare).collect();
        let (low, middle, high) = spread(&ratios);
        println!(
            "{:<26} {:>11.2} us {middle:>8.2} ({low:.2} to {high:.2})",
            case.name,
            spread(costs).1 / 1000.0
        );
    }
    let growth: Vec<f64> = result[3].iter().zip(&result[1]).map(|(many, few)| many / few).collect();
    let (low, middle, high) = spread(&growth);
    println!("10,000 rules cost {middle:.2} x 10 rules ({low:.2} to {high:.2})");
    println!("targets: 100 rules at most 0.6 x bare; 10,000 rules at most 1.2 x 10 rules");
}

fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1])
}

fn bare_server(directory: &Path, name: &'static str, load: Messages) -> Case {
    let socket = directory.join(format!("bare-{}.sock", load.in_flight));
    let this = std::env::current_exe().unwrap();
    let child = pinned(&this).arg("bare-server").arg(&socket).spawn().unwrap();
    Case { name, socket, child, load }
}

fn sidecar(directory: &Path, name: &'static str, files: &[(&str, String)], load: Messages) -> Case {
    let home = directory.join(name.replace([' ', ','], "-"));
    std::fs::create_dir_all(&home).unwrap();
    let socket = home.join("authz.sock");
    for (file, text) in files {
        std::fs::write(home.join(file), text).unwrap();
    }
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
    Case { name, socket, child, load }
}

/// A server that calls every token active; its URL.
fn introspection_server() -> String {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/introspect", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = vec![0; 8192];
            let _length = stream.read(&mut request).unwrap();
            let body = r#"{"active":true,"sub":"alice","roles":["customer","reader"],"scope":"openid orders:read"}"#;
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(body.as_bytes()).unwrap();
        }
    });
    url
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
