//! Service-account tokens as proof, from the pod's token to the signed certificate.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use hopgate::certs;
use hopgate::identity::{Leaf, PrivateKey, SpiffeId, TrustBundle};
use hopgate::runtime::Clock;
use tonic::{Code, Status};

use crate::certificates::parts::{Call, Directory, Office, Plane, Sidecar, csr, ders};
use crate::support::kube::{Namespace, server};
use crate::support::opa::free_port;

const AUDIENCE: &str = "hopgate";

async fn ask(port: u16, trusts: &TrustBundle, token: &str) -> Result<Leaf, Status> {
    let call = Call {
        port,
        trusts,
        certificate: None,
        authorization: &[format!("Bearer {token}")],
        csr: csr(&PrivateKey::generate().unwrap(), |_| {}),
        seconds: 0,
    };
    let chain = call.send(&Clock::system()).await?;
    Ok(Leaf::parse(&ders(&chain)[0]).unwrap())
}

async fn plane(directory: &Directory, kubeconfig: &std::path::Path) -> Plane {
    let more = format!(
        "kubernetes: {{ kubeconfig: {} }}\nattest: {{ kubernetes: {{ audience: {AUDIENCE} }} }}\n",
        kubeconfig.display()
    );
    Plane::start_with(directory, &Clock::system(), "127.0.0.1:0", &more).await
}

#[tokio::test]
async fn a_pod_gets_the_certificate_of_its_service_account() {
    let shop = Namespace::new("shop").await;
    shop.service_account("orders").await;
    let uid = shop.pod("orders-1", "orders").await;
    let token = shop.token("orders", AUDIENCE, Some(("orders-1", &uid))).await;
    let directory = Directory::new();
    let plane = plane(&directory, &server().kubeconfig).await;
    let leaf = ask(plane.port, &plane.bundle, &token).await.unwrap();
    let expected = format!("spiffe://demo.mesh/ns/{}/sa/orders", shop.name);
    assert_eq!(leaf.id().as_str(), expected);
    // As often as it likes: it is no join token.
    assert!(ask(plane.port, &plane.bundle, &token).await.is_ok());
    let text = plane.metrics.text();
    assert!(text.contains("hopgate_kube_token_reviews_total 1"), "{text}");
    assert!(text.contains("hopgate_kube_token_reviews_remembered_total 1"), "{text}");
    let mut names: Vec<&str> = text.lines().filter(|line| line.starts_with("# ")).collect();
    let ours = ["hopgate_control_", "hopgate_kube"];
    names.retain(|line| ours.iter().any(|prefix| line.contains(prefix)));
    names.sort_unstable();
    crate::support::golden("control-metrics.txt", &(names.join("\n") + "\n"));
    plane.stop().await;
}

#[tokio::test]
async fn every_other_token_is_refused_by_name() {
    let shop = Namespace::new("shop").await;
    for account in ["orders", "payments"] {
        shop.service_account(account).await;
    }
    let uid = shop.pod("orders-1", "orders").await;
    let pod = Some(("orders-1", uid.as_str()));
    let directory = Directory::new();
    let plane = plane(&directory, &server().kubeconfig).await;
    let refused = async |token: &str| {
        let status = ask(plane.port, &plane.bundle, token).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
        status.message().to_owned()
    };
    let by_api = "service-account token refused by the API server";
    assert_eq!(refused(&shop.token("orders", "elsewhere", pod).await).await, by_api);
    assert_eq!(refused("a.b.c").await, by_api);
    let good = shop.token("orders", AUDIENCE, pod).await;
    let (head, _) = good.rsplit_once('.').unwrap();
    assert_eq!(refused(&format!("{head}.AAAA")).await, by_api);
    let unbound = shop.token("orders", AUDIENCE, None).await;
    assert_eq!(refused(&unbound).await, "service-account token not bound to a pod");
    // A join token that is made up to look like one is still none.
    assert_eq!(refused(&"A".repeat(43)).await, "join token unknown");

    let late = shop.pod("orders-2", "orders").await;
    let token = shop.token("orders", AUDIENCE, Some(("orders-2", &late))).await;
    shop.pod_phase("orders-2", "Failed").await;
    let ending = refused(&token).await;
    assert!(ending.contains("is ending") || ending == by_api, "{ending}");
    let gone = shop.pod("orders-3", "orders").await;
    let token = shop.token("orders", AUDIENCE, Some(("orders-3", &gone))).await;
    shop.delete_pod("orders-3").await;
    shop.pod("orders-3", "payments").await;
    let replaced = refused(&token).await;
    assert!(replaced.contains("replaced by another") || replaced == by_api, "{replaced}");
    assert!(ask(plane.port, &plane.bundle, &good).await.is_ok());
    plane.stop().await;

    // Where none is configured none is taken, good or not.
    let directory = Directory::new();
    let plane = Plane::start(&directory, &Clock::system()).await;
    let status = ask(plane.port, &plane.bundle, &good).await.unwrap_err();
    let expected = (Code::Unauthenticated, "service-account tokens are not taken here");
    assert_eq!((status.code(), status.message()), expected);
    plane.stop().await;
}

