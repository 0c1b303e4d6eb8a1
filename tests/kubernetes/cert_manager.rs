//! An authority whose issuing certificates are signed through cert-manager's CertificateRequests.

use std::time::{Duration, SystemTime};

use hopgate::control::{Config, Control};
use hopgate::identity::{Leaf, TrustBundle};
use hopgate::runtime::Clock;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use super::authority::{ca, issue_at, status};
use super::signer::{Flaw, Requests, Root, condition};
use crate::certificates::parts::{Directory, Plane, domain};
use crate::support::kube::{Namespace, server};

const NAME: &str = "hopgate-ca";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn more(shop: &Namespace, roots: &str) -> String {
    format!(
        "kubernetes: {{ kubeconfig: {} }}\nauthority:\n  secret: {{ namespace: {}, name: {NAME} }}\n  \
         certManager: {{ issuerRef: {{ name: corp, kind: ClusterIssuer }}, duration: 720h{roots} }}\n",
        server().kubeconfig.display(),
        shop.name
    )
}

async fn plane(shop: &Namespace, directory: &Directory, clock: &Clock, roots: &str) -> Plane {
    Plane::start_with(directory, clock, "127.0.0.1:0", &more(shop, roots)).await
}

async fn bind(shop: &Namespace) -> Result<Control, String> {
    let directory = Directory::new();
    let text =
        format!("trustDomain: demo.mesh\nlisten: 127.0.0.1:0\ndirectory: ca\n{}", more(shop, ""));
    let mut config: Config = serde_saphyr::from_str(&text).unwrap();
    config.resolve(&directory.path(""));
    let bound = Control::bind(&config, Clock::system()).await;
    bound.map_err(|error| hopgate::runtime::with_causes(&error))
}

