//! A pod with everything that is in it.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hopgate::mesh::pod::{ENVOY_UID, GATE_GID, SIDECAR_UID};
use serde_json::Value;

use super::network::{Namespace, Network};
use crate::support::envoy::eventually;
use crate::support::{Scratch, envoy, pki};

/// The user of applications.
pub const APP: u32 = 1000;

/// The authority of the mesh, and the programs where every user may run them.
pub struct Mesh {
    ca: pki::Ca,
    control: Option<Process>,
    pub network: Network,
    directory: Scratch,
}

/// A process; killed on drop.
pub struct Process(Child);

/// A pod. Processes end before its network does.
pub struct Pod {
    pub namespace: Namespace,
    pub directory: PathBuf,
    programs: PathBuf,
    pub sidecar: Option<Process>,
    pub envoy: Option<Process>,
    _app: Option<Process>,
}

/// What a pod is made of.
pub struct Spec<'a> {
    pub index: u8,
    pub account: &'a str,
    /// The sections `ports` and `outbound` of `capture`.
    pub capture: &'a str,
    pub services: &'a str,
    pub policy: &'a str,
}

impl Mesh {
    pub fn new(test: &str) -> Self {
        let network = Network::new(test);
        let directory = Scratch::new("mesh");
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open.clone()).unwrap();
        for (name, from) in [
            ("envoy", envoy::binary()),
            ("hopgate", PathBuf::from(env!("CARGO_BIN_EXE_hopgate"))),
            ("app.py", Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mesh/app.py")),
        ] {
            let to = directory.path().join(name);
            // What stands in a home directory is closed to the users of a pod.
            if std::fs::hard_link(&from, &to).is_err() {
                std::fs::copy(&from, &to).unwrap();
            }
        }
        Self { network, control: None, ca: pki::ca(), directory }
    }

    /// A mesh whose certificates and revocations come from a control plane, which runs on the node.
    pub async fn with_control(test: &str) -> Self {
        let mut mesh = Self::new(test);
        let directory = mesh.directory.path().join("control");
        std::fs::create_dir_all(&directory).unwrap();
        let config = "trustDomain: mesh.test\nlisten: \"10.77.0.1:15012\"\ndirectory: ca\n\
            serverNames: [\"10.77.0.1\"]\n";
        std::fs::write(directory.join("control.yaml"), config).unwrap();
        let log = std::fs::File::create(directory.join("control.log")).unwrap();
        let mut command = mesh.network.on_node(mesh.directory.path().join("hopgate"));
        command.args(["control", "--config"]).arg(directory.join("control.yaml"));
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        mesh.control = Some(Process(child));
        let up = || directory.join("ca/operator.sock").exists();
        assert!(eventually(async || up()).await, "the control plane does not start");
        mesh
    }

    /// `hopgate revoke ..`; it must succeed.
    pub fn revoke(&self, arguments: &str) {
        self.hopgate("revoke", arguments);
    }