#[tokio::test]
async fn without_an_answer_nobody_is_let_in() {
    let shop = Namespace::new("shop").await;
    shop.service_account("orders").await;
    let uid = shop.pod("orders-1", "orders").await;
    let token = shop.token("orders", AUDIENCE, Some(("orders-1", &uid))).await;
    shop.service_account("powerless").await;
    let directory = Directory::new();
    let kubeconfig = directory.write("kubeconfig", &shop.kubeconfig("powerless").await, 0o600);
    let plane = plane(&directory, &kubeconfig).await;
    let status = ask(plane.port, &plane.bundle, &token).await.unwrap_err();
    let expected = (Code::Unavailable, "service-account token cannot be reviewed now");
    assert_eq!((status.code(), status.message()), expected);
    assert!(status.metadata().get("retry-after").is_some());
    let text = plane.metrics.text();
    assert!(
        text.contains("hopgate_kube_token_review_failures_total{code=\"refused\"} 1"),
        "{text}"
    );
    plane.stop().await;
}

/// `hopgate control` as a process of its own, ended with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// In a process where nothing but the program itself sets up TLS.
#[tokio::test]
async fn the_program_itself_asks_the_api_server() {
    let shop = Namespace::new("shop").await;
    shop.service_account("orders").await;
    let uid = shop.pod("orders-1", "orders").await;
    let token = shop.token("orders", AUDIENCE, Some(("orders-1", &uid))).await;
    let directory = Directory::new();
    let trusts = {
        let office = Office::open(&directory.path("ca"), SystemTime::now());
        office.authority.bundle()
    };
    let port = free_port();
    let config = format!(
        "trustDomain: demo.mesh\nlisten: 127.0.0.1:{port}\ndirectory: ca\n\
         kubernetes: {{ kubeconfig: {} }}\nattest: {{ kubernetes: {{ audience: {AUDIENCE} }} }}\n",
        server().kubeconfig.display()
    );
    let config = directory.write("control.yaml", &config, 0o644);
    let _process = Process(
        Command::new(env!("CARGO_BIN_EXE_hopgate"))
            .args(["control", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let end = Instant::now() + Duration::from_secs(30);
    let leaf = loop {
        match ask(port, &trusts, &token).await {
            Ok(leaf) => break leaf,
            // It does not listen yet.
            Err(error) => assert!(Instant::now() < end, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(leaf.id().as_str(), format!("spiffe://demo.mesh/ns/{}/sa/orders", shop.name));
}

#[tokio::test]
async fn control_does_not_start_without_what_its_attestors_need() {
    let directory = Directory::new();
    for (more, words) in [
        (
            "kubernetes: { kubeconfig: nowhere }\nattest: { kubernetes: { audience: hopgate } }\n",
            "nowhere",
        ),
        ("attest: { kubernetes: { audience: hopgate } }\n", "does not run in a pod"),
        (
            "attest: { x509: [{ name: corp, caFile: nowhere.pem, workloads: [] }] }\n",
            "attest.x509 \"corp\"",
        ),
        ("dnsNames: [{ workload: ns/shop/sa/orders, names: ['*.shop'] }]\n", "dnsNames[0].names"),
    ] {
        let text = format!("trustDomain: demo.mesh\nlisten: 127.0.0.1:0\ndirectory: ca\n{more}");
        let mut config: hopgate::control::Config = serde_saphyr::from_str(&text).unwrap();
        config.resolve(&directory.path(""));
        let error = match hopgate::control::Control::bind(&config, Clock::system()).await {
            Ok(_) => panic!("it starts: {more}"),
            Err(error) => error,
        };
        let mut told = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            told += &format!(": {error}");
            cause = error.source();
        }
        assert!(told.contains(words), "{words}: {told}");
    }
}

#[tokio::test]
async fn a_sidecar_is_certified_for_as_long_as_its_pod_lives() {
    let shop = Namespace::new("shop").await;
    shop.service_account("orders").await;
    let uid = shop.pod("orders-1", "orders").await;
    let directory = Directory::new();
    let clock = Clock::manual(SystemTime::now());
    let more = format!(
        "kubernetes: {{ kubeconfig: {} }}\nattest: {{ kubernetes: {{ audience: {AUDIENCE} }} }}\n",
        server().kubeconfig.display()
    );
    let plane = Plane::start_with(&directory, &clock, "127.0.0.1:0", &more).await;
    let token = shop.token("orders", AUDIENCE, Some(("orders-1", &uid))).await;
    // As a kubelet writes it for a container that runs as another user.
    directory.write("token", &token, 0o644);
    let mut config: certs::Config = serde_saphyr::from_str(&format!(
        "control: {{ server: \"https://localhost:{}\", caFile: roots.pem, serviceAccountTokenFile: token }}\n\
         stateDirectory: state\n",
        plane.port
    ))
    .unwrap();
    config.resolve(&directory.path(""));
    let workload = SpiffeId::parse(&format!("spiffe://demo.mesh/ns/{}/sa/orders", shop.name));
    let workload = workload.unwrap();
    let mut sidecar = Sidecar::start_as(&workload, &config, &clock);
    let first = sidecar.other_than(None).await.unwrap();
    assert_eq!(*sidecar.identity.borrow().as_ref().unwrap().svid.id(), workload);
    sidecar.handle.renew_now();
    let second = sidecar.other_than(Some(&first)).await.unwrap();

    shop.delete_pod("orders-1").await;
    clock.advance(Duration::from_secs(11));
    sidecar.handle.renew_now();
    // The API server itself may know the token for a moment longer; the pod is gone at once.
    sidecar.error("service-account token").await;
    assert_eq!(sidecar.serial(), Some(second), "what it has lasts its lifetime");
    sidecar.stop().await;
    plane.stop().await;
}
