//! An authority that is kept in a Secret.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use hopgate::control::{Config, Control};
use hopgate::runtime::Clock;
use hyper::Method;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::replicas::least;
use crate::certificates::parts::{Call, Directory, ORDERS, Plane, csr};
use crate::support::kube::{Namespace, server};
use crate::support::kube_proxy::{Fault, Proxy};

const NAME: &str = "hopgate-ca";

fn more(shop: &Namespace, kubeconfig: &Path) -> String {
    format!(
        "kubernetes: {{ kubeconfig: {} }}\nauthority: {{ secret: {{ namespace: {}, name: {NAME} }} }}\n",
        kubeconfig.display(),
        shop.name
    )
}

async fn plane(shop: &Namespace, directory: &Directory) -> Plane {
    let more = more(shop, &server().kubeconfig);
    Plane::start_with(directory, &Clock::system(), "127.0.0.1:0", &more).await
}

/// The error of a start, with its causes.
async fn refusal(shop: &Namespace, kubeconfig: &Path) -> String {
    match bind(shop, kubeconfig).await {
        Ok(_) => panic!("it starts"),
        Err(error) => error,
    }
}

async fn bind(shop: &Namespace, kubeconfig: &Path) -> Result<Control, String> {
    let directory = Directory::new();
    let more = more(shop, kubeconfig);
    let text = format!("trustDomain: demo.mesh\nlisten: 127.0.0.1:0\ndirectory: ca\n{more}");
    let mut config: Config = serde_saphyr::from_str(&text).unwrap();
    config.resolve(&directory.path(""));
    Control::bind(&config, Clock::system()).await.map_err(|error| {
        let mut told = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            told += &format!(": {error}");
            cause = error.source();
        }
        told
    })
}

async fn secret(shop: &Namespace) -> Secret {
    shop.api::<Secret>().get(NAME).await.unwrap()
}

async fn put(shop: &Namespace, data: BTreeMap<String, ByteString>) {
    let mut held = secret(shop).await;
    held.data = Some(data);
    shop.api::<Secret>().replace(NAME, &PostParams::default(), &held).await.unwrap();
}

pub(super) async fn ca(directory: &Directory, arguments: &[&str]) -> Output {
    let operator = format!("unix:{}", directory.path("ca/operator.sock").display());
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_hopgate"));
    command.arg("ca").args(arguments).args(["--operator", &operator]);
    command.output().await.unwrap()
}

