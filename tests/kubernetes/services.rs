//! Services of the cluster become the configuration of the Envoys that may call them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use hopgate::runtime::Address;
use hopgate::xds::envoy::{CLUSTER_TYPE, LISTENER_TYPE};
use hopgate::xds::{Follower, Subscription};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::resources::World;
use crate::certificates::parts::Directory;
use crate::support::ask::channel;
use crate::support::envoy::eventually;
use crate::support::kube::Namespace;

const CAPTURE: &str = "sds: { listen: \"unix:xds.sock\" }\ncapture:\n  admin: \"unix:envoy.sock\"\n  \
    addresses: [10.1.0.9]\n  services: { control: {} }\n";

/// A pod with a gate, as injection makes it, at an address.
async fn guarded_pod(namespace: &Namespace, name: &str, address: &str) -> String {
    let image = "example.invalid/x:1";
    let pod = json!({
        "metadata": { "name": name },
        "spec": {
            "serviceAccountName": "orders",
            "containers": [{ "name": "app", "image": image }],
            "initContainers": [
                { "name": "hopgate-capture", "image": image, "args": ["capture", "up"] },
                { "name": "hopgate", "image": image, "restartPolicy": "Always" },
                { "name": "envoy", "image": image, "restartPolicy": "Always" },
            ],
        },
    });
    let pods: Api<core::Pod> = namespace.api();
    let made = pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await;
    let status = json!({ "status": { "podIP": address, "podIPs": [{ "ip": address }] } });
    pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    made.unwrap().metadata.uid.unwrap()
}

/// The endpoints of the service `orders`, as its controller writes them.
async fn endpoints(namespace: &Namespace, at: &[(&str, &str)]) {
    let each: Vec<Value> = at
        .iter()
        .map(|(address, uid)| {
            json!({
                "addresses": [address],
                "conditions": { "ready": true },
                "targetRef": { "kind": "Pod", "name": "orders", "namespace": namespace.name, "uid": uid },
            })
        })
        .collect();
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": { "name": "orders-1", "labels": { "kubernetes.io/service-name": "orders" } },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
        "endpoints": each,
    });
    let slices: Api<EndpointSlice> = namespace.api();
    let ours = PatchParams::apply("test").force();
    slices.patch("orders-1", &ours, &Patch::Apply(slice)).await.unwrap();
}

/// What an Envoy is told of one type: names, with what stands in each.
async fn told(socket: &Address, type_url: &'static str) -> BTreeMap<String, String> {
    let mut follower = Follower::new([type_url]);
    let node = Node { id: "test".to_owned(), cluster: "test".to_owned(), ..Node::default() };
    let Ok(mut stream) = Subscription::open(channel(socket), follower.begin(&node)).await else {
        return BTreeMap::new();
    };
    let mut all = BTreeMap::new();
    let quiet = Duration::from_millis(300);
    while let Ok(Ok(Some(answer))) = tokio::time::timeout(quiet, stream.next()).await {
        let update = follower.read(answer).unwrap();
        for resource in &update.resources {
            let text = String::from_utf8_lossy(&resource.content).into_owned();
            all.insert(resource.name.clone(), text);
        }
        let said = follower.accept(&update);
        stream.say(said).await.unwrap();
    }
    all
}

#[tokio::test]
async fn a_service_is_told_with_those_who_may_answer_and_nobody_else() {
    let world = World::new().await;
    world.heard().await;
    let (one, other) = (
        guarded_pod(&world.shop, "orders-1", "10.1.0.1").await,
        world.shop.pod("plain-1", "orders").await,
    );
    let service = json!({
        "metadata": { "name": "orders" },
        "spec": { "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] },
    });
    let services: Api<core::Service> = world.shop.api();
    let service = serde_json::from_value(service).unwrap();
    let made = services.create(&PostParams::default(), &service).await.unwrap();
    let address = made.spec.unwrap().cluster_ip.unwrap();
    // No pod of it has a gate yet.
    endpoints(&world.shop, &[("10.1.0.2", &other)]).await;

    let uid = world.shop.pod_labelled("caller-1", "orders", "caller").await;
    let sidecar = world.sidecar_with(Directory::new(), &uid, CAPTURE).await;
    let socket = Address::Unix(sidecar.directory.path("xds.sock"));
    let cluster = format!("out|80|orders.{}", world.shop.name);
    // A configuration comes as soon as it is known which services there are.
    let whole = async || told(&socket, CLUSTER_TYPE).await.contains_key("app");
    assert!(
        eventually(whole).await,
        "{}",
        crate::support::ask::page(&sidecar.admin, "/config").await.1
    );
    assert!(!told(&socket, CLUSTER_TYPE).await.contains_key(&cluster), "it is no part of the mesh");

    endpoints(&world.shop, &[("10.1.0.1", &one), ("10.1.0.2", &other)]).await;
    let there = async || told(&socket, CLUSTER_TYPE).await.contains_key(&cluster);
    assert!(eventually(there).await);
    let content = told(&socket, CLUSTER_TYPE).await.remove(&cluster).unwrap();
    let id = format!("spiffe://demo.mesh/ns/{}/sa/orders", world.shop.name);
    assert!(content.contains(&id), "{content}");
    assert!(content.contains("10.1.0.2:8080"), "one of its pods takes plaintext only: {content}");
    drop(address);

    // The endpoints go, and it with them.
    endpoints(&world.shop, &[]).await;
    let gone = async || !told(&socket, CLUSTER_TYPE).await.contains_key(&cluster);
    assert!(eventually(gone).await);

    // The pod itself is behind it: the port to which it leads is open.
    let own = guarded_pod(&world.shop, "own-1", "10.1.0.9").await;
    endpoints(&world.shop, &[("10.1.0.9", &own)]).await;
    let names: BTreeSet<String> = told(&socket, LISTENER_TYPE).await.into_keys().collect();
    assert!(names.is_empty(), "listeners wait until clusters are asked for: {names:?}");
    let open = async || told(&socket, CLUSTER_TYPE).await.contains_key("own|http");
    assert!(eventually(open).await);
    sidecar.stop().await;
    world.stop().await;
}
