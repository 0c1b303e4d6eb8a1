//! Every shipped example is loaded by the product's own loader, and a typo in one is told exactly.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hopgate::authn::ApiKeys;
use hopgate::config::SidecarOverrides;
use hopgate::identity::TrustDomain;
use hopgate::policy::{self, MeshPolicySpec, PolicySet, Preset, Resource, Surroundings, Workload};
use hopgate::runtime::{Address, Clock};
use hopgate::sidecar::Bound;

use crate::support::Scratch;
use crate::support::envoy::{Envoy, complaint};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn hopgate(arguments: &[&str], directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap()
}

#[test]
fn every_sidecar_example_is_good() {
    let mut seen = 0;
    let scratch = Scratch::new("examples");
    copy(&root().join("examples"), scratch.path());
    // The secret that is made when this example is run.
    scratch.write("node-auth/resources/hs.key", &"x".repeat(48));
    for entry in std::fs::read_dir(scratch.path()).unwrap() {
        let config = entry.unwrap().path().join("sidecar.yaml");
        if config.is_file() {
            let text = config.to_string_lossy().into_owned();
            let output = hopgate(&["sidecar", "--validate", "--config", &text], &root());
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{text}: {stderr}");
            assert!(String::from_utf8_lossy(&output.stdout).starts_with("good: "));
            seen += 1;
        }
    }
    assert!(seen >= 3);
}

/// Each is read by the product's own parser. What they name beside themselves (secrets, certificates) a user brings.
#[test]
fn every_provider_example_is_good() {
    let folder = root().join("examples/providers");
    let mut presets = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# "), "{name} says what it is for");
        let resources = policy::parse(&name, &text).unwrap_or_else(|error| panic!("{error}"));
        let mut policies = Vec::new();
        let mut providers = Vec::new();
        for resource in resources {
            match resource {
                Resource::AccessPolicy(policy) => policies.push(policy),
                Resource::IdentityProvider(provider) => providers.push(provider),
                Resource::MeshPolicy(_) | Resource::PolicyEngine(_) => {
                    panic!("{name} is about providers")
                }
            }
        }
        assert!(!providers.is_empty(), "{name}");
        presets.extend(providers.iter().filter_map(|provider| provider.spec.preset));
        let names: Vec<String> = providers.iter().map(|p| p.metadata.name.clone()).collect();
        let app = if name.ends_with("github-actions.yaml") { "deploy" } else { "orders" };
        let workload = Workload {
            trust_domain: TrustDomain::parse("demo.mesh").unwrap(),
            namespace: "shop".into(),
            labels: [("app".to_owned(), app.to_owned())].into(),
        };
        let set = PolicySet::compile(
            &policies,
            &Surroundings {
                workload: &workload,
                mesh: &MeshPolicySpec::absent(),
                providers: &names,
                engines: &[],
            },
        )
        .unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!(set.rule_count() > 0, !policies.is_empty(), "{name}");
    }
    let keys = folder.join("api-keys/keys.yaml");
    ApiKeys::parse("keys.yaml", &std::fs::read_to_string(keys).unwrap()).unwrap();
    for preset in [
        Preset::Keycloak,
        Preset::Auth0,
        Preset::Okta,
        Preset::Cognito,
        Preset::Entra,
        Preset::Google,
        Preset::Directus,
        Preset::Zitadel,
        Preset::Hydra,
        Preset::Dex,
        Preset::GithubActions,
        Preset::Kubernetes,
        Preset::Spiffe,
    ] {
        assert!(presets.contains(&preset), "{preset:?} has no example");
    }
}

#[test]
fn the_mesh_example_gives_an_envoy_that_envoy_accepts() {
    let mesh = root().join("examples/mesh");
    let output = hopgate(&["control", "--validate", "--config", "control.yaml"], &mesh);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let output = hopgate(&["envoy", "bootstrap", "--config", "sidecar.yaml"], &mesh);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let scratch = Scratch::new("mesh-example");
    let file = scratch.write("envoy.yaml", &String::from_utf8(output.stdout).unwrap());
    assert_eq!(complaint(&file), "");
}

