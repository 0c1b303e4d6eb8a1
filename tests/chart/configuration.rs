//! What the chart renders for the control plane is what the control plane reads.

use std::process::Command;

use serde_json::Value;

use super::{CHOICES, object, objects, rendered};
use crate::support::Scratch;
use crate::support::helm::{Helm, text};

/// The files of the ConfigMap, as they are mounted.
pub(super) fn mounted(scratch: &Scratch, manifests: &str) -> std::path::PathBuf {
    let objects = objects(manifests);
    let data = object(&objects, "ConfigMap")["data"].as_object().unwrap();
    for (name, content) in data {
        scratch.write(name, content.as_str().unwrap());
    }
    scratch.path().join("control.yaml")
}

#[test]
fn the_control_plane_takes_its_configuration_under_every_choice() {
    let helm = Helm::new();
    for (name, choice) in CHOICES {
        let scratch = Scratch::new("chart-config");
        let file = mounted(&scratch, &rendered(&helm, "mesh", choice));
        let config =
            hopgate::config::control(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        let service = if config.server_names.iter().any(|name| name.starts_with("hopgate-control-"))
        {
            format!(
                "hopgate-control-{}.mesh.svc",
                if name == "canary" { "canary" } else { "spring-1" }
            )
        } else {
            "hopgate-control.mesh.svc".to_owned()
        };
        assert!(config.server_names.contains(&service), "{name}: {:?}", config.server_names);
        let told = Command::new(env!("CARGO_BIN_EXE_hopgate"))
            .args(["control", "--validate", "--config"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(text(&told).starts_with("good: the authority of "), "{name}");
    }
}

#[test]
fn every_value_reaches_the_configuration() {
    let helm = Helm::new();
    let scratch = Scratch::new("chart-config");
    let everything = CHOICES.iter().find(|(name, _)| *name == "everything").unwrap().1;
    let file = mounted(&scratch, &rendered(&helm, "mesh", everything));
    let config: Value = serde_saphyr::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(config["trustDomain"], "prod.example");
    assert_eq!(config["leafLifetime"], "1h30m");
    assert_eq!(config["authority"]["certManager"]["issuerRef"]["kind"], "ClusterIssuer");
    assert_eq!(config["authority"]["certManager"]["duration"], "720h");
    let roots = scratch.path().join(config["authority"]["certManager"]["roots"].as_str().unwrap());
    assert!(std::fs::read_to_string(roots).unwrap().contains("\nroots of the issuer\n"));
    assert_eq!(config["jwtSvidLifetime"], "10m");
    assert_eq!(config["authority"]["secret"]["name"], "the-authority");
    assert_eq!(config["authority"]["secret"]["namespace"], "mesh");
    assert_eq!(config["attest"]["kubernetes"]["audience"], "hopgate.prod.example");
    assert_eq!(config["dnsNames"][0]["names"][0], "orders.shop.svc");
    assert_eq!(config["limits"]["perWorkload"]["burst"], 10);
    assert_eq!(config["federation"]["endpoint"]["listen"], "0.0.0.0:9443");
    assert_eq!(config["listen"], "0.0.0.0:15012");
    let injection = &config["injection"];
    assert_eq!(injection["revision"], "spring-1");
    assert_eq!(injection["control"], "https://hopgate-control-spring-1.mesh.svc:15012");
    assert_eq!(injection["image"], "registry.example/hopgate:1.2.3");
    assert_eq!(
        (&injection["imagePullPolicy"], &injection["capture"]),
        (&"Always".into(), &"Cni".into())
    );
    assert_eq!(
        (&injection["outbound"], &injection["unguarded"]),
        (&"MeshOnly".into(), &"Refuse".into())
    );
    assert_eq!(injection["resources"]["envoy"]["limits"]["cpu"], "2");
    assert_eq!(injection["exclude"]["outboundCidrs"], "169.254.169.254/32,fd00::/8");
    let webhooks = &config["webhooks"];
    assert_eq!(webhooks["serverNames"][0], "hopgate-control-spring-1.mesh.svc");
    assert_eq!(webhooks["configurations"]["mutating"][0], "hopgate-control-spring-1-mesh");
    let names = config["serverNames"].as_array().unwrap();
    assert!(names.contains(&"control.prod.example".into()) && names.contains(&"192.0.2.7".into()));
    let read = hopgate::config::control(&file).unwrap();
    // Texts of the values stand as files beside the configuration, byte for byte.
    let [partner, other] = &read.federation.with[..] else { panic!("{:?}", read.federation.with) };
    let roots = std::fs::read_to_string(partner.ca_file.as_ref().unwrap()).unwrap();
    assert!(
        roots.starts_with("-----BEGIN") && roots.contains("\n\"quoted\": and two lines\n"),
        "{roots}"
    );
    let bundle = std::fs::read_to_string(other.bundle_file.as_ref().unwrap()).unwrap();
    assert_eq!(bundle, r#"{"keys":[],"spiffe_sequence":1}"#);
}

#[test]
fn another_configuration_is_another_pod() {
    let helm = Helm::new();
    let mark = |choice: &[&str]| {
        let objects = objects(&rendered(&helm, "mesh", choice));
        object(&objects, "Deployment")["spec"]["template"]["metadata"]["annotations"]["hopgate.dev/config"].clone()
    };
    let first = mark(&[]);
    assert!(first.as_str().is_some_and(|mark| mark.len() == 64), "{first}");
    assert_eq!(first, mark(&["--set", "control.replicas=3"]));
    assert_ne!(first, mark(&["--set", "authority.leafLifetime=2h"]));
}

/// A field that the control plane learns is one that the chart gives, or that is listed here with a reason.
#[test]
fn every_field_of_the_configuration_is_in_the_chart() {
    let helm = Helm::new();
    let scratch = Scratch::new("chart-config");
    let everything = CHOICES.iter().find(|(name, _)| *name == "everything").unwrap().1;
    let file = mounted(&scratch, &rendered(&helm, "mesh", everything));
    let text = std::fs::read_to_string(&file).unwrap();
    let config: Value = serde_saphyr::from_str(&text).unwrap();
    // The operator's socket is where it is by itself, and the pod's own service account is used.
    let not_ours: [(&str, &[&str]); 5] = [
        ("", &["operator", "kubernetes"]),
        ("attest", &["x509"]),
        ("federation", &[]),
        ("injection", &[]),
        ("webhooks", &[]),
    ];
    for (section, left_out) in not_ours {
        // The parser itself says what there is.
        let strange = if section.is_empty() {
            format!("{text}\nstrange: 1\n")
        } else {
            assert!(text.contains(&format!("\n{section}:\n")), "{section}");
            text.replace(&format!("\n{section}:\n"), &format!("\n{section}:\n  strange: 1\n"))
        };
        let file = scratch.write("strange.yaml", &strange);
        let told = hopgate::config::control(&file).unwrap_err().to_string();
        let (_, expected) = told.split_once("expected").unwrap_or_else(|| panic!("{told}"));
        let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        assert!(known.len() > 1, "{told}");
        let given = if section.is_empty() { &config } else { &config[section] };
        for field in known {
            let (given, left_out) = (given.get(field).is_some(), left_out.contains(&field));
            assert!(
                given != left_out,
                "{section}.{field}: in the chart {given}, left out {left_out}"
            );
        }
    }
}
