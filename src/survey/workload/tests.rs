//! What is shown of pods, for what was seen of them.

use serde_json::json;

use super::*;
use crate::kube::NotSeen;

const NOW: u64 = 1_790_000_000;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn pod(change: impl FnOnce(&mut Value)) -> SeenPod {
    let mut pod = json!({
        "metadata": { "name": "orders-1", "namespace": "shop", "uid": "u",
            "annotations": { "hopgate.dev/injected": "{\"revision\":\"default\",\"version\":\"0.1.0\"}" } },
        "spec": {
            "nodeName": "n",
            "containers": [{ "name": "app" }],
            "initContainers": [
                { "name": "hopgate-capture" },
                { "name": "hopgate", "restartPolicy": "Always" },
                { "name": "envoy", "restartPolicy": "Always" },
            ],
        },
        "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] },
    });
    change(&mut pod);
    let labels = [("hopgate.dev/inject".to_owned(), "enabled".to_owned())].into();
    SeenPod::read(pod, &[("shop".to_owned(), labels)].into()).unwrap()
}

fn fleet(policies: &Value, refused: &Value) -> Fleet {
    Fleet::of([&Ok(json!({ "connected": 1, "sidecars": [{
        "id": "spiffe://demo.mesh/ns/shop/sa/orders", "version": "0.1.1", "podUid": "u",
        "policies": policies, "refused": refused,
    }] }))])
}

fn good() -> Fleet {
    fleet(&json!({ "told": 2, "running": 2 }), &json!([]))
}

fn look(at: u64, more: &str) -> Seen<Look> {
    let text = format!(
        "hopgate_certs_start_timestamp_seconds {}\nhopgate_certs_expiry_timestamp_seconds {}\n\
         hopgate_authz_snapshot{{revision=\"abc\"}} 1\nhopgate_revocation_known 1\n{more}",
        NOW - 600,
        NOW + 3000,
    );
    Ok(Look { metrics: Metrics::read(&text), clocks: None, at: Duration::from_secs(at) })
}

fn told(pod: &SeenPod, fleet: &Fleet, last: &Seen<Look>) -> Workload {
    Workload::of(pod, fleet, (&look(0, ""), last), at(NOW)).unwrap()
}

#[test]
fn a_sidecar_that_was_asked_for_no_certificate_lacks_none() {
    let problems = |certificate: Value| {
        let page = json!({ "version": "0.1.0", "certificate": certificate });
        Workload::alone(&page, ("", ""), Duration::from_secs(1), at(NOW)).problems
    };
    assert_eq!(problems(Value::Null), Vec::<String>::new());
    let asked = problems(json!({ "id": null }));
    assert!(
        asked.iter().any(|one| one.contains("until when its certificate is good")),
        "{asked:?}"
    );
}

#[test]
fn a_pod_that_is_well_has_no_problem() {
    let checks = |allowed: u32, refused: u32| {
        format!(
            "hopgate_authz_checks_total{{decision=\"allow\",code=\"allow\"}} {allowed}\n\
             hopgate_authz_checks_total{{decision=\"deny\",code=\"no_rule\"}} {refused}\n"
        )
    };
    let looks = (look(10, &checks(100, 7)), look(14, &checks(140, 9)));
    let seen = Workload::of(&pod(|_| ()), &good(), (&looks.0, &looks.1), at(NOW)).unwrap();
    assert_eq!(seen.problems, Vec::<String>::new());
    assert_eq!(seen.id.as_deref(), Some("spiffe://demo.mesh/ns/shop/sa/orders"));
    assert_eq!(seen.certificate, Some(Life { age_seconds: 600, left_seconds: 3000 }));
    assert_eq!(seen.revision.as_deref(), Some("abc"));
    assert_eq!(seen.policies, Some(Programmed { told: 2, running: 2 }));
    assert_eq!(seen.gate.unwrap().version, "0.1.1", "what runs, not what was injected");
    let rates = seen.decisions.unwrap();
    assert_eq!((rates.per_second, rates.refused_per_second), (10.5, 0.5));
    assert_eq!(rates.refused, [("no_rule".to_owned(), 0.5)]);
    assert_eq!(rates.refused_in_all, 9.0);

    // Nothing was decided yet: that is known, and is none.
    let idle = Workload::of(&pod(|_| ()), &good(), (&look(0, ""), &look(2, "")), at(NOW)).unwrap();
    assert_eq!(idle.decisions.unwrap().per_second, 0.0);
    // It started anew between the looks.
    let anew = Workload::of(&pod(|_| ()), &good(), (&looks.1, &look(20, "")), at(NOW)).unwrap();
    assert_eq!(anew.decisions, None);
}

