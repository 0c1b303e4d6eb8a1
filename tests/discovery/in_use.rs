//! A sidecar is ready when its Envoy uses the certificate, and says which one that is.

use std::time::SystemTime;

use hopgate::identity::{Bundles, PrivateKey, WorkloadIdentity, X509Svid};
use hopgate::mesh;
use hopgate::runtime::{Address, Clock};
use hopgate::sidecar::Bound;
use serde_json::Value;

use super::service::Service;
use super::workload::{ORDERS, SERVER, WEB, Workload, dial, serial};
use crate::support::Scratch;
use crate::support::ask::page;
use crate::support::envoy::{Envoy, eventually};
use crate::support::pki;

/// A sidecar with certificate files, in a directory of its own.
struct Sidecar {
    directory: Scratch,
    admin: Address,
    config: hopgate::sidecar::Config,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

fn put(directory: &Scratch, identity: &WorkloadIdentity) {
    let key = directory.path().join("tls.key");
    hopgate::runtime::write_atomic(&key, identity.svid.key().to_pem().as_bytes(), 0o600).unwrap();
    directory.write("ca.crt", &identity.bundles.own().to_pem());
    directory.write("tls.crt", &identity.svid.chain_pem());
}

impl Sidecar {
    /// `sds` is the section of that name.
    async fn start(identity: &WorkloadIdentity, sds: &str, envoy: &str) -> Self {
        let directory = Scratch::new("in-use");
        put(&directory, identity);
        directory.write(
            "resources/open.yaml",
            "apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: open, namespace: shop }\n\
             spec: { rules: [{ name: open, allow: { requests: [{ paths: [/open] }] } }] }\n",
        );
        let file = directory.write(
            "sidecar.yaml",
            &format!(
                "workload: {{ trustDomain: demo.mesh, namespace: shop, serviceAccount: orders }}\n\
                 resources: [resources]\nextAuthz: {{ listen: [\"unix:authz.sock\"] }}\n\
                 sds: {sds}\nadmin: {{ listen: \"127.0.0.1:0\" }}\n\
                 certificates: {{ files: {{ directory: . }} }}\ndecisionLog: {{ path: decisions.log }}\n{envoy}"
            ),
        );
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let config = hopgate::config::sidecar(&file, Default::default()).unwrap();
        let bound = Bound::build(config.clone(), Clock::system()).await.unwrap();
        let admin = bound.addresses().admin.clone();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            bound.run(async { drop(stopped.await) }).await.unwrap();
        });
        Self { directory, admin, config, stop: Some(stop), task }
    }

    fn envoy(&self) -> Envoy {
        let sidecar = self.config.for_envoy(Vec::new()).unwrap();
        let mesh = mesh::Mesh::new(self.config.envoy.clone().unwrap(), sidecar).unwrap();
        Envoy::start(self.directory.path(), &mesh::bootstrap(&mesh))
    }

    async fn ready(&self) -> (u16, String) {
        page(&self.admin, "/readyz").await
    }

    async fn seen(&self) -> Value {
        let dump: Value = serde_json::from_str(&page(&self.admin, "/config").await.1).unwrap();
        dump["sds"]["inUse"].clone()
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap();
    }
}

const ENVOY: &str = "envoy:\n  admin: \"unix:admin.sock\"\n  inbound:\n    - { name: http, listen: \"127.0.0.1:0\", app: \"127.0.0.1:9\" }\n";

