//! Service-account tokens before a real API server.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hopgate::kube::{
    Account, BoundPod, Cluster, Config, Limits, LivePod, ReviewError, Reviewed, TokenReviewer,
};
use hopgate::runtime::Clock;
use serde_json::json;
use zeroize::Zeroizing;

use crate::support::Scratch;
use crate::support::kube::{Namespace, server};

const AUDIENCE: &str = "hopgate";

async fn reviewer(limits: Limits, clock: &Clock) -> TokenReviewer {
    let config = Config { kubeconfig: Some(server().kubeconfig.clone()) };
    let cluster = Cluster::connect(&config, clock).await.unwrap();
    TokenReviewer::new(cluster, AUDIENCE, limits, clock.clone())
}

async fn review(reviewer: &TokenReviewer, token: &str) -> Arc<Reviewed> {
    reviewer.review(Zeroizing::new(token.to_owned())).await.unwrap()
}

/// A kubeconfig in a file.
async fn reviewer_of(kubeconfig: &str, limits: Limits) -> TokenReviewer {
    let scratch = Scratch::new("kubeconfig");
    let path = scratch.write("config", kubeconfig);
    let config = Config { kubeconfig: Some(path) };
    let clock = Clock::system();
    let cluster = Cluster::connect(&config, &clock).await.unwrap();
    TokenReviewer::new(cluster, AUDIENCE, limits, clock)
}

#[tokio::test]
async fn a_bound_token_and_its_live_pod_are_learned() {
    let shop = Namespace::new("shop").await;
    shop.service_account("orders").await;
    let uid = shop.pod("orders-1", "orders").await;
    let token = shop.token("orders", AUDIENCE, Some(("orders-1", &uid))).await;
    let reviewer = reviewer(Limits::default(), &Clock::system()).await;
    let learned = review(&reviewer, &token).await;
    let expected = Reviewed {
        authenticated: true,
        audiences: vec![AUDIENCE.to_owned()],
        account: Some(Account { namespace: shop.name.clone(), name: "orders".to_owned() }),
        bound: Some(BoundPod { name: "orders-1".to_owned(), uid: uid.clone() }),
        pod: Some(LivePod { uid, service_account: "orders".to_owned(), ending: false }),
        error: None,
    };
    assert_eq!(*learned, expected);
}

#[tokio::test]
async fn what_is_wrong_with_a_token_is_learned() {
    let shop = Namespace::new("shop").await;
    shop.service_account("orders").await;
    let uid = shop.pod("orders-1", "orders").await;
    let pod = Some(("orders-1", uid.as_str()));
    let reviewer = reviewer(Limits::default(), &Clock::system()).await;

    let elsewhere = shop.token("orders", "elsewhere", pod).await;
    let learned = review(&reviewer, &elsewhere).await;
    assert!(!learned.authenticated && learned.pod.is_none(), "{learned:?}");
    let cluster = shop.token("orders", "https://kubernetes.default.svc", pod).await;
    let learned = review(&reviewer, &cluster).await;
    assert!(!learned.authenticated && learned.pod.is_none(), "{learned:?}");

    let unbound = shop.token("orders", AUDIENCE, None).await;
    let learned = review(&reviewer, &unbound).await;
    assert!(learned.authenticated && learned.bound.is_none() && learned.pod.is_none());

    let good = shop.token("orders", AUDIENCE, pod).await;
    let (head, _) = good.rsplit_once('.').unwrap();
    for garbage in ["", "a.b.c", &format!("{head}.AAAA"), &"a".repeat(20_000)] {
        let learned = review(&reviewer, garbage).await;
        assert!(!learned.authenticated && learned.account.is_none(), "{garbage}: {learned:?}");
        assert!(learned.error.is_some());
    }

    shop.begin_to_delete_pod("orders-1").await;
    let learned = review(&reviewer, &good).await;
    assert!(learned.pod.as_ref().is_none_or(|pod| pod.ending), "{learned:?}");

    let uid = shop.pod("orders-2", "orders").await;
    let token = shop.token("orders", AUDIENCE, Some(("orders-2", &uid))).await;
    shop.pod_phase("orders-2", "Succeeded").await;
    let learned = review(&reviewer, &token).await;
    assert!(learned.pod.as_ref().is_none_or(|pod| pod.ending), "{learned:?}");

    // A new pod of the same name is not the pod of the old token.
    let old = shop.pod("orders-3", "orders").await;
    let token = shop.token("orders", AUDIENCE, Some(("orders-3", &old))).await;
    shop.delete_pod("orders-3").await;
    let new = shop.pod("orders-3", "orders").await;
    assert_ne!(old, new);
    let learned = review(&reviewer, &token).await;
    assert!(learned.pod.as_ref().is_none_or(|pod| pod.uid != old), "{learned:?}");
}

