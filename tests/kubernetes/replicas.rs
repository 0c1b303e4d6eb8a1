//! Several replicas of one control plane, which share nothing but the Kubernetes API.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use hopgate::identity::{Bundles, PrivateKey, WorkloadIdentity, X509Svid};
use hopgate::runtime::Clock;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};
use tonic::Code;

use crate::certificates::parts::{Call, Directory, ORDERS, PAYMENTS, Plane, csr, ders, id};
use crate::fleet::parts::Subscriber;
use crate::support::kube::{Namespace, server};
use crate::support::kube_proxy::Proxy;

const NAME: &str = "hopgate-ca";
const SOON: Duration = Duration::from_secs(1);

/// What is on its disk: the operator's socket.
pub(super) struct Replica {
    pub(super) plane: Plane,
    pub(super) place: Directory,
}

impl Replica {
    async fn start(shop: &Namespace, kubeconfig: &Path, clock: &Clock) -> Self {
        Self::start_of(&config(shop, kubeconfig), clock).await
    }

    pub(super) async fn start_of(config: &str, clock: &Clock) -> Self {
        let place = Directory::new();
        let plane = Plane::start_of(&place, clock, config).await;
        Self { plane, place }
    }

    async fn run(&self, arguments: &[&str]) -> std::process::Output {
        let operator = format!("unix:{}", self.place.path("operator.sock").display());
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_hopgate"));
        command.args(arguments).args(["--operator", &operator]).kill_on_drop(true);
        command.output().await.unwrap()
    }

    pub(super) async fn ca(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["ca"];
        all.extend(arguments);
        all.extend(["--output", "json"]);
        let output = self.run(&all).await;
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
    }

    pub(super) async fn status(&self) -> Value {
        self.ca(&["status"]).await
    }

    pub(super) async fn leads(&self) -> bool {
        self.status().await["leads"] == true
    }

    /// A certificate by a join token that is made somewhere else.
    async fn issue(&self, token: &str, clock: &Clock) -> Result<(X509Svid, String), tonic::Status> {
        let key = PrivateKey::generate().unwrap();
        let call = Call {
            port: self.plane.port,
            trusts: &self.plane.bundle,
            certificate: None,
            authorization: &[format!("Bearer {token}")],
            csr: csr(&key, |_| {}),
            seconds: 0,
        };
        let chain = call.send(clock).await?;
        let bundle = self.plane.publisher.current().bundles.own().clone();
        let svid = X509Svid::new(ders(&chain[..2]), key, &bundle, clock.now()).unwrap();
        let key_id = svid.leaf().authority_key_id().unwrap().to_owned();
        Ok((svid, key_id))
    }

    pub(super) async fn identity(&self, workload: &str, clock: &Clock) -> WorkloadIdentity {
        let token = self.plane.token(workload, clock);
        let (svid, _) = self.issue(&token, clock).await.unwrap();
        let bundles = Bundles::new(self.plane.publisher.current().bundles.own().clone());
        WorkloadIdentity { svid, bundles }
    }

    pub(super) async fn stop(self) {
        self.plane.stop().await;
    }
}

pub(super) fn config(shop: &Namespace, kubeconfig: &Path) -> String {
    format!(
        "listen: 127.0.0.1:0\noperator: {{ listen: \"unix:operator.sock\" }}\n\
         kubernetes: {{ kubeconfig: {} }}\nauthority: {{ secret: {{ namespace: {}, name: {NAME} }} }}\n",
        kubeconfig.display(),
        shop.name
    )
}