#[tokio::test]
async fn readiness_and_metrics_follow_what_envoy_uses() {
    let ca = pki::ca();
    let first = ca.identity(ORDERS);
    let sidecar = Sidecar::start(&first, "{ listen: \"unix:sds.sock\" }", ENVOY).await;
    let waits = async || sidecar.ready().await.1.contains("admin.sock");
    assert!(eventually(waits).await, "{:?}", sidecar.ready().await);
    assert_eq!(sidecar.ready().await.0, 503, "there is no Envoy yet");
    assert_eq!(sidecar.seen().await["state"], "unknown");

    let envoy = sidecar.envoy();
    assert!(eventually(async || sidecar.ready().await.0 == 200).await, "{}", envoy.log());
    envoy.live().await;
    assert_eq!(sidecar.seen().await["state"], "current");
    let http = envoy.listener("inbound|http").await;
    let web = ca.leaf(WEB);
    let shown = async || dial(http, Some(&web)).await.map(|stream| serial(&stream)).ok();
    assert_eq!(shown().await.as_deref(), Some(first.svid.leaf().serial()));

    // Renewed: Envoy turns to the new one, and the sidecar stays ready all the while.
    let second = ca.identity(ORDERS);
    put(&sidecar.directory, &second);
    let mut never_unready = true;
    let renewed = async || {
        never_unready &= sidecar.ready().await.0 == 200;
        let metrics = page(&sidecar.admin, "/metrics").await.1;
        shown().await.as_deref() == Some(second.svid.leaf().serial())
            && metrics.contains("hopgate_sds_in_use{state=\"current\"} 1")
            && sidecar.seen().await["serial"] == second.svid.leaf().serial()
    };
    assert!(eventually(renewed).await, "{:?}", sidecar.seen().await);
    assert!(never_unready);
    drop(envoy);
    let gone = async || sidecar.seen().await["state"] == "unknown";
    assert!(eventually(gone).await, "{:?}", sidecar.seen().await);
    sidecar.stop().await;
}

/// An acknowledgement alone does not make it ready: this Envoy has the certificate of another issue.
#[tokio::test]
async fn an_envoy_with_another_certificate_does_not_make_it_ready() {
    let ca = pki::ca();
    let (given, used) = (ca.identity(ORDERS), ca.identity(ORDERS));
    let used_serial = used.svid.leaf().serial().trim_start_matches('0').to_owned();
    let (used_chain, used_key) = (used.svid.chain().to_vec(), used.svid.key().to_pem());
    let elsewhere = Service::start(Some(used)).await;
    let server = Workload::start(ORDERS, SERVER, elsewhere.socket()).await;
    server.envoy.live().await;
    let http = server.envoy.listener("inbound|http").await;
    let admin = server.admin();
    for in_use in [
        format!("{{ admin: \"unix:{}\" }}", admin.display()),
        format!("{{ listeners: [\"{http}\"] }}"),
    ] {
        let section = format!("{{ listen: \"unix:sds.sock\", inUse: {in_use} }}");
        let sidecar = Sidecar::start(&given, &section, "").await;
        let other = async || sidecar.seen().await["state"] == "other";
        assert!(eventually(other).await, "{in_use}: {:?}", sidecar.seen().await);
        let (status, text) = sidecar.ready().await;
        assert!(status == 503 && text.contains(&used_serial), "{in_use}: {text}");

        // The files bring the one that Envoy uses.
        let bundle = ca.bundle(ORDERS);
        let key = PrivateKey::from_pem(&used_key).unwrap();
        let svid = X509Svid::new(used_chain.clone(), key, &bundle, SystemTime::now()).unwrap();
        let same = WorkloadIdentity { svid, bundles: Bundles::new(bundle) };
        put(&sidecar.directory, &same);
        assert!(eventually(async || sidecar.ready().await.0 == 200).await, "{in_use}");
        sidecar.stop().await;
    }
}

/// An Envoy that uses nothing of this workload.
#[tokio::test]
async fn an_envoy_of_another_workload_is_none_of_ours() {
    let ca = pki::ca();
    let elsewhere = Service::start(Some(ca.identity(WEB))).await;
    let server = Workload::start(WEB, SERVER, elsewhere.socket()).await;
    server.envoy.live().await;
    let admin = server.admin();
    let section = format!(
        "{{ listen: \"unix:sds.sock\", inUse: {{ admin: \"unix:{}\" }} }}",
        admin.display()
    );
    let sidecar = Sidecar::start(&ca.identity(ORDERS), &section, "").await;
    assert!(eventually(async || sidecar.seen().await["state"] == "nowhere").await);
    assert_eq!(sidecar.ready().await.0, 503);
    sidecar.stop().await;
    // Where nothing is said of an Envoy, a certificate in hand is enough.
    let sidecar = Sidecar::start(&ca.identity(ORDERS), "{ listen: \"unix:sds.sock\" }", "").await;
    assert!(eventually(async || sidecar.ready().await.0 == 200).await);
    assert_eq!(sidecar.seen().await["state"], "not_looked");
    sidecar.stop().await;
}
