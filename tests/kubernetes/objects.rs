//! One Secret or ConfigMap that is read, made and replaced by version.

use hopgate::kube::{
    Cluster, Config, Object, ObjectError, ObjectName, ObjectVersion, Patience, Values,
};
use hopgate::runtime::Clock;
use hyper::Method;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use zeroize::Zeroizing;

use crate::support::kube::{Namespace, server};
use crate::support::kube_proxy::{Fault, Proxy};

fn values(text: &str) -> Values {
    [("a".to_owned(), Zeroizing::new(text.to_owned()))].into()
}

async fn object(shop: &Namespace, kubeconfig: &std::path::Path) -> Object<Secret> {
    let config = Config { kubeconfig: Some(kubeconfig.to_path_buf()) };
    let cluster = Cluster::connect(&config, &Clock::system()).await.unwrap();
    let name = ObjectName { namespace: Some(shop.name.clone()), name: "kept".to_owned() };
    Object::new(&cluster, &name, Patience::default())
}

#[tokio::test]
async fn of_two_writers_one_is_told() {
    let shop = Namespace::new("shop").await;
    let object = object(&shop, &server().kubeconfig).await;
    assert!(object.read().await.unwrap().is_none());
    let first = object.create(&values("1")).await.unwrap();
    assert!(matches!(object.create(&values("x")).await, Err(ObjectError::Exists(_))));
    // What others say of it is kept, and makes another version.
    let secrets: Api<Secret> = shop.api();
    let label = json!({ "metadata": { "annotations": { "example.com/team": "platform" } } });
    secrets.patch("kept", &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
    let lost = object.replace(&values("2"), &first).await;
    assert!(matches!(lost, Err(ObjectError::Conflict(_))));
    let held = object.read().await.unwrap().unwrap();
    assert_eq!(held.values, values("1"));
    let second = object.replace(&values("2"), &held.version).await.unwrap();
    assert_ne!(second, held.version);
    let shown = secrets.get("kept").await.unwrap();
    assert!(shown.metadata.annotations.unwrap().contains_key("example.com/team"));
    assert_eq!(shown.metadata.labels.unwrap()["app.kubernetes.io/managed-by"], "hopgate");

    secrets.delete("kept", &DeleteParams::default()).await.unwrap();
    assert!(matches!(object.replace(&values("3"), &second).await, Err(ObjectError::Gone(_))));
    assert!(object.read().await.unwrap().is_none(), "it is not made again");
    // Another object of the same name is another object.
    object.create(&values("4")).await.unwrap();
    let other = object.replace(&values("5"), &second).await;
    assert!(matches!(other, Err(ObjectError::Conflict(_))));
    let stranger = object.replace(&values("5"), &ObjectVersion::of("")).await;
    assert!(matches!(stranger, Err(ObjectError::Conflict(_))));
}

#[tokio::test]
async fn what_cannot_be_held_is_refused_by_name() {
    let shop = Namespace::new("shop").await;
    let object = object(&shop, &server().kubeconfig).await;
    let large = object.create(&values(&"x".repeat(1024 * 1024 + 1))).await;
    assert!(matches!(large, Err(ObjectError::TooLarge { .. })));
    let bytes = json!({ "metadata": { "name": "kept" }, "data": { "b": "/w==" } });
    let secrets: Api<Secret> = shop.api();
    let bytes: Secret = serde_json::from_value(bytes).unwrap();
    secrets.create(&PostParams::default(), &bytes).await.unwrap();
    let error = object.read().await.err().unwrap().to_string();
    assert_eq!(error, format!("b of Secret {}/kept is not UTF-8 text", shop.name));
    shop.service_account("powerless").await;
    let scratch = crate::support::Scratch::new("kubeconfig");
    let powerless = scratch.write("config", &shop.kubeconfig("powerless").await);
    let error = self::object(&shop, &powerless).await.read().await.err().unwrap().to_string();
    assert!(error.contains("does not show Secret"), "{error}");
}

#[tokio::test]
async fn an_api_server_in_trouble_says_nothing() {
    let shop = Namespace::new("shop").await;
    shop.service_account("control").await;
    let rules =
        json!([{ "apiGroups": [""], "resources": ["secrets", "configmaps"], "verbs": ["*"] }]);
    shop.allow("control", rules).await;
    let token = shop.token("control", "https://kubernetes.default.svc", None).await;
    let proxy = Proxy::start(&token).await;
    let object = object(&shop, &proxy.kubeconfig).await;
    while object.read().await.is_err() {}
    for fault in [Fault::Status(429), Fault::Status(503), Fault::Broken, Fault::AnswerLost] {
        proxy.plan(Method::GET, "/secrets/", fault);
    }
    assert!(object.read().await.unwrap().is_none(), "an answer at last");
    assert!(proxy.is_played());
    // A write whose answer was lost was carried out, and is not taken for another's.
    proxy.plan(Method::POST, "/secrets", Fault::AnswerLost);
    let first = object.create(&values("1")).await.unwrap();
    assert_eq!(object.read().await.unwrap().unwrap().version, first);
    for fault in [Fault::Status(429), Fault::Broken, Fault::AnswerLost] {
        proxy.plan(Method::PUT, "/secrets/", fault);
    }
    let second = object.replace(&values("2"), &first).await.unwrap();
    assert!(proxy.is_played());
    let held = object.read().await.unwrap().unwrap();
    assert_eq!((held.values, held.version), (values("2"), second));
}

/// A ConfigMap is held in the same way.
#[tokio::test]
async fn a_config_map_holds_text() {
    let shop = Namespace::new("shop").await;
    let config = Config { kubeconfig: Some(server().kubeconfig.clone()) };
    let cluster = Cluster::connect(&config, &Clock::system()).await.unwrap();
    let name = ObjectName { namespace: Some(shop.name.clone()), name: "kept".to_owned() };
    let map: Object<ConfigMap> = Object::new(&cluster, &name, Patience::default());
    let version = map.create(&values("one")).await.unwrap();
    map.replace(&values("two"), &version).await.unwrap();
    let maps: Api<ConfigMap> = shop.api();
    assert_eq!(maps.get("kept").await.unwrap().data.unwrap()["a"], "two");
    assert_eq!(map.place(), format!("ConfigMap {}/kept", shop.name));
}
