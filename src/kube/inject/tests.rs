mod any_pod;
mod who;

use serde_json::{Value, json};

use super::*;
use crate::identity::TrustDomain;

fn settings(more: &Value) -> Settings {
    let mut injection = json!({
        "image": "registry.example/hopgate:1",
        "envoyImage": "registry.example/envoy:1",
        "control": "https://hopgate-control.hopgate-system.svc:15012",
    });
    injection.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let injection: Injection = serde_json::from_value(injection).unwrap();
    injection.validate().unwrap();
    let trust_domain = TrustDomain::parse("demo.mesh").unwrap();
    Settings { trust_domain, audience: "hopgate".to_owned(), injection }
}

fn key() -> ProbeKey {
    ProbeKey::from([7; 16])
}

fn pod(metadata: &Value, more: &Value) -> Value {
    let mut spec = json!({ "containers": [{ "name": "app", "image": "app:1", "ports": [{ "name": "http", "containerPort": 8080 }] }] });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "metadata": metadata, "spec": spec })
}

fn enabled() -> Namespace {
    Namespace { labels: [(INJECT.to_owned(), "enabled".to_owned())].into() }
}

fn outcome(pod: &Value) -> Result<Outcome, Refused> {
    inject(pod, &enabled(), &settings(&json!({})), &key())
}

fn injected(pod: &Value) -> Value {
    match outcome(pod).unwrap() {
        Outcome::Injected { pod, remarks: _ } => pod,
        Outcome::Skipped(skip) => panic!("skipped: {skip}"),
    }
}

fn skipped(pod: &Value) -> Skip {
    match outcome(pod).unwrap() {
        Outcome::Skipped(skip) => skip,
        Outcome::Injected { .. } => panic!("injected"),
    }
}

/// The sidecar's configuration, as the kubelet hands it over.
fn config(pod: &Value) -> Value {
    let env = pod["spec"]["initContainers"][1]["env"].as_array().unwrap();
    let text = env.iter().find(|var| var["name"] == "HOPGATE_SIDECAR_CONFIG_TEXT").unwrap();
    serde_json::from_str(&text["value"].as_str().unwrap().replace("$$", "$")).unwrap()
}

#[test]
fn ports_whose_names_say_what_is_spoken_are_declared_and_services_tell_the_rest() {
    let ports = json!([
        { "name": "http", "containerPort": 8080 },
        { "name": "grpc-api", "containerPort": 8443, "protocol": "TCP" },
        { "name": "web", "containerPort": 3000 },
        { "containerPort": 3001 },
        { "name": "http-dns", "containerPort": 53, "protocol": "UDP" },
    ]);
    let spec = json!({ "containers": [{ "name": "app", "image": "app:1", "ports": ports }] });
    let capture = &config(&injected(&pod(&json!({}), &spec)))["capture"];
    let said = json!([{ "port": 8080, "protocol": "http" }, { "port": 8443, "protocol": "grpc" }]);
    assert_eq!(capture["ports"], said);
    assert_eq!(capture["services"], json!({ "control": {} }));
    assert_eq!(
        (capture["outbound"].as_str(), capture["bootstrap"].as_str()),
        (Some("Any"), Some("/run/hopgate/envoy.json"))
    );
    let only = settings(&json!({ "outbound": "MeshOnly" }));
    let outcome = inject(&pod(&json!({}), &json!({})), &enabled(), &only, &key()).unwrap();
    let Outcome::Injected { pod, remarks: _ } = outcome else { panic!("skipped") };
    assert_eq!(config(&pod)["capture"]["outbound"], "MeshOnly");
}

#[test]
fn the_gate_starts_in_its_order_before_everything_of_the_pod() {
    let pod = injected(&pod(&json!({}), &json!({ "initContainers": [{ "name": "migrate" }] })));
    let names: Vec<&str> = pod["spec"]["initContainers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|container| container["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["hopgate-capture", "hopgate", "envoy", "migrate"]);
    let restarts = |at: usize| pod["spec"]["initContainers"][at]["restartPolicy"] == "Always";
    assert_eq!([0, 1, 2, 3].map(restarts), [false, true, true, false]);
    for at in [1, 2] {
        assert!(pod["spec"]["initContainers"][at]["startupProbe"].is_object());
    }
}

