//! A running sidecar and its control plane, looked at by the commands of an operator.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use hopgate::identity::{SpiffeBundle, TrustDomain};
use hopgate::runtime::Clock;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::parts::{Sidecar, all_have_bundle, root};
use crate::certificates::parts::{Directory, Plane, domain};

const SDS: &str = "sds: { listen: \"unix:sds.sock\" }\ndiscovery: { envoyGrace: 100ms }\n";

/// Exit code, stdout and stderr of the binary.
async fn hopgate(directory: &Directory, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .args(arguments)
        .current_dir(directory.path(""))
        .env_clear()
        .output()
        .await
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(!out.contains("PRIVATE KEY") && !err.contains("PRIVATE KEY"), "a key is never printed");
    (output.status.code(), out, err)
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_inspected_where_they_are_served() {
    let (directory, clock) = (Directory::new(), Clock::system());
    let plane = Plane::start(&directory, &clock).await;
    let sidecar = Sidecar::join(&directory, &plane, (SDS, &clock)).await;
    all_have_bundle(&plane, 1).await;
    let serial = sidecar.serial().await.unwrap();
    let admin = format!("admin:unix:{}", directory.path("admin.sock").display());
    for (place, form) in
        [("sds.sock", "SDS"), ("unix:sds.sock", "SDS"), (&admin, "running sidecar")]
    {
        let arguments = ["cert", "inspect", place, "--output", "json"];
        let (code, out, err) = hopgate(&directory, &arguments).await;
        assert_eq!(code, Some(0), "{place}: {err}");
        let seen: Value = serde_json::from_str(&out).unwrap();
        let seen = seen.to_string();
        assert!(seen.contains(form), "{place}: {seen}");
        assert!(seen.contains("spiffe://demo.mesh/ns/shop/sa/orders"), "{place}: {seen}");
        let digits = |text: &str| text.replace(':', "").to_lowercase();
        assert!(digits(&seen).contains(&digits(&serial)), "{place}: {serial} is not in {seen}");
    }
    // A leaf of an hour is enough for a minute, and not for two hours.
    for (left, expected) in [("1m", 0), ("2h", 1)] {
        let arguments = ["cert", "expiry", "sds.sock", "--min-left", left];
        let (code, out, err) = hopgate(&directory, &arguments).await;
        assert_eq!(code, Some(expected), "{left}: {out}{err}");
    }
    // What a sidecar serves is verified by the bundle that the control plane prints.
    let config = directory.write(
        "control.yaml",
        "trustDomain: demo.mesh\nlisten: \"127.0.0.1:0\"\ndirectory: ca\nserverNames: [localhost]\n",
        0o644,
    );
    let (code, pem, err) =
        hopgate(&directory, &["ca", "bundle", "--config", config.to_str().unwrap()]).await;
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(pem, plane.bundle.to_pem());
    directory.write("printed.pem", &pem, 0o644);
    directory.write("stranger.pem", &root("demo.mesh").to_pem(), 0o644);
    for (bundle, expected) in [("printed.pem", 0), ("stranger.pem", 1)] {
        let arguments = ["cert", "verify", "sds.sock", "--bundle", bundle];
        let (code, out, err) = hopgate(&directory, &arguments).await;
        assert_eq!(code, Some(expected), "{bundle}: {out}{err}");
    }
    let (code, _, err) = hopgate(&directory, &["cert", "inspect", "gone.sock"]).await;
    assert_eq!(code, Some(2), "{err}");
    let arguments = ["cert", "inspect", "sds.sock", "--secret", "nobody", "--timeout", "300ms"];
    let (code, _, err) = hopgate(&directory, &arguments).await;
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("nobody"), "{err}");
    sidecar.stop().await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_tells_whom_it_trusts() {
    let (directory, clock) = (Directory::new(), Clock::system());
    let plane = Plane::start(&directory, &clock).await;
    let sidecar = Sidecar::join(&directory, &plane, (SDS, &clock)).await;
    let partner = root("partner.mesh");
    plane.publisher.change(|published| {
        published.bundles = published.bundles.clone().with_foreign(partner.clone());
    });
    all_have_bundle(&plane, 1).await;
    let admin = format!("unix:{}", directory.path("admin.sock").display());
    let partners = |bundle: SpiffeBundle| bundle.x509().unwrap().roots() == partner.roots();
    // The push of the foreign bundle is its own message: asked again until it is there.
    let arguments =
        ["ca", "bundle", "--admin", &admin, "--trust-domain", "partner.mesh", "--format", "spiffe"];
    let asked = async {
        loop {
            if let (Some(0), out, _) = hopgate(&directory, &arguments).await {
                return out;
            }
        }
    };
    let out = tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap();
    let read = SpiffeBundle::parse(&TrustDomain::parse("partner.mesh").unwrap(), &out).unwrap();
    assert!(partners(read));
    let (code, out, err) = hopgate(&directory, &["ca", "bundle", "--admin", &admin]).await;
    assert_eq!((code, out), (Some(0), plane.bundle.to_pem()), "{err}");
    let arguments = ["ca", "bundle", "--admin", &admin, "--trust-domain", "nobody.mesh"];
    let (code, out, err) = hopgate(&directory, &arguments).await;
    assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
    assert!(err.contains("only of demo.mesh, partner.mesh"), "{err}");
    sidecar.stop().await;
    plane.stop().await;
}

/// The control plane as a process, and the lines of its log.
async fn control(file: &Path) -> (tokio::process::Child, tokio::sync::mpsc::Receiver<String>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .args(["control", "--config", file.to_str().unwrap()])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (sender, receiver) = tokio::sync::mpsc::channel(1000);
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            if sender.send(line).await.is_err() {
                return;
            }
        }
    });
    (child, receiver)
}

