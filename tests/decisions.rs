//! The last decisions of a running sidecar, on its admin pages, and what records say of callers.

use hopgate::policy::yaml;
use serde_json::Value;

use crate::support::ask::{self, Sidecar};

const OPEN: &str = "apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: orders, namespace: shop }\n\
    spec: { rules: [ { name: open, allow: { requests: [ { paths: [\"/open\"] } ] } } ] }\n";

#[tokio::test]
async fn a_decision_is_found_by_its_request_id_and_holds_no_credential() {
    let mut sidecar = Sidecar::start("decisions", &[("orders.yaml", OPEN)]).await;
    for (path, id) in [("/open", "first"), ("/closed", "second"), ("/open", "third")] {
        let headers = [
            ("x-request-id", id),
            ("authorization", "Bearer top.secret.token"),
            ("cookie", "c=secret"),
        ];
        sidecar.ask(ask::get(path, &headers[..if id == "first" { 1 } else { 3 }])).await;
    }
    let decisions = |text: &str| -> Vec<Value> {
        assert!(!text.contains("secret"), "{text}");
        let page: Value = serde_json::from_str(text).unwrap();
        page["decisions"].as_array().unwrap().clone()
    };
    let (status, text) = sidecar.page("/decisions?request_id=second").await;
    assert_eq!(status, 200);
    let found = decisions(&text);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["request.path"], "/closed");
    assert_eq!(found[0]["decision"], "deny");

    let all = decisions(&sidecar.page("/decisions").await.1);
    let ids: Vec<&str> = all.iter().map(|one| one["request.id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["first", "second", "third"]);
    assert_eq!(decisions(&sidecar.page("/decisions?limit=1").await.1)[0]["request.id"], "third");
    assert!(decisions(&sidecar.page("/decisions?request_id=other").await.1).is_empty());
    assert_eq!(sidecar.page("/decisions?reqest_id=second").await.0, 400, "a typing mistake");
    sidecar.stop().await;
}

#[test]
fn callers_are_recorded_in_detail_only_where_that_is_asked_for() {
    let log = |text: &str| yaml::parse_one::<hopgate::sidecar::DecisionLogConfig>("log", text);
    let of = |text| format!("{:?}", log(text).unwrap().caller_attributes);
    assert_eq!(of("path: decisions.log"), "Omit");
    assert_eq!(of("callerAttributes: Record"), "Record");
    assert!(log("callerAttributes: Claims").is_err());
}
