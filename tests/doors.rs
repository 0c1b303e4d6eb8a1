//! The doors of proxies that do not ask by gRPC: the shipped configurations with a real nginx and a real Envoy, and what
//! Traefik and Caddy send, by a plain client.

mod edge;
mod envoy;
mod forwarded;
mod network;
mod nginx;
mod same;
mod shared;

use hopgate::config::SidecarOverrides;
use hopgate::runtime::{Address, Clock};
use hopgate::sidecar::{Bound, DoorAddress};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::Scratch;
use crate::support::ask::page;
use crate::support::issuer::Issuer;

const POLICY: &str = r#"
apiVersion: hopgate.dev/v1alpha1
kind: AccessPolicy
metadata: { name: orders, namespace: shop }
spec:
  rules:
    - name: known
      allow: { users: {}, requests: [{ paths: ["/orders/**", "/socket"] }] }
    - name: administrators
      allow: { users: { roles: [admin] }, requests: [{ paths: ["/admin/**"] }] }
    - name: anyone
      allow: { requests: [{ methods: [GET], paths: ["/public"] }] }
    - name: marked
      allow:
        requests: [{ paths: ["/marked"] }]
        when: "'x-mark' in request.headers && request.headers['x-mark'] == 'good'"
"#;

/// A token in the header, in a cookie or in the query.
pub fn provider(issuer: &Issuer) -> String {
    issuer.provider()
        + "  from:\n    - { header: authorization, scheme: Bearer }\n    \
           - { cookie: session, csrf: { origins: [https://shop.test] } }\n    \
           - { query: access_token }\n"
}

/// A sidecar whose doors are those of a shipped example, on addresses of its own.
pub struct Gate {
    pub scratch: Scratch,
    pub door: Address,
    /// Where the same gate is asked by gRPC.
    pub authz: Option<Address>,
    admin: Address,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), hopgate::runtime::TaskEnded>>,
}

impl Gate {
    /// `at` says where its door listens: `edge=127.0.0.1:0`.
    pub async fn start(example: &str, at: &str, files: &[(&str, &str)]) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let scratch = Scratch::new(&format!("door-{example}"));
        for (file, text) in files {
            scratch.write(&format!("resources/{file}"), text);
        }
        let mut at: DoorAddress = at.parse().unwrap();
        if let Address::Unix(path) = &mut at.address {
            *path = scratch.path().join(&*path);
        }
        let overrides = SidecarOverrides {
            resources: vec![scratch.path().join("resources")],
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            doors: vec![at],
            admin: Some("127.0.0.1:0".parse().unwrap()),
            decision_log: Some(scratch.path().join("decisions.log")),
            ..SidecarOverrides::default()
        };
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("examples")
            .join(example)
            .join("sidecar.yaml");
        let config = hopgate::config::sidecar(&file, overrides).unwrap();
        let bound = Bound::build(config, Clock::system()).await.unwrap();
        let (name, door) = bound.addresses().doors[0].clone();
        assert_eq!(name, "edge");
        let admin = bound.addresses().admin.clone();
        let authz = bound.addresses().ext_authz.first().cloned();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(bound.run(async { drop(stopped.await) }));
        Self { scratch, door, authz, admin, stop, ended }
    }

    pub async fn page(&self, path: &str) -> String {
        page(&self.admin, path).await.1
    }

    /// Stops it, lets it drain, and returns its records.
    pub async fn records(self) -> Vec<Value> {
        let _stopped = self.stop.send(());
        self.ended.await.unwrap().unwrap();
        let log = std::fs::read_to_string(self.scratch.path().join("decisions.log")).unwrap();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
