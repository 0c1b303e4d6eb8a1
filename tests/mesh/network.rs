//! A bridge in a network namespace, and pods: further namespaces that hang on it.

use std::process::{Command, Stdio};

/// The network of one test; removed on drop.
pub struct Network {
    prefix: String,
    namespaces: Vec<String>,
}

/// The network namespace of a pod.
#[derive(Clone)]
pub struct Namespace {
    name: String,
    index: u8,
}

/// Runs a program and fails with what it said.
fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {said}", arguments.join(" "));
}

impl Network {
    /// A bridge with 10.77.0.1 and fd77::1. Networks of tests that were killed are removed first.
    pub fn new(test: &str) -> Self {
        let me = Command::new("id").arg("-u").output().expect("id runs");
        assert_eq!(
            String::from_utf8_lossy(&me.stdout).trim(),
            "0",
            "network namespaces need root: run this test as root, or in a container"
        );
        sweep();
        let mut network =
            Self { prefix: format!("hgt-{}-{test}", std::process::id()), namespaces: Vec::new() };
        let node = network.namespace("node");
        for arguments in [
            vec!["link", "set", "lo", "up"],
            vec!["link", "add", "br0", "type", "bridge"],
            vec!["addr", "add", "10.77.0.1/24", "dev", "br0"],
            vec!["addr", "add", "fd77::1/64", "dev", "br0", "nodad"],
            vec!["link", "set", "br0", "up"],
        ] {
            run("ip", &[&["-n", node.as_str()], arguments.as_slice()].concat());
        }
        network
    }

    /// A program of root on the node.
    pub fn on_node(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("{}-node", self.prefix)]).arg(program);
        command.stdin(Stdio::null());
        command
    }

    /// A pod with 10.77.0.`index` and fd77::`index` (in decimal digits).
    pub fn pod(&mut self, index: u8) -> Namespace {
        let name = self.namespace(&index.to_string());
        let node = format!("{}-node", self.prefix);
        let host = format!("v{index}");
        let pod = Namespace { name: name.clone(), index };
        run(
            "ip",
            &[
                "link", "add", &host, "netns", &node, "type", "veth", "peer", "name", "eth0",
                "netns", &name,
            ],
        );
        run("ip", &["-n", &node, "link", "set", &host, "master", "br0", "up"]);
        for arguments in [
            vec!["link", "set", "lo", "up"],
            vec!["addr", "add", &format!("{}/24", pod.v4()), "dev", "eth0"],
            vec!["addr", "add", &format!("{}/64", pod.v6()), "dev", "eth0", "nodad"],
            vec!["link", "set", "eth0", "up"],
            vec!["route", "add", "default", "via", "10.77.0.1"],
            vec!["-6", "route", "add", "default", "via", "fd77::1"],
        ] {
            run("ip", &[&["-n", name.as_str()], arguments.as_slice()].concat());
        }
        pod
    }

    fn namespace(&mut self, name: &str) -> String {
        let name = format!("{}-{name}", self.prefix);
        run("ip", &["netns", "add", &name]);
        self.namespaces.push(name.clone());
        name
    }
}

impl Namespace {
    pub fn v4(&self) -> String {
        format!("10.77.0.{}", self.index)
    }

    pub fn v6(&self) -> String {
        format!("fd77::{}", self.index)
    }

    /// A program in the pod, run by a user.
    pub fn command(&self, uid: u32, gid: u32, program: &str) -> Command {
        let mut command = Command::new("ip");
        let ids = [format!("--reuid={uid}"), format!("--regid={gid}")];
        command.args(["netns", "exec", &self.name, "setpriv"]).args(ids);
        command.args(["--clear-groups", "--inh-caps=-all", "--bounding-set=-all", program]);
        command.stdin(Stdio::null());
        command
    }

    /// A program in the pod, run by root.
    pub fn as_root(&self, program: &str, arguments: &[&str]) {
        run("ip", &[&["netns", "exec", self.name.as_str(), program], arguments].concat());
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.namespaces {
            drop(Command::new("ip").args(["netns", "del", name]).output());
        }
    }
}

/// Removes the namespaces of test processes that are gone.
fn sweep() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix("hgt-").and_then(|rest| rest.split('-').next()) else {
            continue;
        };
        if !std::path::Path::new("/proc").join(pid).exists() {
            drop(Command::new("ip").args(["netns", "del", &name]).output());
        }
    }
}