pub(super) async fn status(directory: &Directory) -> Value {
    let output = ca(directory, &["status", "--output", "json"]).await;
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

/// A certificate, by a join token.
async fn issue(plane: &Plane) -> Result<Vec<String>, tonic::Status> {
    issue_at(plane, &Clock::system()).await
}

/// The same, at another time.
pub(super) async fn issue_at(plane: &Plane, clock: &Clock) -> Result<Vec<String>, tonic::Status> {
    let call = Call {
        port: plane.port,
        trusts: &plane.bundle,
        certificate: None,
        authorization: &[format!("Bearer {}", plane.token(ORDERS, clock))],
        csr: csr(&hopgate::identity::PrivateKey::generate().unwrap(), |_| {}),
        seconds: 0,
    };
    call.send(clock).await
}

#[tokio::test]
async fn an_authority_lives_in_its_secret() {
    let shop = Namespace::new("shop").await;
    let directory = Directory::new();
    let first = plane(&shop, &directory).await;
    issue(&first).await.unwrap();
    let held = secret(&shop).await;
    let names: Vec<String> = held.data.unwrap().into_keys().collect();
    let files = ["1.issuing-1.key", "1.issuing-1.pem", "1.jwt.key", "1.root.key", "1.root.pem"];
    assert_eq!(names, [&files[..], &["root.pem", "state.json"]].concat());
    assert!(!directory.path("ca/state.json").exists(), "no key on the disk");
    let shown = shop.api::<ConfigMap>().get(NAME).await.unwrap();
    assert_eq!(shown.data.unwrap()["root.pem"], first.bundle.to_pem());
    let tainted = ca(&directory, &["taint", "--within", "1m", "--no-wait"]).await;
    assert_eq!(tainted.status.code(), Some(0), "{tainted:?}");
    let state = status(&directory).await;
    let roots = first.bundle.clone();
    first.stop().await;

    // Another pod, with nothing on its disk.
    let elsewhere = Directory::new();
    let second = plane(&shop, &elsewhere).await;
    assert_eq!(second.bundle, roots);
    assert_eq!(status(&elsewhere).await["generations"], state["generations"]);
    issue(&second).await.unwrap();
    // Somebody sets a label, and takes the roots away: the next step is taken all the same, and shows them again.
    let label = json!({ "metadata": { "labels": { "example.com/backup": "yes" } } });
    let secrets: Api<Secret> = shop.api();
    secrets.patch(NAME, &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
    shop.api::<ConfigMap>().delete(NAME, &DeleteParams::default()).await.unwrap();
    let tainted = ca(&elsewhere, &["taint", "--within", "1m", "--no-wait"]).await;
    assert_eq!(tainted.status.code(), Some(0), "{tainted:?}");
    assert!(secret(&shop).await.metadata.labels.unwrap().contains_key("example.com/backup"));
    assert!(shop.api::<ConfigMap>().get(NAME).await.is_ok());
    second.stop().await;
}

#[tokio::test]
async fn of_many_first_starts_one_makes_the_root() {
    let shop = Namespace::new("shop").await;
    let starts = (0..6).map(|_| bind(&shop, &server().kubeconfig));
    let controls = futures_util::future::join_all(starts).await;
    let roots: Vec<String> = controls.into_iter().map(|c| c.unwrap().bundle().to_pem()).collect();
    assert!(roots.iter().all(|root| *root == roots[0]), "{roots:?}");
    assert_eq!(roots[0].matches("BEGIN").count(), 1);
}

#[tokio::test]
async fn a_damaged_or_partial_secret_is_refused_and_left_alone() {
    let shop = Namespace::new("shop").await;
    drop(bind(&shop, &server().kubeconfig).await.unwrap());
    let whole = secret(&shop).await.data.unwrap();
    for name in whole.keys().filter(|name| *name != "root.pem") {
        let mut partial = whole.clone();
        partial.remove(name);
        put(&shop, partial.clone()).await;
        let error = refusal(&shop, &server().kubeconfig).await;
        assert!(error.contains(name) && error.contains("restore it from a backup"), "{error}");
        assert_eq!(secret(&shop).await.data.unwrap(), partial);
        let mut damaged = whole.clone();
        let half = damaged[name].0.len() / 2;
        damaged.get_mut(name).unwrap().0.truncate(half);
        put(&shop, damaged.clone()).await;
        let error = refusal(&shop, &server().kubeconfig).await;
        assert!(error.contains(name), "{name}: {error}");
        assert!(error.contains(&format!("Secret {}/{NAME}", shop.name)), "{error}");
        assert_eq!(secret(&shop).await.data.unwrap(), damaged);
    }
    put(&shop, BTreeMap::new()).await;
    let error = refusal(&shop, &server().kubeconfig).await;
    assert!(error.contains("state.json is missing"), "{error}");
    put(&shop, whole).await;
    assert!(bind(&shop, &server().kubeconfig).await.is_ok());
}

#[tokio::test]
async fn a_lost_secret_is_not_made_again() {
    let shop = Namespace::new("shop").await;
    let directory = Directory::new();
    let plane = plane(&shop, &directory).await;
    shop.api::<Secret>().delete(NAME, &DeleteParams::default()).await.unwrap();
    let tainted = ca(&directory, &["taint", "--within", "1m", "--no-wait"]).await;
    assert_eq!(tainted.status.code(), Some(2));
    let said = String::from_utf8_lossy(&tainted.stderr).into_owned();
    assert!(said.contains("is gone") && said.contains("restore it from a backup"), "{said}");
    assert!(shop.api::<Secret>().get_opt(NAME).await.unwrap().is_none());
    issue(&plane).await.unwrap();
    plane.stop().await;
    let error = refusal(&shop, &server().kubeconfig).await;
    assert!(error.contains("is gone, though ConfigMap"), "{error}");
    assert!(shop.api::<Secret>().get_opt(NAME).await.unwrap().is_none());
    // The operator says that it is meant.
    shop.api::<ConfigMap>().delete(NAME, &DeleteParams::default()).await.unwrap();
    assert!(bind(&shop, &server().kubeconfig).await.is_ok());
}

#[tokio::test]
async fn a_throttled_or_restarting_api_server_loses_no_step() {
    let shop = Namespace::new("shop").await;
    shop.service_account("control").await;
    shop.allow("control", least(NAME)).await;
    let token = shop.token("control", "https://kubernetes.default.svc", None).await;
    let proxy = Proxy::start(&token).await;
    // The API server's own caches of rights are a moment behind.
    let elsewhere = shop.beside("default");
    while bind(&elsewhere, &proxy.kubeconfig).await.is_err() {}
    for fault in [Fault::Status(429), Fault::Broken] {
        proxy.plan(Method::GET, "/configmaps/", fault);
    }
    proxy.plan(Method::POST, "/secrets", Fault::AnswerLost);
    let directory = Directory::new();
    let more = more(&shop, &proxy.kubeconfig);
    let plane = Plane::start_with(&directory, &Clock::system(), "127.0.0.1:0", &more).await;
    assert!(proxy.is_played());
    let keys = |status: &Value| status["generations"][0]["keyId"].clone();
    let before = keys(&status(&directory).await);
    for fault in [Fault::Status(503), Fault::AnswerLost] {
        proxy.plan(Method::PUT, "/secrets/", fault);
    }
    let tainted = ca(&directory, &["taint", "--within", "1m", "--no-wait"]).await;
    assert_eq!(tainted.status.code(), Some(0), "{tainted:?}");
    assert!(proxy.is_played());
    assert_ne!(keys(&status(&directory).await), before);
    let names: Vec<String> = secret(&shop).await.data.unwrap().into_keys().collect();
    assert!(names.contains(&"1.issuing-2.key".to_owned()), "one step and no more: {names:?}");
    plane.stop().await;
}

#[tokio::test]
async fn few_rights_are_enough_and_a_missing_one_is_named() {
    let shop = Namespace::new("shop").await;
    let scratch = crate::support::Scratch::new("kubeconfig");
    for (account, rules, words) in [
        ("all", least(NAME), None),
        ("none", json!([]), Some("does not show Secret")),
        ("other", least("another"), Some("does not show Secret")),
    ] {
        shop.service_account(account).await;
        shop.allow(account, rules).await;
        let kubeconfig = scratch.write(account, &shop.kubeconfig(account).await);
        // The API server's own caches of rights are a moment behind.
        let mut started = bind(&shop, &kubeconfig).await.map(drop);
        for _ in 0..50 {
            if started.is_ok() == words.is_none() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            started = bind(&shop, &kubeconfig).await.map(drop);
        }
        match (started, words) {
            (Ok(()), None) => {}
            (Err(error), Some(words)) => assert!(error.contains(words), "{account}: {error}"),
            (started, words) => panic!("{account}: {started:?} and {words:?}"),
        }
    }
}
