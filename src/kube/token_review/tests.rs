use std::collections::BTreeMap;

use k8s_openapi::api::authentication::v1::UserInfo;

use super::*;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + seconds)
}

fn status(username: &str, extra: &[(&str, &[&str])]) -> TokenReviewStatus {
    let extra: BTreeMap<_, _> = extra
        .iter()
        .map(|(name, values)| {
            ((*name).to_owned(), values.iter().map(|v| (*v).to_owned()).collect())
        })
        .collect();
    TokenReviewStatus {
        audiences: Some(vec!["hopgate".to_owned()]),
        authenticated: Some(true),
        error: None,
        user: Some(UserInfo {
            username: Some(username.to_owned()),
            extra: Some(extra),
            ..UserInfo::default()
        }),
    }
}

const ORDERS: &str = "system:serviceaccount:shop:orders";

#[test]
fn an_answer_is_read_as_it_stands() {
    let read = Reviewed::read(status(ORDERS, &[(POD_NAME, &["orders-1"]), (POD_UID, &["u-1"])]));
    let account = Account { namespace: "shop".to_owned(), name: "orders".to_owned() };
    let bound = BoundPod { name: "orders-1".to_owned(), uid: "u-1".to_owned() };
    assert!(read.authenticated && read.pod.is_none() && read.error.is_none());
    assert_eq!((read.account, read.bound), (Some(account), Some(bound)));
    assert_eq!(read.audiences, ["hopgate"]);
}

#[test]
fn what_is_absent_or_odd_is_nothing() {
    let empty = Reviewed::read(TokenReviewStatus::default());
    assert!(!empty.authenticated && empty.audiences.is_empty() && empty.account.is_none());
    for username in [
        "",
        "admin",
        "system:node:one",
        "system:serviceaccount:shop",
        "system:serviceaccount::orders",
        "system:serviceaccount:shop:",
        "system:serviceaccount:shop:orders:more",
        "system:serviceaccount:../kube-system:orders",
        "system:serviceaccount:shop:or/ders",
        "x:system:serviceaccount:shop:orders",
    ] {
        assert_eq!(Reviewed::read(status(username, &[])).account, None, "{username}");
    }
    for extra in [
        &[][..],
        &[(POD_NAME, &["a"][..])],
        &[(POD_UID, &["u"])],
        &[(POD_NAME, &["a", "b"]), (POD_UID, &["u"])],
        &[(POD_NAME, &["a"]), (POD_UID, &["u", "v"])],
        &[(POD_NAME, &[]), (POD_UID, &["u"])],
        &[(POD_NAME, &["a"]), (POD_UID, &[""])],
        &[(POD_NAME, &["../a"]), (POD_UID, &["u"])],
    ] {
        assert_eq!(Reviewed::read(status(ORDERS, extra)).bound, None, "{extra:?}");
    }
}

#[test]
fn a_pod_ends_when_it_is_deleted_or_has_ended() {
    let pod = |json: serde_json::Value| {
        let pod: Pod = serde_json::from_value(json).unwrap();
        LivePod::read(&pod)
    };
    let live = pod(serde_json::json!({
        "metadata": { "uid": "u" }, "spec": { "serviceAccountName": "orders", "containers": [] },
        "status": { "phase": "Pending" },
    }));
    assert_eq!(
        live,
        LivePod { uid: "u".to_owned(), service_account: "orders".to_owned(), ending: false }
    );
    for phase in ["Succeeded", "Failed"] {
        assert!(pod(serde_json::json!({ "status": { "phase": phase } })).ending);
    }
    let deleted =
        serde_json::json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } });
    assert!(pod(deleted).ending);
}

#[test]
fn only_a_live_pod_is_remembered_and_never_past_the_tokens_end() {
    let token = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
    let long = token(r#"{"exp":1790003600}"#);
    let ten = Duration::from_secs(10);
    let mut live = Reviewed::read(status(ORDERS, &[]));
    live.pod =
        Some(LivePod { uid: "u".to_owned(), service_account: "s".to_owned(), ending: false });
    let until = |reviewed: &Reviewed, token: &str| believed(Ok(reviewed), token, (at(0), ten));
    assert_eq!(until(&live, &long), at(10));
    assert_eq!(until(&live, &token(r#"{"exp":1790000003}"#)), at(3));
    assert!(until(&live, &token(r#"{"exp":1789999999}"#)) <= at(0));
    for odd in ["", "a", "a.b.c", &token("{}"), &token(r#"{"exp":"1790003600"}"#)] {
        assert_eq!(until(&live, odd), at(0), "{odd}");
    }
    let mut ending = live.clone();
    ending.pod.as_mut().unwrap().ending = true;
    let mut unknown = live.clone();
    unknown.authenticated = false;
    let mut absent = live.clone();
    absent.pod = None;
    for negative in [ending, unknown, absent] {
        assert_eq!(until(&negative, &long), at(0), "{negative:?}");
    }
    assert_eq!(believed(Err(&ReviewError::NoStatus), &long, (at(0), ten)), at(0));
}