#[test]
fn a_typo_in_a_policy_names_file_line_field_and_what_is_allowed() {
    let scratch = Scratch::new("typo");
    copy(&root().join("examples/quickstart"), scratch.path());
    let policy = scratch.path().join("resources/orders.yaml");
    let text = std::fs::read_to_string(&policy).unwrap();
    let line = 1 + text.lines().position(|line| line.contains("methods: [POST]")).unwrap();
    std::fs::write(&policy, text.replace("methods: [POST]", "methodz: [POST]")).unwrap();
    let output = hopgate(&["sidecar", "--config", "sidecar.yaml"], scratch.path());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    for part in [&format!("orders.yaml:{line}:"), "methodz", "methods", "paths"] {
        assert!(stderr.contains(part), "{part:?} is missing in:\n{stderr}");
    }
}

#[test]
fn a_typo_in_the_configuration_is_told_likewise() {
    let scratch = Scratch::new("typo-config");
    copy(&root().join("examples/quickstart"), scratch.path());
    let config = scratch.path().join("sidecar.yaml");
    let text = std::fs::read_to_string(&config).unwrap().replace("extAuthz:", "extAuth:");
    std::fs::write(&config, text).unwrap();
    let output = hopgate(&["sidecar", "--config", "sidecar.yaml"], scratch.path());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    for part in ["sidecar.yaml:4:", "extAuth", "extAuthz"] {
        assert!(stderr.contains(part), "{part:?} is missing in:\n{stderr}");
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// The worked example of the README: the shipped sidecar configuration and the shipped Envoy configuration, ports aside.
#[tokio::test]
async fn the_quickstart_works_with_a_real_envoy() {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let quickstart = root().join("examples/quickstart");
    let scratch = Scratch::new("quickstart");
    let loopback: Address = "127.0.0.1:0".parse().unwrap();
    let overrides = SidecarOverrides {
        listen: vec![loopback.clone()],
        admin: Some(loopback),
        decision_log: Some(scratch.path().join("decisions.log")),
        ..SidecarOverrides::default()
    };
    let config = hopgate::config::sidecar(&quickstart.join("sidecar.yaml"), overrides).unwrap();
    let bound = Bound::build(config, Clock::system()).await.unwrap();
    let Address::Tcp(authz) = bound.addresses().ext_authz[0].clone() else { panic!("TCP") };
    let admin_pages = bound.addresses().admin.clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let sidecar = tokio::spawn(bound.run(async { drop(stopped.await) }));

    let text = std::fs::read_to_string(quickstart.join("envoy.yaml")).unwrap();
    let mut bootstrap: serde_json::Value =
        hopgate::policy::yaml::parse_one("envoy.yaml", &text).unwrap();
    let admin = scratch.path().join("admin.sock");
    bootstrap["admin"] = serde_json::json!({ "address": { "pipe": { "path": admin } } });
    let port = |value: &mut serde_json::Value, pointer: &str, port: u16| {
        *value.pointer_mut(pointer).unwrap() = port.into();
    };
    port(&mut bootstrap, "/static_resources/listeners/0/address/socket_address/port_value", 0);
    port(
        &mut bootstrap,
        "/static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value",
        authz.port(),
    );
    let envoy = Envoy::start(scratch.path(), &bootstrap);
    envoy.live().await;
    let door = envoy.listener("door").await;

    let token =
        |name: &str| std::fs::read_to_string(quickstart.join(name)).unwrap().trim().to_owned();
    let client = reqwest::Client::new();
    for (method, path, jwt, status, user) in [
        ("GET", "/customers/alice/orders", None, 401, None),
        ("GET", "/customers/alice/orders", Some("alice.jwt"), 200, Some("alice")),
        ("GET", "/customers/bob/orders", Some("alice.jwt"), 403, None),
        ("GET", "/customers/alice/orders", Some("expired.jwt"), 401, None),
        ("POST", "/orders/7/refund", Some("alice.jwt"), 403, None),
        ("POST", "/orders/7/refund", Some("sue.jwt"), 200, Some("sue")),
        ("GET", "/internal/x", Some("sue.jwt"), 403, None),
        ("GET", "/health", None, 200, None),
    ] {
        let mut request = client.request(method.parse().unwrap(), format!("http://{door}{path}"));
        if let Some(name) = jwt {
            request = request.bearer_auth(token(name));
        }
        let answer = request.header("x-hopgate-user", "admin").send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{method} {path} {jwt:?}");
        let seen = answer.headers().get("x-the-service-saw-user").map(|v| v.to_str().unwrap());
        assert_eq!(seen.filter(|seen| *seen != "-" && !seen.is_empty()), user, "{method} {path}");
        if status == 401 && jwt.is_none() {
            assert_eq!(answer.headers()["www-authenticate"], "Bearer realm=\"hopgate\"");
        }
    }
    what_the_command_line_tells_of_it(&admin_pages.to_string(), &scratch).await;
    drop(envoy);
    drop(stop);
    sidecar.await.unwrap().unwrap();
    let log = std::fs::read_to_string(scratch.path().join("decisions.log")).unwrap();
    assert_eq!(log.lines().count(), 8);
}

/// A sidecar without a certificate lacks none, and a copy of its resources is known for the same.
async fn what_the_command_line_tells_of_it(admin: &str, scratch: &Scratch) {
    let hopgate = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_hopgate"));
        let output = command.args(arguments).env_clear().output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
    };
    let (code, told) = hopgate(&["status", "--admin", admin, "--interval", "100ms"]).await;
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = hopgate(&["cert", "inspect", &format!("admin:{admin}")]).await;
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("there is no `certificates` in its configuration"), "{told}");

    let elsewhere = scratch.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    copy(&root().join("examples/quickstart"), &elsewhere);
    let config = elsewhere.join("sidecar.yaml").display().to_string();
    let explain = ["explain", "--admin", admin, "--config", &config];
    let (code, told) = hopgate(&explain).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("anyone-may-ask-for-health") && !told.contains("have changed"), "{told}");
    let policy = elsewhere.join("resources/orders.yaml");
    let text = std::fs::read_to_string(&policy).unwrap().replace("[GET]", "[GET, HEAD]");
    std::fs::write(&policy, text).unwrap();
    let (_, told) = hopgate(&explain).await;
    assert!(told.contains("have changed"), "{told}");
}