#[test]
fn what_runs_for_long_passes_pod_security_restricted() {
    let pod = injected(&pod(&json!({}), &json!({})));
    for (at, user) in [(1, 1338), (2, 1337)] {
        assert_eq!(
            pod["spec"]["initContainers"][at]["securityContext"],
            json!({
                "runAsUser": user, "runAsGroup": 1337, "runAsNonRoot": true, "privileged": false,
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] }, "seccompProfile": { "type": "RuntimeDefault" },
            })
        );
    }
    let capture = &pod["spec"]["initContainers"][0]["securityContext"];
    assert_eq!(capture["capabilities"], json!({ "drop": ["ALL"], "add": ["NET_ADMIN"] }));
    let cni = settings(&json!({ "capture": "Cni" }));
    let plain = json!({ "metadata": {}, "spec": { "containers": [{ "name": "app" }] } });
    let Outcome::Injected { pod, remarks } = inject(&plain, &enabled(), &cni, &key()).unwrap()
    else {
        panic!("skipped")
    };
    let capture = &pod["spec"]["initContainers"][0];
    assert_eq!(capture["args"], json!(["capture", "check"]));
    assert_eq!(capture["securityContext"]["capabilities"], json!({ "drop": ["ALL"] }));
    assert_eq!(capture["securityContext"]["runAsNonRoot"], true);
    assert!(remarks.is_empty());
}

#[test]
fn probes_go_to_the_sidecar_which_asks_the_application() {
    let app = json!({
        "name": "app",
        "ports": [{ "name": "http", "containerPort": 8080 }, { "containerPort": 53, "protocol": "UDP" }],
        "startupProbe": { "grpc": { "port": 9000, "service": "orders" }, "periodSeconds": 3 },
        "livenessProbe": { "tcpSocket": { "port": "http" }, "timeoutSeconds": 4 },
        "readinessProbe": { "httpGet": { "path": "ready?x=$(HOME)", "port": "http", "scheme": "HTTPS",
            "httpHeaders": [{ "name": "Host", "value": "orders" }] }, "failureThreshold": 7 },
        "lifecycle": {
            "postStart": { "httpGet": { "port": 8080 } },
            "preStop": { "exec": { "command": ["true"] } },
        },
    });
    let beside = json!({ "name": "beside", "restartPolicy": "Always", "livenessProbe": { "httpGet": { "port": 81 } } });
    let start = json!({ "name": "start" });
    let other = json!({ "name": "other", "livenessProbe": { "exec": { "command": ["true"] } },
        "readinessProbe": { "httpGet": { "port": 80, "host": "127.0.0.1" } } });
    let spec = json!({ "initContainers": [start, beside], "containers": [app, other], "terminationGracePeriodSeconds": 45 });
    let pod = injected(&pod(&json!({}), &spec));
    let at = |name: &str| json!({ "path": format!("/probe/{}/{name}", "07".repeat(16)), "port": 15020, "scheme": "HTTP" });
    let app = &pod["spec"]["containers"][0];
    assert_eq!(
        app["startupProbe"],
        json!({ "periodSeconds": 3, "httpGet": at("app/startupProbe") })
    );
    assert_eq!(
        app["livenessProbe"],
        json!({ "timeoutSeconds": 4, "httpGet": at("app/livenessProbe") })
    );
    assert_eq!(
        app["readinessProbe"],
        json!({ "failureThreshold": 7, "httpGet": at("app/readinessProbe") })
    );
    assert_eq!(app["lifecycle"]["postStart"], json!({ "httpGet": at("app/postStart") }));
    assert_eq!(app["lifecycle"]["preStop"], json!({ "exec": { "command": ["true"] } }));
    let other = &pod["spec"]["containers"][1];
    assert_eq!(other["livenessProbe"], json!({ "exec": { "command": ["true"] } }));
    assert_eq!(other["readinessProbe"], json!({ "httpGet": { "port": 80, "host": "127.0.0.1" } }));
    assert_eq!(other["lifecycle"]["preStop"], json!({ "sleep": { "seconds": 5 } }));
    assert_eq!(
        config(&pod)["pod"]["probes"],
        json!({ "key": "07".repeat(16), "list": [
            { "name": "beside/livenessProbe", "ask": { "http": { "scheme": "HTTP", "port": 81, "path": "/", "headers": [] } }, "timeout": "1s" },
            { "name": "app/startupProbe", "ask": { "grpc": { "port": 9000, "service": "orders" } }, "timeout": "1s" },
            { "name": "app/livenessProbe", "ask": { "tcp": { "port": 8080 } }, "timeout": "4s" },
            { "name": "app/readinessProbe", "ask": { "http": { "scheme": "HTTPS", "port": 8080, "path": "/ready?x=$(HOME)",
                "headers": [{ "name": "Host", "value": "orders" }] } }, "timeout": "1s" },
            { "name": "app/postStart", "ask": { "http": { "scheme": "HTTP", "port": 8080, "path": "/", "headers": [] } }, "timeout": "5m" },
        ]})
    );
}