#[tokio::test]
async fn an_answer_is_used_again_for_moments_only() {
    let shop = Namespace::new("shop").await;
    shop.service_account("orders").await;
    let uid = shop.pod("orders-1", "orders").await;
    let token = shop.token("orders", AUDIENCE, Some(("orders-1", &uid))).await;
    let clock = Clock::manual(SystemTime::now());
    let reviewer = reviewer(Limits::default(), &clock).await;
    // Of many who ask at once, one is answered by the API server.
    let (one, two) = tokio::join!(review(&reviewer, &token), review(&reviewer, &token));
    assert_eq!(one, two);
    assert_eq!(reviewer.counts().asked, 1);
    shop.delete_pod("orders-1").await;
    clock.advance(Limits::default().remember - Duration::from_secs(1));
    assert!(review(&reviewer, &token).await.pod.is_some(), "as documented");
    assert_eq!(reviewer.counts().asked, 1);
    clock.advance(Duration::from_secs(1));
    let learned = review(&reviewer, &token).await;
    assert!(learned.pod.is_none(), "{learned:?}");
    assert_eq!(reviewer.counts().asked, 2);
    // A refusal is not remembered.
    review(&reviewer, &token).await;
    assert_eq!(reviewer.counts().asked, 3);
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_says_nothing() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = crate::support::opa::free_port();
    let kubeconfig = |port: u16| {
        let ca = server().ca_file.display().to_string();
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "c", "cluster": {
                "server": format!("https://127.0.0.1:{port}"), "certificate-authority": ca } }],
            "users": [{ "name": "c", "user": { "token": "abc" } }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "c" } }],
        })
        .to_string()
    };
    let limits = Limits { deadline: Duration::from_millis(300), ..Limits::default() };
    let token = || Zeroizing::new("a.b.c".to_owned());
    let slow = reviewer_of(&kubeconfig(silent.local_addr().unwrap().port()), limits).await;
    assert!(matches!(slow.review(token()).await, Err(ReviewError::TimedOut(_))));
    let down = reviewer_of(&kubeconfig(closed), Limits::default()).await;
    for _ in 0..5 {
        let error = down.review(token()).await.unwrap_err();
        assert_eq!(error.code(), "unreachable", "{error}");
    }
    let error = down.review(token()).await.unwrap_err();
    assert!(matches!(error, ReviewError::Resting), "{error}");
}

#[tokio::test]
async fn another_server_in_its_place_is_not_believed() {
    let shop = Namespace::new("shop").await;
    let stranger = rcgen::KeyPair::generate().unwrap();
    let stranger = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&stranger);
    let scratch = Scratch::new("roots");
    let roots = scratch.write("roots.pem", &stranger.unwrap().pem());
    let text = std::fs::read_to_string(&server().kubeconfig).unwrap();
    shop.service_account("control").await;
    let own = shop.kubeconfig("control").await;
    assert!(text.contains("admin"));
    let other = own.replace(&*server().ca_file.to_string_lossy(), &roots.to_string_lossy());
    assert_ne!(own, other);
    let reviewer = reviewer_of(&other, Limits::default()).await;
    let error = reviewer.review(Zeroizing::new("a.b.c".to_owned())).await.unwrap_err();
    assert_eq!(error.code(), "unreachable", "{error}");
}

#[tokio::test]
async fn two_rights_are_enough_and_both_are_needed() {
    let shop = Namespace::new("shop").await;
    shop.service_account("orders").await;
    let uid = shop.pod("orders-1", "orders").await;
    let token = shop.token("orders", AUDIENCE, Some(("orders-1", &uid))).await;
    let reviews = json!({
        "apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"],
    });
    let pods = json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] });
    for (account, rules, works) in [
        ("both", json!([reviews, pods]), true),
        ("reviews", json!([reviews]), false),
        ("pods", json!([pods]), false),
    ] {
        shop.service_account(account).await;
        shop.allow(account, rules).await;
        let kubeconfig = shop.kubeconfig(account).await;
        let reviewer = reviewer_of(&kubeconfig, Limits::default()).await;
        // The API server's own caches of rights are a moment behind.
        let mut answer = reviewer.review(Zeroizing::new(token.clone())).await;
        for _ in 0..50 {
            if answer.is_ok() == works {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            answer = reviewer.review(Zeroizing::new(token.clone())).await;
        }
        match answer {
            Ok(learned) => assert!(works && learned.pod.is_some(), "{account}: {learned:?}"),
            Err(error) => {
                assert!(!works, "{account}: {error:?}");
                assert_eq!(error.code(), "refused");
            }
        }
    }
}