/// Each kind of engine, with a policy that asks it; the files that are ours compile too.
#[test]
fn every_engine_example_is_good() {
    let folder = root().join("examples/engines");
    let mut kinds = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# "), "{name} says what it is for");
        let resources = policy::parse(&name, &text).unwrap_or_else(|error| panic!("{error}"));
        let (mut engines, mut rules) = (Vec::new(), Vec::new());
        for resource in resources {
            match resource {
                Resource::PolicyEngine(engine) => engines.push(engine),
                Resource::AccessPolicy(policy) => rules.extend(policy.spec.rules),
                Resource::IdentityProvider(_) | Resource::MeshPolicy(_) => panic!("{name}"),
            }
        }
        let [engine] = engines.as_slice() else { panic!("{name} has one engine") };
        assert!(rules.iter().any(|rule| rule.engine.as_ref() == Some(&engine.metadata.name)));
        if engine.kind.is_local() {
            let mut files = hopgate::authn::Files::none();
            for file in engine.files() {
                let content = std::fs::read(file.path()).unwrap();
                files.insert(file.path().to_path_buf(), content.into());
            }
            hopgate::authz::EngineSet::compile(&engines, &files)
                .unwrap_or_else(|error| panic!("{error}"));
        }
        kinds.push(engine.kind.name());
    }
    kinds.sort_unstable();
    assert_eq!(kinds, ["casbin", "extAuthz", "opa", "openFga", "rego", "subjectAccessReview"]);
}
