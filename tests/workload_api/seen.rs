//! What `hopgate cert` shows of a Workload API.

use std::process::Output;

use super::endpoint::{Endpoint, ORDERS};
use crate::support::pki;

async fn cert(arguments: &[&str], socket: &std::path::Path) -> (Option<i32>, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_hopgate"));
    let place = format!("unix:{}", socket.display());
    command.arg("cert").args(arguments).arg(place).args(["--protocol", "workload-api"]);
    let Output { status, stdout, stderr } = command.env_clear().output().await.unwrap();
    let text = String::from_utf8(stdout).unwrap() + String::from_utf8_lossy(&stderr).as_ref();
    (status.code(), text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_shows_what_a_workload_api_gives_and_not_the_key() {
    use base64::Engine as _;
    let (ca, partner) = (pki::ca(), pki::ca());
    let mut identity = ca.identity(ORDERS);
    identity.bundles = identity.bundles.with_foreign(partner.bundle("spiffe://partner.mesh/x"));
    let key = identity.svid.key().to_pkcs8().to_vec();
    let key = base64::engine::general_purpose::STANDARD.encode(&key);
    let endpoint = Endpoint::start(Some(identity)).await;
    let (code, text) = cert(&["inspect"], &endpoint.socket()).await;
    assert_eq!(code, Some(0), "{text}");
    for part in [
        "(Workload API, 3 certificates)",
        ORDERS,
        "bundle of demo.mesh",
        "bundle of partner.mesh",
        &endpoint.serial(),
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains(&key[60..100]) && !text.contains("PRIVATE"), "{text}");
    let (code, text) = cert(&["expiry", "--min-left", "1h"], &endpoint.socket()).await;
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = cert(&["expiry", "--min-left", "48h"], &endpoint.socket()).await;
    assert_eq!(code, Some(1), "{text}");

    // Whoever is nobody there sees nothing, and says why.
    let closed = Endpoint::for_others(Some(ca.identity(ORDERS))).await;
    let (code, text) = cert(&["inspect"], &closed.socket()).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("no identity issued"), "{text}");
    // Nor does one wait for ever where there is nothing yet.
    let empty = Endpoint::start(None).await;
    let (code, text) = cert(&["inspect", "--timeout", "200ms"], &empty.socket()).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("no answer within 200ms"), "{text}");
    let (code, text) = cert(&["inspect"], &empty.socket().with_extension("none")).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("cannot be reached"), "{text}");
}