#[test]
fn nothing_that_the_kubelet_would_replace_stands_in_the_configuration() {
    let probe = json!({ "containers": [{ "name": "app", "livenessProbe": { "httpGet": { "port": 80, "path": "/$(HOME)$$" } } }] });
    let pod = injected(&pod(&json!({}), &probe));
    let asked = &config(&pod)["pod"]["probes"]["list"][0]["ask"]["http"]["path"];
    assert_eq!(asked, "/$(HOME)$$");
    let env = pod["spec"]["initContainers"][1]["env"].as_array().unwrap();
    let text = env.last().unwrap()["value"].as_str().unwrap();
    assert!(text.contains("/$$(HOME)$$$$"), "{text}");
}

#[test]
fn annotations_change_what_they_may_and_no_more() {
    let annotated = |name: &str, value: &str| {
        let metadata = json!({ "annotations": { format!("hopgate.dev/{name}"): value } });
        outcome(&pod(&metadata, &json!({})))
    };
    for (name, bad) in [
        ("exclude-inbound-ports", "8080,"),
        ("exclude-inbound-ports", "15006"),
        ("exclude-outbound-ports", "all"),
        ("exclude-outbound-cidrs", "10.0.0.1/8"),
        ("exclude-uids", "-1"),
        ("log-level", "loud"),
        ("resources", "{}x"),
        ("resources", r#"{"app":{}}"#),
        ("resources", r#"{"envoy":{"limits":{"memory":"lots"}}}"#),
        ("image", "mine:1"),
        ("exclude-outbound-port", "5432"),
        ("security-context", "{}"),
    ] {
        assert!(annotated(name, bad).is_err(), "{name}: {bad}");
    }
    let hint = annotated("exclude-outbound-port", "5432").unwrap_err().to_string();
    assert!(hint.contains("did you mean `hopgate.dev/exclude-outbound-ports`"), "{hint}");
    let metadata = json!({ "annotations": {
        "hopgate.dev/exclude-inbound-ports": "9090",
        "hopgate.dev/exclude-outbound-ports": "5432",
        "hopgate.dev/exclude-outbound-cidrs": "10.1.0.0/16",
        "hopgate.dev/exclude-uids": "1000",
        "hopgate.dev/log-level": "debug",
        "hopgate.dev/resources": r#"{"envoy":{"limits":{"memory":"2Gi"}}}"#,
    }});
    let mesh = settings(
        &json!({ "exclude": { "outboundCidrs": "10.0.0.0/16,169.254.169.254/32", "outboundPorts": "53" } }),
    );
    let Outcome::Injected { pod, .. } =
        inject(&pod(&metadata, &json!({})), &enabled(), &mesh, &key()).unwrap()
    else {
        panic!("skipped")
    };
    let start = &pod["spec"]["initContainers"];
    assert_eq!(
        start[0]["args"],
        json!([
            "capture",
            "up",
            "--exclude-inbound-ports",
            "9090",
            "--exclude-outbound-ports",
            "53,5432",
            "--exclude-outbound-cidrs",
            "10.0.0.0/15,169.254.169.254/32",
            "--exclude-uids",
            "1000"
        ])
    );
    let env = start[1]["env"].as_array().unwrap();
    assert!(env.contains(&json!({ "name": "HOPGATE_LOG", "value": "debug" })));
    let args = start[2]["args"].as_array().unwrap();
    assert_eq!(args.last().unwrap(), "debug");
    assert_eq!(
        start[2]["resources"],
        json!({ "requests": { "cpu": "50m", "memory": "96Mi" }, "limits": { "memory": "2Gi" } })
    );
    assert_eq!(start[1]["resources"]["limits"], json!({ "memory": "192Mi" }));
}

#[test]
fn what_the_gate_needs_for_itself_is_not_to_be_taken() {
    let none = json!({});
    let refused = |more: Value| outcome(&pod(&none, &more)).unwrap_err();
    let port = json!({ "containers": [{ "name": "app", "ports": [{ "containerPort": 15020 }] }] });
    assert_eq!(refused(port), Refused::Port { container: "app".into(), port: 15020 });
    let udp = json!({ "containers": [{ "name": "app", "ports": [{ "containerPort": 15020, "protocol": "UDP" }] }] });
    injected(&pod(&none, &udp));
    let name =
        refused(json!({ "initContainers": [{ "name": "envoy", "restartPolicy": "Always" }] }));
    assert_eq!(name, Refused::ContainerName("envoy".into()));
    let volume = refused(json!({ "volumes": [{ "name": "hopgate-run" }] }));
    assert_eq!(volume, Refused::VolumeName("hopgate-run".into()));
    let probe = json!({ "containers": [{ "name": "app", "livenessProbe": { "httpGet": { "port": "web" } } }] });
    assert_eq!(
        refused(probe),
        Refused::NamedPort {
            container: "app".into(),
            field: "livenessProbe".into(),
            port: "web".into()
        }
    );
    for bad in [
        json!({ "containers": [{ "name": "app", "livenessProbe": { "httpGet": { "port": 15021 } } }] }),
        json!({ "containers": [{ "name": "app", "livenessProbe": { "httpGet": { "port": 0 } } }] }),
        json!({ "containers": [{ "name": "app", "livenessProbe": { "httpGet": { "port": 80, "path": "/a b" } } }] }),
        json!({ "containers": [{ "name": "app", "livenessProbe": { "httpGet": { "port": 80 }, "grpc": { "port": 80 } } }] }),
        json!({ "containers": [{ "name": "app", "livenessProbe": { "tcpSocket": {} } }] }),
        json!({ "containers": "app" }),
        json!({ "hostNetwork": "yes" }),
    ] {
        assert!(outcome(&pod(&none, &bad)).is_err(), "{bad}");
    }
    for bad in [
        json!({}),
        json!([]),
        json!({ "spec": {} }),
        json!({ "metadata": [], "spec": { "containers": [] } }),
    ] {
        assert!(matches!(outcome(&bad), Err(Refused::Unreadable { .. })), "{bad}");
    }
    // Only claimed: the gate is not there.
    let claimed = json!({ "annotations": { INJECTED: "x" } });
    injected(&pod(&claimed, &none));
}

#[test]
fn hooks_of_jobs_and_of_those_who_have_one_stay() {
    let job = injected(&pod(&json!({}), &json!({ "restartPolicy": "OnFailure" })));
    assert!(job["spec"]["containers"][0].get("lifecycle").is_none());
    let settings = settings(&json!({ "stopDelay": "0s" }));
    let Outcome::Injected { pod, .. } =
        inject(&pod(&json!({}), &json!({})), &enabled(), &settings, &key()).unwrap()
    else {
        panic!("skipped")
    };
    assert!(pod["spec"]["containers"][0].get("lifecycle").is_none());
}

#[test]
fn an_owner_hears_what_may_surprise() {
    let mut namespace = enabled();
    namespace.labels.insert("pod-security.kubernetes.io/enforce".into(), "restricted".into());
    let pod = pod(&json!({}), &json!({ "shareProcessNamespace": true }));
    let told = |more: Value| match inject(&pod, &namespace, &settings(&more), &key()).unwrap() {
        Outcome::Injected { remarks, .. } => remarks.concat(),
        Outcome::Skipped(skip) => panic!("{skip}"),
    };
    let both = told(json!({}));
    assert!(both.contains("NET_ADMIN") && both.contains("shareProcessNamespace"), "{both}");
    assert!(!told(json!({ "capture": "Cni" })).contains("NET_ADMIN"));
}

#[test]
fn settings_that_cannot_work_are_errors() {
    let good = json!({ "image": "i", "envoyImage": "e", "control": "https://c:1" });
    for (field, bad) in [
        ("image", json!("")),
        ("envoyImage", json!("a b")),
        ("control", json!("http://c:1")),
        ("revision", json!("A")),
        ("trustConfigMap", json!("a..b")),
        ("tokenLifetime", json!("9m")),
        ("stopDelay", json!("1500ms")),
        ("envoyConcurrency", json!(0)),
        ("capture", json!("None")),
        ("logLevel", json!("loud")),
        ("exclude", json!({ "ports": "1" })),
        ("exclude", json!({ "inboundPorts": "15001" })),
        ("resources", json!({ "app": {} })),
        ("priority", json!(1)),
    ] {
        let mut written = good.clone();
        written[field] = bad.clone();
        let read: Result<Injection, _> = serde_json::from_value(written);
        let error = match read {
            Err(error) => error.to_string(),
            Ok(injection) => injection.validate().unwrap_err().to_string(),
        };
        assert!(!error.is_empty(), "{field}: {bad}");
    }
}