#[test]
fn each_problem_is_said() {
    let whole = Fleet::of([&Ok(json!({ "connected": 0, "sidecars": [] }))]);
    let partly = Fleet::of([&Err(NotSeen::Unreached("gone".to_owned()))]);
    let lagging = fleet(&json!({ "told": 2, "running": 1 }), &json!([]));
    let refused = json!([{ "type": "t", "name": "AccessPolicy shop/a", "reason": "no file" }]);
    let refusing = fleet(&json!({ "told": 2, "running": 1 }), &refused);
    let problems = |pod: &SeenPod, fleet: &Fleet, last: &Seen<Look>| {
        told(pod, fleet, last).problems.join("; ")
    };
    let (well, fine) = (pod(|_| ()), look(2, ""));
    for (expected, said) in [
        ("connected to no control plane", problems(&well, &whole, &fine)),
        ("runs 1 of 2", problems(&well, &lagging, &fine)),
        ("refuses AccessPolicy shop/a: no file", problems(&well, &refusing, &fine)),
        ("is not ready", problems(&pod(|pod| pod["status"] = json!({})), &good(), &fine)),
        (
            "no node has it",
            problems(&pod(|pod| pod["spec"]["nodeName"] = Value::Null), &good(), &fine),
        ),
        (
            "should have one",
            problems(&pod(|pod| pod["spec"]["initContainers"] = json!([])), &good(), &fine),
        ),
        ("is revoked", problems(&well, &good(), &look(2, "hopgate_revocation_own 1\n"))),
        (
            "last good ones",
            problems(&well, &good(), &look(2, "hopgate_sidecar_resources_stale 1\n")),
        ),
        (
            "lost 3 decision",
            problems(&well, &good(), &look(2, "hopgate_decision_log_lost_total 3\n")),
        ),
        (
            "not reached: gone",
            problems(&well, &good(), &Err(NotSeen::Unreached("gone".to_owned()))),
        ),
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let outside = json!({ "id": "spiffe://demo.mesh/ns/vm/sa/db", "version": "0.1.0",
        "policies": { "told": 1, "running": 0 } });
    let seen = Workload::outside(&outside, Some("vm")).unwrap();
    assert_eq!((seen.namespace.as_str(), seen.problems.len()), ("vm", 1));
    assert_eq!(Workload::outside(&outside, Some("shop")), None);
    // Where not every control plane was asked, nobody is called unconnected.
    assert_eq!(problems(&well, &partly, &fine), "");
    let certificate = |start: u64, end: u64| {
        let text = format!(
            "hopgate_certs_start_timestamp_seconds {start}\nhopgate_certs_expiry_timestamp_seconds {end}\n"
        );
        problems(
            &well,
            &good(),
            &Ok(Look { metrics: Metrics::read(&text), clocks: None, at: Duration::ZERO }),
        )
    };
    assert!(certificate(0, 0).contains("has no certificate"));
    assert!(certificate(NOW - 3600, NOW - 1).contains("is over"));
    assert!(certificate(NOW - 3300, NOW + 300).contains("is not renewed, and ends in 300 s"));
    assert_eq!(certificate(NOW - 1800, NOW + 1800), "");
}
