//! A shipped configuration of a proxy, run with the real one, before an application that says what it sees.

use hopgate::runtime::Address;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Gate, POLICY, provider};
use crate::support::envoy::Envoy;
use crate::support::issuer::Issuer;
use crate::support::mirror::mirror;
use crate::support::nginx::{Nginx, free_address};
use crate::support::raw::{self, Answer};

/// Which proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    Nginx,
    Envoy,
}

enum Process {
    Nginx(#[expect(dead_code, reason = "ended on drop")] Nginx),
    Envoy(#[expect(dead_code, reason = "ended on drop")] Envoy),
}

/// A proxy, its gate and its application.
pub struct Edge {
    pub issuer: Issuer,
    pub gate: Gate,
    pub address: Address,
    process: Process,
    _tasks: JoinSet<()>,
}

impl Edge {
    pub async fn start(proxy: Proxy) -> Self {
        let issuer = Issuer::new();
        let files = [("policy.yaml", POLICY.to_owned()), ("sso.yaml", provider(&issuer))];
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, &**text)).collect();
        let mut tasks = JoinSet::new();
        let app = mirror(&mut tasks).await;
        let example = match proxy {
            Proxy::Nginx => "nginx",
            Proxy::Envoy => "envoy-http",
        };
        let gate = Gate::start(example, "edge=127.0.0.1:0", &files).await;
        let Address::Tcp(door) = gate.door.clone() else { panic!("TCP") };
        let (process, address) = match proxy {
            Proxy::Nginx => {
                let address = free_address();
                let text = nginx(&[
                    ("listen 127.0.0.1:8080;", format!("listen {address};")),
                    ("server 127.0.0.1:9002;", format!("server {door};")),
                    ("server 127.0.0.1:8081;", format!("server {app};")),
                    ("listen 127.0.0.1:8081;", service(gate.scratch.path())),
                ]);
                (Process::Nginx(Nginx::start(gate.scratch.path(), &text, address)), address)
            }
            Proxy::Envoy => {
                let envoy =
                    Envoy::start(gate.scratch.path(), &envoy(&gate, door.port(), app.port()));
                envoy.live().await;
                let address = envoy.listener("door").await;
                (Process::Envoy(envoy), address)
            }
        };
        Self { issuer, gate, address: Address::Tcp(address), process, _tasks: tasks }
    }

    /// Asks the proxy, with a Host and these headers.
    pub async fn ask(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let host = [("host", "Shop.test")];
        let headers: Vec<_> = host.iter().chain(headers).copied().collect();
        raw::ask(&self.address, line, &headers, body).await
    }

    /// What the application saw.
    pub async fn seen(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Value {
        let answer = self.ask(line, headers, body).await;
        assert_eq!(answer.status, 200, "{line}: {answer:?}");
        answer.json()
    }

    /// The proxy ends first, then the gate, and these are its records.
    pub async fn records(self) -> Vec<Value> {
        drop(self.process);
        self.gate.records().await
    }
}

/// Where the example's own service listens instead.
pub fn service(directory: &std::path::Path) -> String {
    format!("listen unix:{};", directory.join("service.sock").display())
}

/// The shipped file with other addresses, each of which must be there.
pub fn nginx(changes: &[(&str, String)]) -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/nginx/nginx.conf");
    let mut text = std::fs::read_to_string(file).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from} is not in the example");
        text = text.replace(from, to);
    }
    text
}

fn envoy(gate: &Gate, door: u16, app: u16) -> Value {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/envoy-http/envoy.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    let mut bootstrap: Value = hopgate::policy::yaml::parse_one("envoy.yaml", &text).unwrap();
    let admin = gate.scratch.path().join("admin.sock");
    bootstrap["admin"] = json!({ "address": { "pipe": { "path": admin } } });
    let mut set = |pointer: &str, port: u16| {
        *bootstrap.pointer_mut(pointer).unwrap() = port.into();
    };
    for listener in 0..2 {
        set(
            &format!("/static_resources/listeners/{listener}/address/socket_address/port_value"),
            0,
        );
    }
    for (cluster, port) in [(0, door), (1, app)] {
        set(
            &format!(
                "/static_resources/clusters/{cluster}/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value"
            ),
            port,
        );
    }
    bootstrap
}
