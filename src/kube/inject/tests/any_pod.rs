//! What holds for every pod.

use proptest::prelude::*;

use super::*;

/// Pods as the API server takes them, with whatever may stand in them beside.
fn any_pod() -> impl Strategy<Value = Value> {
    let port = prop_oneof![(1_u16..15000).prop_map(|port| json!(port)), Just(json!("http"))];
    let handler = prop_oneof![
        port.clone().prop_map(|port| json!({ "httpGet": { "path": "/a$b", "port": port } })),
        port.prop_map(|port| json!({ "tcpSocket": { "port": port } })),
        (1_u16..15000).prop_map(|port| json!({ "grpc": { "port": port } })),
        Just(json!({ "exec": { "command": ["a"] } })),
        Just(json!({ "httpGet": { "port": 80, "host": "elsewhere" } })),
    ];
    let probe = proptest::option::of(handler);
    let container = (probe.clone(), probe.clone(), probe, any::<bool>()).prop_map(
        |(live, ready, stop, known)| {
            let mut container =
                json!({ "image": "a", "ports": [{ "name": "http", "containerPort": 80 }] });
            let fields = [("livenessProbe", live), ("readinessProbe", ready)];
            for (name, probe) in fields {
                if let Some(probe) = probe {
                    container[name] = probe;
                }
            }
            match stop {
                Some(stop) if stop.get("grpc").is_none() => {
                    container["lifecycle"] = json!({ "preStop": stop })
                }
                Some(_) => container["lifecycle"] = Value::Null,
                None => {}
            }
            if known {
                container["aFieldOfTomorrow"] = json!({ "x": [1, 2.5, null] });
            }
            container
        },
    );
    let list = proptest::collection::vec(container, 1..4).prop_map(|mut containers| {
        for (number, container) in containers.iter_mut().enumerate() {
            container["name"] = json!(format!("c{number}"));
        }
        containers
    });
    let init = proptest::collection::vec(any::<bool>(), 0..3).prop_map(|restarts| {
        let mut containers = Vec::new();
        for (number, restarts) in restarts.into_iter().enumerate() {
            let mut container = json!({ "name": format!("i{number}") });
            if restarts {
                container["restartPolicy"] = json!("Always");
            }
            containers.push(container);
        }
        containers
    });
    let policy = prop_oneof![Just(None), Just(Some("Always")), Just(Some("Never"))];
    (list, init, policy, any::<[bool; 3]>()).prop_map(
        |(containers, init, policy, [null, meta, volumes])| {
            let mut pod =
                json!({ "spec": { "containers": containers, "unknown": [true] }, "status": {} });
            if !init.is_empty() {
                pod["spec"]["initContainers"] = json!(init);
            } else if null {
                pod["spec"]["initContainers"] = Value::Null;
            }
            if let Some(policy) = policy {
                pod["spec"]["restartPolicy"] = json!(policy);
            }
            pod["metadata"] = if meta {
                json!({ "labels": { "app": "a$(B)" }, "annotations": null })
            } else {
                json!({})
            };
            if volumes {
                pod["spec"]["volumes"] = json!([{ "name": "data", "emptyDir": {} }]);
            }
            pod
        },
    )
}

proptest! {
    /// Twice is once; what is the pod's own stays, but for its probes and hooks; and the sidecar's table holds exactly those.
    #[test]
    fn injecting_twice_changes_nothing_and_nothing_is_lost(pod in any_pod()) {
        let once = injected(&pod);
        prop_assert_eq!(outcome(&once).unwrap(), Outcome::Skipped(Skip::AlreadyInjected));
        let own = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let init = own(&once["spec"]["initContainers"]);
        prop_assert_eq!(init.len(), own(&pod["spec"]["initContainers"]).len() + 3);
        let mut sent = 0;
        for field in ["containers", "initContainers"] {
            let after = own(&once["spec"][field]);
            let after = if field == "initContainers" { after[3..].to_vec() } else { after };
            for (before, after) in own(&pod["spec"][field]).iter().zip(&after) {
                for (name, value) in before.as_object().unwrap() {
                    if !name.ends_with("Probe") && name != "lifecycle" {
                        prop_assert_eq!(&after[name], value);
                    }
                }
                let text = after.to_string();
                sent += text.matches("/probe/").count();
            }
        }
        prop_assert_eq!(config(&once)["pod"]["probes"]["list"].as_array().unwrap().len(), sent);
        prop_assert_eq!(&once["status"], &pod["status"]);
        prop_assert_eq!(&once["spec"]["unknown"], &pod["spec"]["unknown"]);
        prop_assert_eq!(own(&once["spec"]["volumes"]).len(), own(&pod["spec"]["volumes"]).len() + 4);
    }

    /// Whatever the JSON: an answer, and never a pod with half a gate.
    #[test]
    fn any_json_is_answered(text in "[a-z{}\\[\\]\",:0-9]{0,60}", field in "(spec|metadata|containers|initContainers|volumes)") {
        let value: Value = serde_json::from_str(&text).unwrap_or(json!(text));
        let mut whole = pod(&json!({}), &json!({}));
        match field.as_str() {
            "spec" | "metadata" => whole[&field] = value,
            _ => whole["spec"][&field] = value,
        }
        if let Ok(Outcome::Injected { pod, .. }) = outcome(&whole) {
            prop_assert_eq!(outcome(&pod).unwrap(), Outcome::Skipped(Skip::AlreadyInjected));
        }
    }
}