    /// A verb of the command line, about the control plane.
    fn hopgate(&self, verb: &str, arguments: &str) -> String {
        let output = Command::new(self.directory.path().join("hopgate"))
            .args(verb.split(' '))
            .args(arguments.split_whitespace())
            .arg("--config")
            .arg(self.directory.path().join("control/control.yaml"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The section `certificates` of a sidecar, and the files that it names.
    fn certificates(&self, pod: &Pod, account: &str) -> &'static str {
        if self.control.is_some() {
            let workload = format!("--workload ns/shop/sa/{account}");
            pod.write("join.token", &self.hopgate("control token", &workload), 0o600);
            pod.write("roots.pem", &self.hopgate("ca bundle", ""), 0o644);
            return "{ control: { server: \"https://10.77.0.1:15012\", caFile: roots.pem, \
                joinTokenFile: join.token }, stateDirectory: run/state }";
        }
        let leaf = self.ca.leaf(&format!("spiffe://mesh.test/ns/shop/sa/{account}"));
        pod.write("tls.crt", &pki::pem(&leaf.certificate), 0o644);
        pod.write("tls.key", &leaf.key.serialize_pem(), 0o600);
        pod.write("ca.crt", &pki::pem(&self.ca.root()), 0o644);
        "{ files: { certificate: tls.crt, key: tls.key, bundle: ca.crt } }"
    }

    /// A pod without a gate.
    pub async fn stranger(&mut self, index: u8) -> Pod {
        let namespace = self.network.pod(index);
        let directory = self.directory.path().join(format!("stranger-{index}"));
        std::fs::create_dir_all(&directory).unwrap();
        let programs = self.directory.path().to_path_buf();
        let mut pod =
            Pod { namespace, directory, programs, sidecar: None, envoy: None, _app: None };
        pod.start_app(&format!("stranger-{index}")).await;
        pod
    }

    /// A pod with a gate: rules first, then the sidecar, then Envoy, then the application.
    pub async fn pod(&mut self, spec: Spec<'_>) -> Pod {
        let namespace = self.network.pod(spec.index);
        let directory = self.directory.path().join(format!("{}-{}", spec.account, spec.index));
        let programs = self.directory.path().to_path_buf();
        let mut pod =
            Pod { namespace, directory, programs, sidecar: None, envoy: None, _app: None };
        pod.capture();
        let certificates = self.certificates(&pod, spec.account);
        pod.write_files(&spec, certificates);
        pod.start_sidecar();
        pod.start_envoy();
        pod.ready().await;
        pod.start_app(&format!("{}-{}", spec.account, spec.index)).await;
        pod
    }
}

impl Pod {
    /// The capture rules, and the proof that they are in force. Port 8088 is excluded.
    fn capture(&self) {
        let arguments = [
            "capture",
            "up",
            "--exclude-inbound-ports",
            "8088",
            "--exclude-outbound-ports",
            "8088",
        ];
        self.namespace.as_root(&self.gate("hopgate"), &arguments);
    }

    fn write_files(&self, spec: &Spec<'_>, certificates: &str) {
        let Spec { index: _, account, capture, services, policy } = spec;
        let (v4, v6) = (self.namespace.v4(), self.namespace.v6());
        let config = format!(
            r#"
workload: {{ trustDomain: mesh.test, namespace: shop, serviceAccount: {account} }}
resources: [resources]
extAuthz: {{ listen: ["unix:run/authz.sock"] }}
admin: {{ listen: "unix:run/admin.sock" }}
decisionLog: {{ path: run/decisions.log }}
sds: {{ listen: "unix:run/xds.sock" }}
certificates: {certificates}
capture:
  admin: unix:run/envoy-admin.sock
  addresses: ["{v4}", "{v6}"]
  services: services.yaml
  drainTime: 3s
  authzTimeout: 5s
  accessLog: run/access.log
  {capture}
drainTimeout: 2s
"#
        );
        for (name, text, mode) in [
            ("sidecar.yaml", config, 0o644),
            ("services.yaml", (*services).to_owned(), 0o644),
            ("resources/policy.yaml", (*policy).to_owned(), 0o644),
        ] {
            self.write(name, &text, mode);
        }
        let run = self.directory.join("run");
        std::fs::create_dir_all(&run).unwrap();
        std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o770)).unwrap();
        chown(&run, Some(SIDECAR_UID), Some(GATE_GID)).unwrap();
        // Envoy appends to it, and the test reads it.
        let log = self.directory.join("run/access.log");
        std::fs::write(&log, "").unwrap();
        chown(&log, Some(ENVOY_UID), Some(GATE_GID)).unwrap();
    }