/// Waits until the log says these words.
async fn says(log: &mut tokio::sync::mpsc::Receiver<String>, words: &str) {
    let mut seen = Vec::new();
    let said = async {
        while let Some(line) = log.recv().await {
            if line.contains(words) {
                return;
            }
            seen.push(line);
        }
        panic!("the process ended");
    };
    let said = tokio::time::timeout(Duration::from_secs(30), said).await;
    assert!(said.is_ok(), "{words:?} is not in {seen:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn relationships_come_and_go_with_the_configuration_file() {
    let directory = Directory::new();
    let partner = root("partner.mesh");
    let keys = hopgate::identity::JwtBundle::empty(TrustDomain::parse("partner.mesh").unwrap());
    let document = SpiffeBundle::new(partner, &keys).unwrap().to_json();
    directory.write("partner.json", &document, 0o644);
    let write = |trust_domain: &str, more: &str| {
        let text = format!(
            "trustDomain: {trust_domain}\nlisten: \"127.0.0.1:0\"\ndirectory: ca\nserverNames: [localhost]\n{more}"
        );
        directory.write("control.yaml", &text, 0o644)
    };
    let with = "federation:\n  with:\n    - trustDomain: partner.mesh\n      url: \"https://127.0.0.1:9/bundle\"\n      \
                profile: https_spiffe\n      spiffeId: \"spiffe://partner.mesh/a\"\n      bundleFile: FILE\n";
    let file = write(domain().as_str(), "");
    let (mut child, mut log) = control(&file).await;
    says(&mut log, "serving").await;
    write(domain().as_str(), &with.replace("FILE", "partner.json"));
    says(&mut log, "took the relationships of the file").await;
    // What cannot be used is said, and changes nothing.
    write(domain().as_str(), &with.replace("FILE", "nowhere.json"));
    says(&mut log, "the new relationships are refused, the ones before stay").await;
    write(domain().as_str(), "nonsense: 1\n");
    says(&mut log, "the changed configuration is refused, the one before stays").await;
    write("other.mesh", "");
    says(&mut log, "another trust domain is another mesh").await;
    write(domain().as_str(), "");
    says(&mut log, "took the relationships of the file").await;
    child.kill().await.unwrap();
}
