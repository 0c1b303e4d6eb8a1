//! A change of the root and sidecars that are not connected: which of them are waited for, by what became of their pods.

use std::collections::BTreeMap;
use std::time::Duration;

use hopgate::identity::WorkloadIdentity;
use hopgate::runtime::Clock;
use serde_json::Value;

use super::replicas::{Replica, config, until};
use super::resources::{documented_rules, turn};
use crate::certificates::parts::{Directory, Plane, this_second};
use crate::fleet::parts::Subscriber;
use crate::support::kube::{Namespace, server};
use crate::support::kube_proxy::Proxy;

/// No API server gives it out.
const NO_POD: &str = "00000000-0000-0000-0000-000000000000";

/// The step of the change, who is waited for that is not connected, by service account and what is known of the pod, and
/// how many are not.
#[derive(Debug, PartialEq)]
struct Waits {
    step: String,
    gone: BTreeMap<String, String>,
    /// For anything else, too.
    other: bool,
    let_go: u64,
}

impl Waits {
    fn publishing(gone: &[(&str, &str)], let_go: u64) -> Self {
        let gone = gone.iter().map(|(name, pod)| ((*name).to_owned(), (*pod).to_owned()));
        Self { step: "publishing".to_owned(), gone: gone.collect(), other: false, let_go }
    }

    fn read(status: &Value) -> Self {
        let awaited = status["awaited"].as_array().unwrap();
        let (gone, other): (Vec<&Value>, Vec<&Value>) =
            awaited.iter().partition(|one| one["kind"] == "gone");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = |id: &Value| text(id).rsplit('/').next().unwrap().to_owned();
        Self {
            step: text(&status["change"]["step"]),
            gone: gone.iter().map(|one| (name(&one["id"]), text(&one["pod"]))).collect(),
            other: !other.is_empty(),
            let_go: status["letGo"].as_u64().unwrap(),
        }
    }
}

async fn waits(replica: &Replica, expected: &Waits) {
    until(40, &format!("{expected:?}"), async || Waits::read(&replica.status().await) == *expected)
        .await;
}

/// Goes on waiting so, whatever is asked of the API server meanwhile.
async fn waits_on(replica: &Replica, expected: &Waits) {
    waits(replica, expected).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(Waits::read(&replica.status().await), *expected);
}

/// A sidecar of a service account of `shop`, which has the bundle and says that it runs in the pod `uid`.
async fn sidecar(
    replica: &Replica,
    (shop, account, uid): (&Namespace, &str, &str),
    clock: &Clock,
) -> (Subscriber, WorkloadIdentity) {
    let workload = format!("ns/{}/sa/{account}", shop.name);
    let identity = replica.identity(&workload, clock).await;
    (connected(replica, (&identity, uid), clock).await, identity)
}

async fn connected(
    replica: &Replica,
    (identity, uid): (&WorkloadIdentity, &str),
    clock: &Clock,
) -> Subscriber {
    let mut subscriber =
        Subscriber::connect_in_pod(&replica.plane, identity, (uid, clock)).await.unwrap();
    let update = subscriber.bundles().await;
    subscriber.accept(&update).await;
    subscriber
}

