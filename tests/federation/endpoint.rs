//! The bundle endpoint, as strangers see it.

use std::time::Duration;

use hopgate::identity::SpiffeBundle;
use hopgate::runtime::Clock;
use rustls::pki_types::CertificateDer;

use super::parts::{Authority, Directory, Mesh, domain};

const SPIFFE: &str = "federation: { endpoint: { listen: \"127.0.0.1:0\", path: /bundle, profile: https_spiffe, refreshHint: 90s } }";

/// Each client needs one; a second installation changes nothing.
fn provider() {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}

/// A client that trusts nobody's names: what is tested is what the endpoint answers.
fn client() -> reqwest::Client {
    provider();
    reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .no_proxy()
        .timeout(Duration::from_secs(5))
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_gets_the_bundle_and_nothing_else() {
    let directory = Directory::new();
    let mesh = Mesh::start(&directory, "demo.mesh", SPIFFE, &Clock::system()).await;
    let base = format!("https://127.0.0.1:{}", mesh.endpoint.unwrap());
    let answer = client().get(format!("{base}/bundle")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    let text = answer.text().await.unwrap();
    let bundle = SpiffeBundle::parse(&domain("demo.mesh"), &text).unwrap();
    assert_eq!(bundle.x509(), Some(&mesh.bundle));
    assert_eq!(bundle.refresh_hint(), Some(Duration::from_secs(90)));
    assert!(bundle.sequence().is_some() && bundle.ignored().is_empty());

    let head = client().head(format!("{base}/bundle?x=1")).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.text().await.unwrap().len()), (200, 0));
    for (request, status) in [
        (client().get(format!("{base}/")), 404),
        (client().get(format!("{base}/bundle/")), 404),
        (client().post(format!("{base}/bundle")).body("x"), 405),
        (client().delete(format!("{base}/bundle")), 405),
        (client().get(format!("{base}/bundle")).header("x", "a".repeat(32 * 1024)), 431),
    ] {
        assert_eq!(request.send().await.unwrap().status(), status);
    }
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_stays_over_a_restart() {
    let directory = Directory::new();
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let mesh = Mesh::start(&directory, "demo.mesh", SPIFFE, &Clock::system()).await;
        let url = format!("https://127.0.0.1:{}/bundle", mesh.endpoint.unwrap());
        let text = client().get(url).send().await.unwrap().text().await.unwrap();
        numbers.push(SpiffeBundle::parse(&domain("demo.mesh"), &text).unwrap().sequence());
        mesh.stop().await;
    }
    assert_eq!(numbers[0], numbers[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_certificate_is_shown_and_replaced_without_a_restart() {
    let directory = Directory::new();
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let write = |authority: &Authority| {
        let leaf = authority.web("localhost");
        directory.write("web.key", &leaf.key.serialize_pem());
        directory.write("web.pem", &leaf.pem());
    };
    write(&first);
    let federation = "federation: { endpoint: { listen: \"127.0.0.1:0\", profile: https_web, certificate: web.pem, key: web.key } }";
    let mesh = Mesh::start(&directory, "demo.mesh", federation, &Clock::system()).await;
    let url = format!("https://localhost:{}/", mesh.endpoint.unwrap());
    provider();
    let trusts = |root: &CertificateDer<'static>| {
        let root = reqwest::Certificate::from_der(root).unwrap();
        reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().unwrap()
    };
    assert_eq!(trusts(&first.der).get(&url).send().await.unwrap().status(), 200);
    assert!(trusts(&second.der).get(&url).send().await.is_err());
    write(&second);
    let mut shown = false;
    for _ in 0..100 {
        shown = trusts(&second.der).get(&url).send().await.is_ok();
        if shown {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(shown, "the new certificate is not shown");
    // A bad pair leaves the good one.
    directory.write("web.pem", "nonsense");
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(trusts(&second.der).get(&url).send().await.unwrap().status(), 200);
    mesh.stop().await;
}