    /// Writes a file by renaming it into place.
    pub fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let new = path.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode)).unwrap();
        chown(&new, Some(SIDECAR_UID), Some(GATE_GID)).unwrap();
        std::fs::rename(&new, &path).unwrap();
    }

    fn log(&self, name: &str) -> Stdio {
        let mut file = std::fs::OpenOptions::new();
        file.create(true).append(true);
        Stdio::from(file.open(self.directory.join(name)).unwrap())
    }

    fn gate(&self, program: &str) -> String {
        self.programs.join(program).to_str().unwrap().to_owned()
    }

    pub fn start_sidecar(&mut self) {
        let mut command = self.namespace.command(SIDECAR_UID, GATE_GID, &self.gate("hopgate"));
        command.args(["sidecar", "--config"]).arg(self.directory.join("sidecar.yaml"));
        command.stdout(self.log("sidecar.log")).stderr(self.log("sidecar.log"));
        self.sidecar = Some(Process(command.spawn().unwrap()));
    }

    /// Envoy, with the bootstrap that the product prints.
    pub fn start_envoy(&mut self) {
        let printed = Command::new(self.gate("hopgate"))
            .args(["envoy", "bootstrap", "--output", "json", "--config"])
            .arg(self.directory.join("sidecar.yaml"))
            .output()
            .unwrap();
        assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
        self.write("envoy.json", &String::from_utf8(printed.stdout).unwrap(), 0o644);
        let mut command = self.namespace.command(ENVOY_UID, GATE_GID, &self.gate("envoy"));
        command.args(["--disable-hot-restart", "--concurrency", "1", "--drain-time-s", "3", "-c"]);
        command.arg(self.directory.join("envoy.json"));
        command.stdout(Stdio::null()).stderr(self.log("envoy.log"));
        self.envoy = Some(Process(command.spawn().unwrap()));
    }

    async fn start_app(&mut self, name: &str) {
        let mut command = self.namespace.command(APP, APP, python());
        command.args([self.gate("app.py").as_str(), "serve", name]);
        command.stdout(Stdio::null()).stderr(self.log("app.log"));
        self._app = Some(Process(command.spawn().unwrap()));
        let up = || self.run(&["curl", "-s", "-o", "/dev/null", "http://127.0.0.1:8090/"]).is_ok();
        assert!(eventually(async || up()).await, "the application of {name} does not start");
    }

    /// Waits until the sidecar says that it is ready: Envoy has its configuration and uses its certificate.
    pub async fn ready(&self) {
        let socket = self.directory.join("run/admin.sock");
        let ready = || self.page(&socket, "http://localhost/readyz", &["--fail"]).is_some();
        let missing = || self.admin("/readyz").unwrap_or_default();
        assert!(eventually(async || ready()).await, "{}\n{}", missing(), self.logs());
    }

    /// A page of the sidecar.
    pub fn admin(&self, page: &str) -> Option<String> {
        let socket = self.directory.join("run/admin.sock");
        self.page(&socket, &format!("http://localhost{page}"), &[])
    }

    /// A page of Envoy.
    pub fn envoy_page(&self, page: &str) -> String {
        let socket = self.directory.join("run/envoy-admin.sock");
        self.page(&socket, &format!("http://localhost{page}"), &[]).unwrap_or_default()
    }

    fn page(&self, socket: &Path, url: &str, more: &[&str]) -> Option<String> {
        let output = Command::new("curl")
            .args(["-s", "--max-time", "3", "--unix-socket"])
            .arg(socket)
            .args(more)
            .arg(url)
            .output()
            .unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// One counter or gauge of Envoy.
    pub fn stat(&self, name: &str) -> u64 {
        let page = self.envoy_page("/stats");
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// What the sidecar says of the configuration of its Envoy.
    pub fn configuration(&self) -> Value {
        let page = self.admin("/config").unwrap_or_default();
        serde_json::from_str::<Value>(&page).map(|page| page["envoy"].clone()).unwrap_or_default()
    }

    /// Runs a program as the application does. The error is its exit code and what it said.
    pub fn run(&self, words: &[&str]) -> Result<String, String> {
        let (program, arguments) = words.split_first().unwrap();
        let output = self.namespace.command(APP, APP, program).args(arguments).output().unwrap();
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(out);
        }
        let code = output.status.code().unwrap_or_default();
        Err(format!("{code}: {}{out}", String::from_utf8_lossy(&output.stderr)))
    }

    /// What the application gets when it asks for a page: the status and the body. Status 0 is no answer.
    pub fn get(&self, url: &str, more: &[&str]) -> (u16, String) {
        let mut words = vec!["curl", "-s", "--max-time", "8", "-w", "\n%{http_code}"];
        words.extend(more);
        words.push(url);
        let said = self.run(&words).unwrap_or_default();
        let (body, status) = said.rsplit_once('\n').unwrap_or(("", "0"));
        (status.parse().unwrap_or(0), body.to_owned())
    }

    /// What an application of the mesh answers.
    pub fn answer(&self, url: &str, more: &[&str]) -> Value {
        let (status, body) = self.get(url, more);
        assert_eq!(status, 200, "{url}: {body}\n{}", self.logs());
        serde_json::from_str(&body).unwrap()
    }

    /// Sends bytes over TCP and returns what comes back within the time.
    pub fn bytes(&self, (host, port): (&str, u16), said: &str, wait: Duration) -> String {
        let script = "import socket,sys\n\
            s=socket.create_connection((sys.argv[1],int(sys.argv[2])),5)\n\
            s.settimeout(float(sys.argv[4]))\n\
            s.sendall(sys.argv[3].encode())\n\
            out=b''\n\
            try:\n\
            \x20 while not out.endswith(b'.'):\n\
            \x20   d=s.recv(4096)\n\
            \x20   if not d: break\n\
            \x20   out+=d\n\
            except Exception as e: pass\n\
            print(out.decode(),end='')";
        let (port, wait) = (port.to_string(), wait.as_secs_f64().to_string());
        self.run(&[python(), "-c", script, host, &port, said, &wait]).unwrap_or_default()
    }

    /// A connection that has been answered once, and then says nothing.
    pub async fn open(&self, (host, port): (&str, u16)) -> Open {
        let script = "import socket,sys\n\
            s=socket.create_connection((sys.argv[1],int(sys.argv[2])),5)\n\
            s.sendall(b'hello.')\n\
            assert s.recv(16)==b'hello.'\n\
            print('open',flush=True)\n\
            s.settimeout(30)\n\
            try: s.recv(16)\n\
            except ConnectionError: pass";
        let mut command = self.namespace.command(APP, APP, python());
        command.args(["-c", script, host, &port.to_string()]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let out = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut said).unwrap();
        assert_eq!(said, "open\n", "{}", self.logs());
        Open(Process(child))
    }

    /// Calls a page again and again by kept connections; wait for the result with [`Load::end`].
    pub fn load(&self, clients: u8, seconds: u8, url: &str) -> Load {
        let app = self.gate("app.py");
        let mut command = self.namespace.command(APP, APP, python());
        command.args([&app, "load", &clients.to_string(), &seconds.to_string(), url]);
        Load(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// The last words of everything that runs here.
    pub fn logs(&self) -> String {
        let tail = |name: &str| {
            let text = std::fs::read_to_string(self.directory.join(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let from = lines.len().saturating_sub(25);
            format!("--- {} {name}\n{}\n", self.directory.display(), lines[from..].join("\n"))
        };
        let names = ["sidecar.log", "envoy.log", "run/access.log", "run/decisions.log", "app.log"];
        names.map(tail).concat()
    }
}

/// A load that runs.
pub struct Load(Child);

impl Load {
    /// Waits for its end.
    pub async fn end(self) -> Value {
        let output = tokio::task::spawn_blocking(|| self.0.wait_with_output()).await;
        let output = output.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(&said).unwrap_or_else(|_| {
            panic!("the load failed: {}", String::from_utf8_lossy(&output.stderr))
        })
    }
}

/// A connection that is open.
pub struct Open(Process);

impl Open {
    /// Waits until the other side ends it.
    pub async fn ended(self) {
        assert!(self.0.ended(Duration::from_secs(25)).await.success(), "nobody ended it");
    }
}

impl Process {
    /// Sends a signal, by its name.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end.
    pub async fn ended(mut self, longest: Duration) -> std::process::ExitStatus {
        let end = std::time::Instant::now() + longest;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(std::time::Instant::now() < end, "it does not end");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The Python of the system, where there is one: what lies in somebody's home cannot be run by other users.
fn python() -> &'static str {
    let of_the_system = "/usr/bin/python3";
    if Path::new(of_the_system).exists() { of_the_system } else { "python3" }
}
