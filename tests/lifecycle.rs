//! A sidecar from start to stop: files that change, addresses in use, draining, processes that die.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hopgate::runtime::{Address, Clock};
use hopgate::sidecar::{Bound, StartError};

use crate::support::Scratch;
use crate::support::ask::{Sidecar, get, meaning, page};

const OPEN: &str = "apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\n\
    metadata: { name: orders, namespace: shop }\n\
    spec:\n  rules:\n    - name: open\n      allow: { requests: [{ methods: [GET], paths: [\"/open\"] }] }\n";

fn with_path(path: &str) -> String {
    OPEN.replace("/open", path)
}

/// Asks until the answer is the wanted one. The watch reports within milliseconds; the deadline is for a busy machine.
async fn until_allowed(sidecar: &mut Sidecar, path: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !meaning(sidecar.ask(get(path, &[])).await).allowed {
        assert!(Instant::now() < deadline, "{path} is still refused");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_changed_policy_takes_effect_without_a_lost_request() {
    let mut sidecar = Sidecar::start("reload", &[("orders.yaml", OPEN)]).await;
    assert!(meaning(sidecar.ask(get("/open", &[])).await).allowed);
    let (_, before) = sidecar.page("/config").await;
    sidecar.scratch.write("resources/orders.yaml", &with_path("/other"));
    until_allowed(&mut sidecar, "/other").await;
    assert!(!meaning(sidecar.ask(get("/open", &[])).await).allowed);
    let (_, after) = sidecar.page("/config").await;
    let revision = |text: &str| {
        serde_json::from_str::<serde_json::Value>(text).unwrap()["revision"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_ne!(revision(&before), revision(&after));
    sidecar.stop().await;
}

/// Kubernetes mounts a ConfigMap as links through `..data`, and changes them all by swapping that one link.
#[tokio::test]
async fn the_symlink_swap_of_a_mounted_volume_is_followed() {
    use std::os::unix::fs::symlink;
    let other = with_path("/start").replace("name: orders", "name: start");
    let mut sidecar =
        Sidecar::start("swap", &[("..1/orders.yaml", OPEN), ("start.yaml", &other)]).await;
    let directory = sidecar.scratch.path().join("resources");
    symlink("..1", directory.join("..data")).unwrap();
    symlink("..data/orders.yaml", directory.join("orders.yaml")).unwrap();
    until_allowed(&mut sidecar, "/open").await;
    sidecar.scratch.write("resources/..2/orders.yaml", &with_path("/swapped"));
    symlink("..2", directory.join("..data_tmp")).unwrap();
    std::fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
    until_allowed(&mut sidecar, "/swapped").await;
    assert!(!meaning(sidecar.ask(get("/open", &[])).await).allowed);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_broken_policy_is_refused_with_the_reason_and_the_last_good_stays() {
    let mut sidecar = Sidecar::start("broken", &[("orders.yaml", OPEN)]).await;
    sidecar.scratch.write("resources/orders.yaml", &OPEN.replace("methods", "methodz"));
    let deadline = Instant::now() + Duration::from_secs(20);
    let error = loop {
        let (_, text) = sidecar.page("/config").await;
        let dump: serde_json::Value = serde_json::from_str(&text).unwrap();
        if let Some(error) = dump["resources_error"].as_str() {
            break error.to_owned();
        }
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(error.contains("orders.yaml") && error.contains("methodz"), "{error}");
    assert!(meaning(sidecar.ask(get("/open", &[])).await).allowed, "the last good stays");
    let (_, metrics) = sidecar.page("/metrics").await;
    assert!(metrics.contains("hopgate_sidecar_resources_stale 1"), "{metrics}");
    assert!(metrics.contains("hopgate_sidecar_reloads_refused_total 1"), "{metrics}");

    sidecar.scratch.write("resources/orders.yaml", &with_path("/mended"));
    until_allowed(&mut sidecar, "/mended").await;
    let (_, metrics) = sidecar.page("/metrics").await;
    assert!(metrics.contains("hopgate_sidecar_resources_stale 0"));
    assert!(
        metrics.contains(r#"hopgate_authz_checks_total{decision="allow",code="allow"}"#),
        "{metrics}"
    );
    sidecar.stop().await;
}

#[tokio::test]
async fn what_is_wrong_at_the_start_is_an_error_at_once() {
    let scratch = Scratch::new("start");
    scratch.write("resources/orders.yaml", OPEN);
    let config = |authz: &str, admin: &str| {
        let text = format!(
            "workload: {{ trustDomain: test.mesh, namespace: shop, serviceAccount: orders }}\n\
             resources: [resources]\nextAuthz: {{ listen: [\"{authz}\"] }}\nadmin: {{ listen: \"{admin}\" }}\n\
             decisionLog: {{ path: decisions.log }}\n"
        );
        let path = scratch.write("sidecar.yaml", &text);
        hopgate::config::sidecar(&path, Default::default())
    };
    let open = config("0.0.0.0:0", "0.0.0.0:0").unwrap_err().to_string();
    assert!(open.contains("admin.listen") && open.contains("loopback"), "{open}");

    let taken = Address::Tcp("127.0.0.1:0".parse().unwrap()).bind().await.unwrap();
    let address = taken.address().unwrap().to_string();
    for (authz, admin) in [(address.as_str(), "127.0.0.1:0"), ("127.0.0.1:0", address.as_str())] {
        let started = Bound::build(config(authz, admin).unwrap(), Clock::system()).await;
        assert!(matches!(started.err(), Some(StartError::Bind(_))), "{authz} {admin}");
    }
    scratch.write("resources/orders.yaml", "kind: Nonsense\n");
    let started =
        Bound::build(config("127.0.0.1:0", "127.0.0.1:0").unwrap(), Clock::system()).await;
    assert!(matches!(started.err(), Some(StartError::Resources(_))));
}

#[tokio::test]
async fn sigterm_drains_the_process() {
    let scratch = Scratch::new("sigterm");
    scratch.write("resources/orders.yaml", OPEN);
    let config = scratch.write(
        "sidecar.yaml",
        "workload: { trustDomain: test.mesh, namespace: shop, serviceAccount: orders }\n\
         resources: [resources]\nextAuthz: { listen: [\"unix:authz.sock\"] }\n\
         admin: { listen: \"unix:admin.sock\" }\ndecisionLog: { path: decisions.log }\n",
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .args(["sidecar", "--config"])
        .arg(&config)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let authz = Address::Unix(scratch.path().join("authz.sock"));
    let deadline = Instant::now() + Duration::from_secs(20);
    while authz.connect().await.is_err() {
        assert!(Instant::now() < deadline, "the sidecar does not start");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut client =
        envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient::new(
            crate::support::ask::channel(&authz),
        );
    assert!(meaning(client.check(get("/open", &[])).await.unwrap().into_inner()).allowed);
    drop(client);
    let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(killed.success());
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert_eq!(status.code(), Some(0), "a drain is a good end");
    assert!(authz.connect().await.is_err());
    assert!(!scratch.path().join("authz.sock").exists(), "the socket is gone");
    let log = std::fs::read_to_string(scratch.path().join("decisions.log")).unwrap();
    assert_eq!(log.lines().count(), 1, "the last record was flushed");
}

#[tokio::test]
async fn admin_pages_answer_to_local_names_only() {
    let sidecar = Sidecar::start("admin", &[("orders.yaml", OPEN)]).await;
    assert_eq!(page(&sidecar.admin, "/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(page(&sidecar.admin, "/readyz").await, (200, "ready\n".to_owned()));
    assert_eq!(page(&sidecar.admin, "/nothing").await.0, 404);
    let rebound = reqwest::Client::new()
        .get(format!("http://{}/config", sidecar.admin))
        .header("host", "rebound.example:15020")
        .send()
        .await
        .unwrap();
    assert_eq!(rebound.status(), 403);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_sidecar_with_a_certificate_is_ready_and_its_metrics_have_the_agreed_names() {
    let id = "spiffe://test.mesh/ns/shop/sa/orders";
    let (ca, scratch) = (crate::support::pki::ca(), Scratch::new("metrics"));
    let leaf = ca.leaf(id);
    let pem = hopgate::identity::X509Svid::new(
        vec![leaf.certificate.clone()],
        hopgate::identity::PrivateKey::from_pem(&leaf.key.serialize_pem()).unwrap(),
        &ca.bundle(id),
        std::time::SystemTime::now(),
    )
    .unwrap()
    .chain_pem();
    scratch.write("resources/orders.yaml", OPEN);
    scratch.write("bundle.pem", &ca.bundle(id).to_pem());
    scratch.write("cert.pem", &pem);
    let key = scratch.path().join("key.pem");
    hopgate::runtime::write_atomic(&key, leaf.key.serialize_pem().as_bytes(), 0o600).unwrap();
    let config = scratch.write(
        "sidecar.yaml",
        "workload: { trustDomain: test.mesh, namespace: shop, serviceAccount: orders }\n\
         resources: [resources]\nextAuthz: { listen: [\"unix:authz.sock\"] }\n\
         sds: { listen: \"unix:sds.sock\" }\nworkloadApi: { listen: \"unix:workload.sock\" }\nadmin: { listen: \"127.0.0.1:0\" }\n\
         certificates: { files: { certificate: cert.pem, key: key.pem, bundle: bundle.pem } }\n\
         decisionLog: { path: decisions.log }\n",
    );
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let config = hopgate::config::sidecar(&config, Default::default()).unwrap();
    let bound = Bound::build(config, Clock::system()).await.unwrap();
    let admin = bound.addresses().admin.clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(bound.run(async { drop(stopped.await) }));
    let deadline = Instant::now() + Duration::from_secs(20);
    while page(&admin, "/readyz").await.0 != 200 {
        assert!(Instant::now() < deadline, "{:?}", page(&admin, "/readyz").await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (_, config) = page(&admin, "/config").await;
    assert!(config.contains(id) && !config.contains("PRIVATE KEY"), "{config}");
    let authz = Address::Unix(scratch.path().join("authz.sock"));
    let mut client =
        envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient::new(
            crate::support::ask::channel(&authz),
        );
    assert!(meaning(client.check(get("/open", &[])).await.unwrap().into_inner()).allowed);
    drop(client);
    let (_, text) = page(&admin, "/metrics").await;
    let mut names: Vec<&str> = text.lines().filter(|line| line.starts_with("# ")).collect();
    names.retain(|line| !line.starts_with("# EOF"));
    names.sort_unstable();
    crate::support::golden("metrics.txt", &(names.join("\n") + "\n"));
    drop(stop);
    running.await.unwrap().unwrap();
}