/// Waits until `replica` knows the pods of so many of its sidecars, and until it counts all that are connected anywhere.
async fn sees(replica: &Replica, pods: usize, connected: u64) {
    until(20, "pods are known", async || {
        let connected = replica.plane.fleet.connected();
        connected.iter().filter(|one| one.pod.is_some()).count() == pods
    })
    .await;
    until(20, "all have the bundle", async || {
        let status = replica.status().await;
        status["connected"] == connected && status["acknowledged"] == connected
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_root_waits_for_no_sidecar_whose_pod_is_over() {
    let _turn = turn().await;
    let shop = Namespace::with_resources("shop").await;
    for account in ["orders", "payments"] {
        shop.service_account(account).await;
    }
    let orders_pod = shop.pod("orders-0", "orders").await;
    let payments_pod = shop.pod("payments-0", "payments").await;
    let clock = Clock::manual(this_second());
    let more = format!("resources: {{ rootNamespace: {} }}\n", shop.name);
    let of_replica = config(&shop, &server().kubeconfig) + more.as_str();
    let one = Replica::start_of(&of_replica, &clock).await;
    let two = Replica::start_of(&of_replica, &clock).await;
    for replica in [&one, &two] {
        until(30, "the cluster is heard", async || replica.plane.ready.missing().is_empty()).await;
    }
    let (mut keeper, _) = sidecar(&one, (&shop, "web", ""), &clock).await;
    let (payments, _) = sidecar(&one, (&shop, "payments", &payments_pod), &clock).await;
    // Whatever it says, no pod of its service account is this one.
    let (batch, batch_identity) = sidecar(&one, (&shop, "batch", NO_POD), &clock).await;
    let (thief, thief_identity) = sidecar(&one, (&shop, "thief", &payments_pod), &clock).await;
    let (orders, _) = sidecar(&two, (&shop, "orders", &orders_pod), &clock).await;
    clock.advance(Duration::from_secs(61));
    sees(&one, 1, 5).await;
    sees(&two, 1, 5).await;
    drop((payments, batch, thief, orders));
    for replica in [&one, &two] {
        until(20, "they left", async || replica.status().await["connected"] == 1).await;
    }

    let begun = two.ca(&["rotate", "--no-wait"]).await;
    assert_eq!(begun["change"]["to"], 2, "{begun}");
    let new = keeper.bundles().await;
    keeper.accept(&new).await;
    let doubtful = [("batch", "notKnown"), ("thief", "notKnown")];
    let and = |more: &[(&'static str, &'static str)]| [&doubtful[..], more].concat();
    let all = Waits::publishing(&and(&[("orders", "there"), ("payments", "there")]), 0);
    waits_on(&one, &all).await;
    waits_on(&two, &all).await;

    // All containers of a pod have ended: who was connected to one replica is let go by both.
    shop.pod_phase("payments-0", "Succeeded").await;
    let less = Waits::publishing(&and(&[("orders", "there")]), 1);
    waits_on(&one, &less).await;
    waits_on(&two, &less).await;

    // What a replica left behind that ended counts as before. A pod of that name is not that pod.
    two.stop().await;
    until(20, "the other leads", async || one.leads().await).await;
    until(20, "the end is heard", async || Waits::read(&one.status().await).other).await;
    clock.advance(Duration::from_secs(61));
    waits_on(&one, &less).await;
    shop.delete_pod("orders-0").await;
    assert_ne!(shop.pod("orders-0", "orders").await, orders_pod);
    waits_on(&one, &Waits::publishing(&doubtful, 2)).await;

    // Those of whom nothing is known have to come back.
    let batch = connected(&one, (&batch_identity, NO_POD), &clock).await;
    waits_on(&one, &Waits::publishing(&doubtful[1..], 2)).await;
    let thief = connected(&one, (&thief_identity, NO_POD), &clock).await;
    until(20, "it goes on", async || one.status().await["change"]["step"] == "reissuing").await;
    assert_eq!(one.status().await["letGo"], 0, "nobody who left is waited for now");
    drop((batch, thief));
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_api_server_is_silent_a_sidecar_is_waited_for_whatever_became_of_its_pod() {
    let _turn = turn().await;
    let shop = Namespace::with_resources("shop").await;
    shop.service_account("orders").await;
    shop.service_account("control").await;
    // What the docs say is needed, and nothing else.
    shop.allow("control", documented_rules()).await;
    let token = shop.token("control", "https://kubernetes.default.svc", None).await;
    let proxy = Proxy::start(&token).await;
    let pod = shop.pod("orders-0", "orders").await;
    let clock = Clock::manual(this_second());
    let place = Directory::new();
    let more = format!(
        "operator: {{ listen: \"unix:operator.sock\" }}\n\
         kubernetes: {{ kubeconfig: {} }}\nresources: {{ rootNamespace: {} }}\n",
        proxy.kubeconfig.display(),
        shop.name
    );
    let plane = Plane::start_with(&place, &clock, "127.0.0.1:0", &more).await;
    let one = Replica { plane, place };
    until(30, "the cluster is heard", async || one.plane.ready.missing().is_empty()).await;
    let (mut keeper, _) = sidecar(&one, (&shop, "web", ""), &clock).await;
    let (orders, _) = sidecar(&one, (&shop, "orders", &pod), &clock).await;
    clock.advance(Duration::from_secs(61));
    sees(&one, 1, 2).await;
    drop(orders);
    until(20, "it left", async || one.status().await["connected"] == 1).await;
    one.ca(&["rotate", "--no-wait"]).await;
    let new = keeper.bundles().await;
    keeper.accept(&new).await;
    waits_on(&one, &Waits::publishing(&[("orders", "there")], 0)).await;

    proxy.down(true);
    shop.delete_pod("orders-0").await;
    waits_on(&one, &Waits::publishing(&[("orders", "notKnown")], 0)).await;
    proxy.down(false);
    until(40, "it goes on", async || one.status().await["change"]["step"] == "reissuing").await;
    drop(keeper);
    one.stop().await;
}