fn key_id(status: &Value) -> String {
    status["generations"].as_array().unwrap().iter().find(|one| one["phase"] == "active").unwrap()
        ["keyId"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// A certificate, as soon as the control plane's own is renewed after the clock was moved.
async fn issued(plane: &Plane, clock: &Clock) -> Vec<String> {
    for _ in 0..100 {
        if let Ok(chain) = issue_at(plane, clock).await {
            return chain;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{:?}", issue_at(plane, clock).await);
}

async fn until(directory: &Directory, what: &str, true_of: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..300 {
        let status = status(directory).await;
        if true_of(&status) {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what}: {}", status(directory).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cert_manager_signs_and_renews_the_issuing_certificate() {
    let shop = Namespace::new("shop").await;
    let requests = Requests::of(&shop).await;
    let start = SystemTime::now();
    let (root, clock) = (Root::new("corp root", start), Clock::manual(start));
    let directory = Directory::new();
    let (plane, ()) = tokio::join!(
        plane(&shop, &directory, &clock, ""),
        requests.sign(&root, (start, DAY * 30), Flaw::None)
    );
    assert_eq!(plane.bundle, TrustBundle::from_pem(domain(), &root.pem).unwrap());
    let chain = issue_at(&plane, &clock).await.unwrap();
    assert_eq!(chain.len(), 3, "leaf, issuing certificate, root");
    let held: Secret = shop.api().get(NAME).await.unwrap();
    let names: Vec<String> = held.data.unwrap().into_keys().collect();
    let files = ["1.issuing-1.key", "1.issuing-1.pem", "1.jwt.key", "1.root.pem"];
    assert_eq!(
        names,
        [&files[..], &["root.pem", "state.json"]].concat(),
        "no root key, no spare key"
    );
    let first = key_id(&status(&directory).await);

    // What is refused changes nothing, says why, and is followed by another request.
    let foreign = Root::new("another root", start);
    clock.advance(DAY * 21);
    for round in 0..6 {
        let request = requests.open().await;
        match round {
            0 => {
                let denied = condition("Denied", "True", "Policy");
                requests.answer(&request, json!({ "conditions": [denied] })).await;
            }
            1 => {
                let failed = condition("Ready", "False", "Failed");
                requests.answer(&request, json!({ "conditions": [failed] })).await;
            }
            2 => requests.sign(&root, (clock.now(), DAY * 30), Flaw::OtherKey).await,
            3 => requests.sign(&root, (clock.now(), DAY * 30), Flaw::NoAuthority).await,
            4 => requests.sign(&foreign, (clock.now(), DAY * 30), Flaw::None).await,
            _ => {
                let ready = condition("Ready", "True", "Issued");
                requests.answer(&request, json!({ "conditions": [ready] })).await;
            }
        }
        let words = [
            "it was denied (Policy: said on purpose)",
            "it failed (Failed: said on purpose)",
            "is for another key than the one that was asked for",
            "is not the certificate of an authority",
            "chains to a root that is not accepted",
            "it is ready without a certificate",
        ][round];
        let name = request.metadata.name.clone().unwrap();
        let after = until(&directory, words, |status| {
            let refusal = status["refusal"].as_str().unwrap_or_default();
            refusal.contains(words) && refusal.contains(&name) && status["request"].is_null()
        })
        .await;
        assert_eq!(key_id(&after), first, "{words}");
        issued(&plane, &clock).await;
        clock.advance(Duration::from_secs(3600));
    }
    requests.sign(&root, (clock.now(), DAY * 30), Flaw::None).await;
    // The new key is kept before what was wrong is forgotten.
    let after = until(&directory, "renewed", |status| {
        key_id(status) != first && status["refusal"].is_null() && status["request"].is_null()
    })
    .await;
    assert_eq!(plane.bundle, TrustBundle::from_pem(domain(), &root.pem).unwrap());
    let chain = issued(&plane, &clock).await;
    let leaf = Leaf::parse(&crate::certificates::parts::ders(&chain)[0]).unwrap();
    assert_eq!(leaf.authority_key_id(), Some(key_id(&after).as_str()));
    assert_eq!(requests.names().await.len(), 8);
    // Its own key is not tainted by word of mouth.
    let tainted = ca(&directory, &["taint", "--within", "1m"]).await;
    assert_eq!(tainted.status.code(), Some(2));
    let said = String::from_utf8_lossy(&tainted.stderr).into_owned();
    assert!(said.contains("another authority signs for this one"), "{said}");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_restarts_while_it_waits_asks_no_second_time() {
    let shop = Namespace::new("shop").await;
    let requests = Requests::of(&shop).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        // Given up in the middle, as a killed process does.
        let waiting = tokio::time::timeout(Duration::from_secs(3), bind(&shop)).await;
        assert!(waiting.is_err(), "{:?}", waiting.map(|bound| bound.map(drop)));
        seen.push(requests.names().await);
    }
    assert_eq!(seen[0].len(), 1);
    assert!(seen.iter().all(|names| *names == seen[0]), "{seen:?}");
    // Of two replicas that wait both get the same.
    let now = SystemTime::now();
    let root = Root::new("corp root", now);
    let (one, two, ()) =
        tokio::join!(bind(&shop), bind(&shop), requests.sign(&root, (now, DAY), Flaw::None));
    let bundle = TrustBundle::from_pem(domain(), &root.pem).unwrap();
    assert_eq!([one.unwrap().bundle(), two.unwrap().bundle()], [bundle.clone(), bundle]);
    assert_eq!(requests.names().await, seen[0]);

    // A denial ends the start, with what to do.
    let shop = Namespace::new("shop").await;
    let requests = Requests::of(&shop).await;
    let deny = async {
        let request = requests.open().await;
        let denied = condition("Denied", "True", "Policy");
        requests.answer(&request, json!({ "conditions": [denied] })).await;
    };
    let (refused, ()) = tokio::join!(bind(&shop), deny);
    let refused = refused.map(drop).unwrap_err();
    assert!(
        refused.contains("it was denied") && refused.contains("delete it to ask again"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_root_of_the_issuer_is_a_change_of_the_root() {
    let shop = Namespace::new("shop").await;
    let requests = Requests::of(&shop).await;
    let now = SystemTime::now();
    let (one, two) = (Root::new("corp root 1", now), Root::new("corp root 2", now));
    let (directory, clock) = (Directory::new(), Clock::system());
    directory.write("accepted.pem", &one.pem, 0o644);
    let (plane, ()) = tokio::join!(
        plane(&shop, &directory, &clock, ", roots: accepted.pem"),
        requests.sign(&one, (now, DAY), Flaw::None)
    );
    let asked = ca(&directory, &["rotate", "--no-wait", "--output", "json"]).await;
    assert_eq!(asked.status.code(), Some(0), "{asked:?}");
    let said: Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert!(said["change"].is_null() && said["request"]["name"].is_string(), "{said}");
    requests.sign(&two, (now, DAY), Flaw::None).await;
    let refused = until(&directory, "refused", |status| !status["refusal"].is_null()).await;
    assert!(refused["refusal"].as_str().unwrap().contains("accepted"), "{refused}");

    directory.write("accepted.pem", &format!("{}{}", one.pem, two.pem), 0o644);
    let rotated = async { ca(&directory, &["rotate"]).await };
    let (rotated, ()) = tokio::join!(rotated, async {
        requests.sign(&two, (now, DAY), Flaw::None).await;
        until(&directory, "published", |status| status["change"]["step"] == "publishing").await;
        let bundle = TrustBundle::from_pem(domain(), &format!("{}{}", one.pem, two.pem)).unwrap();
        assert_eq!(plane.publisher.current().bundles.own(), &bundle, "both are told");
        let waived = ca(&directory, &["rotate", "--no-wait", "--without-absent"]).await;
        assert_eq!(waived.status.code(), Some(0), "{waived:?}");
    });
    assert_eq!(rotated.status.code(), Some(0), "{rotated:?}");
    let bundle = TrustBundle::from_pem(domain(), &two.pem).unwrap();
    assert_eq!(plane.publisher.current().bundles.own(), &bundle, "the old one is out");
    plane.stop().await;
}