pub(super) async fn until(seconds: u64, what: &str, is: impl AsyncFn() -> bool) -> Duration {
    let began = Instant::now();
    while !is().await {
        assert!(began.elapsed() < Duration::from_secs(seconds), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}

fn key_of(status: &Value) -> &Value {
    let all = status["generations"].as_array().unwrap();
    &all.iter().find(|one| one["phase"] == "active").unwrap()["keyId"]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_share_keys_tokens_and_revocations() {
    let shop = Namespace::new("shop").await;
    let clock = Clock::system();
    let one = Replica::start(&shop, &server().kubeconfig, &clock).await;
    let two = Replica::start(&shop, &server().kubeconfig, &clock).await;
    assert_eq!(one.plane.bundle, two.plane.bundle);
    until(20, "one leads", async || one.leads().await != two.leads().await).await;

    // A token that is made at the one is good at the other, once. Of many who show it at both, one gets a certificate.
    let token = one.plane.token(ORDERS, &clock);
    let mut calls = Vec::new();
    for _ in 0..12 {
        calls.push(one.issue(&token, &clock));
        calls.push(two.issue(&token, &clock));
    }
    let answers = futures_util::future::join_all(calls).await;
    let issued = answers.iter().filter(|answer| answer.is_ok()).count();
    let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert_eq!(issued, 1, "{refused:?}");
    for refused in refused {
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::Unauthenticated, "join token already used")
        );
    }
    let unknown = one.issue(&"A".repeat(43), &clock).await.err().unwrap();
    assert_eq!(unknown.message(), "join token unknown");

    // What the one revokes, the other refuses within a second; and so the other way round.
    for (at, other, workload) in [(&one, &two, ORDERS), (&two, &one, PAYMENTS)] {
        let revoked = at.run(&["revoke", "workload", workload, "--reason", "stolen"]).await;
        assert_eq!(revoked.status.code(), Some(0), "{revoked:?}");
        let name = id(workload).to_string();
        let took = until(10, "it is heard", async || {
            other.plane.publisher.current().revoked.contains_key(&name)
        });
        assert!(took.await < SOON);
        let refused =
            other.issue(&other.plane.token(workload, &clock), &clock).await.err().unwrap();
        assert!(refused.message().contains("revoked"), "{refused:?}");
    }
    assert_eq!(one.plane.publisher.current().revoked.len(), 2, "none was lost");

    // A new key at the one, whoever leads, signs at the other within a second.
    let before = key_of(&one.status().await).clone();
    let tainted = two.ca(&["taint", "--within", "1m", "--no-wait"]).await;
    let key = key_of(&tainted).clone();
    assert_ne!(key, before);
    let followed = async || *key_of(&one.status().await) == key;
    assert!(
        until(10, "it is followed", followed).await < SOON * 2,
        "the command line takes its time, too"
    );
    let token = one.plane.token("ns/shop/sa/web", &clock);
    assert_eq!(one.issue(&token, &clock).await.unwrap().1, key.as_str().unwrap());
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_root_waits_for_the_sidecars_of_all_replicas() {
    let shop = Namespace::new("shop").await;
    let clock = Clock::manual(crate::certificates::parts::this_second());
    let one = Replica::start(&shop, &server().kubeconfig, &clock).await;
    let two = Replica::start(&shop, &server().kubeconfig, &clock).await;
    let mut subscribers = Vec::new();
    for (replica, workload) in [(&one, ORDERS), (&two, PAYMENTS)] {
        let identity = replica.identity(workload, &clock).await;
        let mut subscriber = Subscriber::connect(&replica.plane, &identity, &clock).await;
        let update = subscriber.bundles().await;
        subscriber.accept(&update).await;
        subscribers.push(subscriber);
    }
    let [mut orders, mut payments] = <[Subscriber; 2]>::try_from(subscribers).ok().unwrap();
    // They have had their time to come back.
    clock.advance(Duration::from_secs(61));
    for replica in [&one, &two] {
        until(20, "each sees all", async || {
            let status = replica.status().await;
            status["connected"] == 2 && status["acknowledged"] == 2
        })
        .await;
    }
    let begun = two.ca(&["rotate", "--no-wait"]).await;
    assert_eq!(begun["change"]["to"], 2, "{begun}");
    let new = orders.bundles().await;
    orders.accept(&new).await;
    let lags = async |replica: &Replica| {
        let status = replica.status().await;
        let named = status["awaited"].as_array().unwrap().iter();
        let named: Vec<_> = named.filter_map(|one| one["id"].as_str()).collect();
        status["change"]["step"] == "publishing"
            && status["done"] == 1
            && named == [id(PAYMENTS).as_str()]
    };
    for replica in [&one, &two] {
        until(20, "both say who lags", async || lags(replica).await).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(lags(&one).await && lags(&two).await, "{} {}", one.status().await, two.status().await);
    let new = payments.bundles().await;
    payments.accept(&new).await;
    let signs = async |replica: &Replica| replica.status().await["change"]["step"] == "reissuing";
    until(20, "it goes on", async || signs(&one).await && signs(&two).await).await;

    // Leaves of the new root, from either replica; the old connections end.
    let (first, second) =
        (one.identity(PAYMENTS, &clock).await, two.identity(ORDERS, &clock).await);
    let first = Subscriber::connect(&two.plane, &first, &clock).await;
    let second = Subscriber::connect(&one.plane, &second, &clock).await;
    drop((orders, payments));
    let waived = one.ca(&["rotate", "--no-wait", "--without-absent"]).await;
    assert!(waived["change"]["withoutAbsent"] == true || waived["change"].is_null(), "{waived}");
    for replica in [&one, &two] {
        until(20, "the old root is retired", async || {
            let status = replica.status().await;
            let told = replica.plane.publisher.current();
            status["change"].is_null() && told.bundles.own().roots().len() == 1
        })
        .await;
        assert_ne!(replica.plane.publisher.current().bundles.own(), &replica.plane.bundle);
    }
    drop((first, second));
    one.stop().await;
    two.stop().await;
}

/// Two who each may be cut off from the API server.
struct Pair {
    shop: Namespace,
    clock: Clock,
    replicas: [Replica; 2],
    proxies: [Proxy; 2],
}

impl Pair {
    async fn start() -> Self {
        let shop = Namespace::new("shop").await;
        shop.service_account("control").await;
        shop.allow("control", least(NAME)).await;
        let token = shop.token("control", "https://kubernetes.default.svc", None).await;
        let proxies = [Proxy::start(&token).await, Proxy::start(&token).await];
        let clock = Clock::manual(crate::certificates::parts::this_second());
        // The API server's own caches of rights are a moment behind.
        let leases: Api<Lease> = Api::namespaced(as_service_account(&shop).await, &shop.name);
        while leases.list(&ListParams::default()).await.is_err() {}
        let one = Replica::start(&shop, &proxies[0].kubeconfig, &clock).await;
        until(20, "the first leads", async || one.leads().await).await;
        let two = Replica::start(&shop, &proxies[1].kubeconfig, &clock).await;
        Self { shop, clock, replicas: [one, two], proxies }
    }
}

async fn as_service_account(shop: &Namespace) -> kube::Client {
    let text = shop.kubeconfig("control").await;
    let file = serde_json::from_str(&text).unwrap();
    let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await.unwrap();
    kube::Client::try_from(config).unwrap()
}

/// The least that the docs ask for.
pub(super) fn least(name: &str) -> Value {
    let (tokens, revoked) = (format!("{name}-join-tokens"), format!("{name}-revocations"));
    let federation = format!("{name}-federation");
    json!([
        { "apiGroups": [""], "resources": ["secrets", "configmaps"], "verbs": ["create"] },
        { "apiGroups": [""], "resources": ["secrets"], "resourceNames": [name, tokens],
          "verbs": ["get", "update", "list", "watch"] },
        { "apiGroups": [""], "resources": ["configmaps"],
          "resourceNames": [name, revoked, federation], "verbs": ["get", "update", "list", "watch"] },
        { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
          "verbs": ["create", "get", "update", "delete", "list", "watch"] },
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_stops_before_another_one_leads() {
    let Pair { shop, clock, replicas: [one, two], proxies } = Pair::start().await;
    let identity = one.identity(ORDERS, &clock).await;
    let mut orders = Subscriber::connect(&one.plane, &identity, &clock).await;
    let update = orders.bundles().await;
    orders.accept(&update).await;
    let identity = two.identity(PAYMENTS, &clock).await;
    let mut payments = Subscriber::connect(&two.plane, &identity, &clock).await;
    let update = payments.bundles().await;
    payments.accept(&update).await;
    clock.advance(Duration::from_secs(61));
    until(20, "all are seen", async || two.status().await["acknowledged"] == 2).await;
    until(20, "the first leads again", async || one.leads().await).await;
    proxies[0].down(true);
    let began = Instant::now();
    let mut stopped = None;
    loop {
        // First the one that may come, then the one that must be gone by then.
        let (new, old) = (two.leads().await, one.leads().await);
        assert!(!(new && old), "two lead after {:?}", began.elapsed());
        if !old && stopped.is_none() {
            stopped = Some(began.elapsed());
        }
        if new {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "nobody leads");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (stopped, taken) = (stopped.unwrap(), began.elapsed());
    println!("the old leader stopped after {stopped:?}, the new one leads after {taken:?}");
    assert!(taken > stopped && taken > Duration::from_secs(10));

    // The sidecars of the silent one are not taken for convinced.
    let begun = two.ca(&["rotate", "--no-wait"]).await;
    assert_eq!(begun["change"]["to"], 2, "{begun}");
    let update = payments.bundles().await;
    payments.accept(&update).await;
    let silent = async || {
        let status = two.status().await;
        let awaited = status["awaited"].as_array().unwrap().clone();
        awaited.iter().any(|one| one["kind"] == "silent" || one["kind"] == "behind")
    };
    until(30, "it is waited for", silent).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let status = two.status().await;
    assert_eq!(status["change"]["step"], "publishing", "{status}");
    // It still serves with what it knows, as long as that cannot be wrong.
    assert!(
        one.issue(&two.plane.token(ORDERS, &clock), &clock).await.is_err(),
        "no token can be used up"
    );
    assert_eq!(one.plane.fleet.size(), 1);

    // Back in touch it follows, and its sidecar counts again.
    proxies[0].down(false);
    let update = orders.bundles().await;
    orders.accept(&update).await;
    let on = async || two.status().await["change"]["step"] == "reissuing";
    until(30, "it goes on", on).await;
    assert!(two.leads().await && !one.leads().await);
    drop((orders, payments));

    // Who ends in good order is followed at once, and leaves nothing that is waited for.
    two.stop().await;
    let took = until(20, "the other leads", async || one.leads().await).await;
    println!("led {took:?} after the leader ended");
    assert!(took < Duration::from_secs(10));
    let leases: Api<Lease> = shop.api();
    assert!(leases.list(&ListParams::default()).await.unwrap().items.len() >= 2);
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_out_of_touch_for_long_serves_nobody() {
    let Pair { shop: _shop, clock, replicas: [one, two], proxies } = Pair::start().await;
    let identity = two.identity(ORDERS, &clock).await;
    let mut orders = Subscriber::connect(&two.plane, &identity, &clock).await;
    let update = orders.bundles().await;
    orders.accept(&update).await;
    proxies[1].down(true);
    tokio::time::sleep(Duration::from_secs(1)).await;
    clock.advance(Duration::from_secs(601));
    until(20, "its streams end", async || two.plane.fleet.size() == 0).await;
    let renewal = || Call {
        port: two.plane.port,
        trusts: &two.plane.bundle,
        certificate: Some(&identity.svid),
        authorization: &[],
        csr: csr(&PrivateKey::generate().unwrap(), |_| {}),
        seconds: 0,
    };
    let refused = renewal().send(&clock).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(refused.metadata().get("retry-after").is_some());
    proxies[1].down(false);
    let again = async || renewal().send(&clock).await.is_ok();
    until(30, "it serves again", again).await;
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_list_of_revocations_is_not_an_empty_one() {
    let shop = Namespace::new("shop").await;
    let clock = Clock::system();
    let one = Replica::start(&shop, &server().kubeconfig, &clock).await;
    let revoked = one.run(&["revoke", "workload", ORDERS, "--reason", "stolen"]).await;
    assert_eq!(revoked.status.code(), Some(0), "{revoked:?}");
    let name = format!("{NAME}-revocations");
    let maps: Api<ConfigMap> = shop.api();
    let kept = maps.get(&name).await.unwrap();
    assert!(kept.data.unwrap()["revocations.json"].contains("stolen"));
    maps.delete(&name, &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(one.plane.publisher.current().revoked.len(), 1, "what was in force stays");
    let again = one.run(&["revoke", "workload", PAYMENTS, "--reason", "stolen"]).await;
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    assert!(maps.get_opt(&name).await.unwrap().is_none(), "it is not made again");
    one.stop().await;
    let place = Directory::new();
    let text = format!("trustDomain: demo.mesh\n{}", config(&shop, &server().kubeconfig));
    let mut config: hopgate::control::Config = serde_saphyr::from_str(&text).unwrap();
    config.resolve(&place.path(""));
    let refused = hopgate::control::Control::bind(&config, clock).await.map(drop).unwrap_err();
    let words = refused.to_string();
    assert!(words.contains(&name) && words.contains("restore it from a backup"), "{words}");
    // Tokens are another matter: what is not known is refused.
    shop.api::<Secret>()
        .delete(&format!("{NAME}-join-tokens"), &DeleteParams::default())
        .await
        .unwrap();
    let nobody = json!({ "metadata": { "name": name },
        "data": { "revocations.json": "{\"version\":1,\"revocations\":[]}" } });
    let nobody: ConfigMap = serde_json::from_value(nobody).unwrap();
    maps.create(&Default::default(), &nobody).await.unwrap();
    let again = Replica::start(&shop, &server().kubeconfig, &Clock::system()).await;
    again.stop().await;
}

/// The command line needs no control plane that runs, and no directory.
#[tokio::test]
async fn a_token_is_made_without_a_running_control_plane() {
    let shop = Namespace::new("shop").await;
    let place = Directory::new();
    let text = format!("trustDomain: demo.mesh\n{}", config(&shop, &server().kubeconfig));
    let file = place.write("control.yaml", &text, 0o644);
    let made = tokio::process::Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .args(["control", "token", "--workload", ORDERS, "--config"])
        .arg(&file)
        .output()
        .await
        .unwrap();
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let token = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let clock = Clock::manual(SystemTime::now());
    let one = Replica::start(&shop, &server().kubeconfig, &clock).await;
    assert!(one.issue(&token, &clock).await.is_ok());
    let held: Secret = shop.api().get(&format!("{NAME}-join-tokens")).await.unwrap();
    let held = held.data.unwrap();
    assert_eq!(held.len(), 1);
    let (hash, record) = held.into_iter().next().unwrap();
    let record = String::from_utf8(record.0).unwrap();
    assert!(!record.contains(&token) && !hash.contains(&token), "only its digest is kept");
    one.stop().await;
    // The bundle, too.
    let bundle = tokio::process::Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .args(["ca", "bundle", "--config"])
        .arg(&file)
        .output()
        .await
        .unwrap();
    assert_eq!(bundle.status.code(), Some(0), "{bundle:?}");
    assert!(String::from_utf8(bundle.stdout).unwrap().contains("BEGIN CERTIFICATE"));
}
