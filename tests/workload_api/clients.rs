//! go-spiffe, the Python library and the Rust crate: each fetches, watches a rotation, validates, and is refused.

use futures_util::StreamExt as _;
use hopgate::identity::WorkloadIdentity;
use serde_json::{Value, json};
use spiffe::{WorkloadApiClient, WorkloadApiError};

use super::endpoint::{Endpoint, ORDERS, WEB};
use crate::support::jwt::JwtKey;
use crate::support::pki::{self, Ca};
use crate::support::spiffe::Library;

const PARTNER: &str = "spiffe://partner.mesh/ns/shop/sa/x";
const LIBRARIES: [Library; 2] = [Library::Go, Library::Python];

/// An identity with a foreign bundle and the keys of its own domain.
fn identity(ca: &Ca, partner: &Ca, key: &JwtKey) -> WorkloadIdentity {
    let mut identity = ca.identity(ORDERS);
    identity.bundles =
        identity.bundles.with_foreign(partner.bundle(PARTNER)).with_jwt(key.bundle("demo.mesh"));
    identity
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The serial as each library prints it, without leading zeros.
fn same_serial(said: &Value, serial: &str) -> bool {
    text(&said["serial"]).trim_start_matches('0') == serial.trim_start_matches('0')
}

#[tokio::test]
async fn go_and_python_fetch_certificates_and_bundles() {
    let (ca, partner, key) = (pki::ca(), pki::ca(), JwtKey::new("one"));
    let endpoint = Endpoint::start(Some(identity(&ca, &partner, &key))).await;
    for library in LIBRARIES {
        let said = library.ask("x509", &endpoint.socket(), &[]).await;
        assert_eq!(said["id"], ORDERS, "{library:?} {said}");
        assert!(same_serial(&said, &endpoint.serial()), "{library:?} {said}");
        let mut domains: Vec<_> = said["domains"].as_array().unwrap().iter().map(text).collect();
        domains.sort();
        assert_eq!(domains, ["demo.mesh", "partner.mesh"], "{library:?}");
        let said = library.ask("bundles", &endpoint.socket(), &[]).await;
        assert_eq!(said["x509"], json!({ "demo.mesh": 1, "partner.mesh": 1 }), "{library:?}");
        assert_eq!(said["jwt"], json!({ "demo.mesh": 1 }), "{library:?}");
    }
}

#[tokio::test]
async fn go_and_python_watch_a_rotation_and_wait_for_a_first_identity() {
    let ca = pki::ca();
    for library in LIBRARIES {
        let endpoint = Endpoint::start(None).await;
        let mut watch = library.start("watch", &endpoint.socket(), &["3"]);
        for _ in 0..2 {
            endpoint.show(Some(ca.identity(ORDERS)));
            let update = watch.update().await;
            assert!(same_serial(&update, &endpoint.serial()), "{library:?} {update}");
        }
        // The root changes with the leaf; the client verifies the one by the other.
        endpoint.show(Some(pki::ca().identity(ORDERS)));
        let update = watch.update().await;
        assert!(same_serial(&update, &endpoint.serial()), "{library:?} {update}");
    }
}

#[tokio::test]
async fn go_and_python_come_back_after_the_identity_was_lost() {
    let ca = pki::ca();
    for library in LIBRARIES {
        let endpoint = Endpoint::start(Some(ca.identity(ORDERS))).await;
        let mut watch = library.start("watch", &endpoint.socket(), &["2"]);
        watch.update().await;
        endpoint.show(None);
        // The Python library tries again without a word.
        if let Library::Go = library {
            let said = watch.next().await.unwrap();
            assert_eq!(said["error"], "PermissionDenied", "{said}");
            assert_eq!(said["message"], "no identity issued", "{said}");
        }
        endpoint.show(Some(ca.identity(ORDERS)));
        let update = watch.update().await;
        assert!(same_serial(&update, &endpoint.serial()), "{library:?} {update}");
    }
}

#[tokio::test]
async fn go_and_python_validate_a_token_and_are_told_of_a_bad_one() {
    let (ca, partner, key) = (pki::ca(), pki::ca(), JwtKey::new("one"));
    let endpoint = Endpoint::start(Some(identity(&ca, &partner, &key))).await;
    let (good, forged) = (key.token(WEB, "orders"), JwtKey::new("one").token(WEB, "orders"));
    for library in LIBRARIES {
        let socket = endpoint.socket();
        let said = library.ask("validate", &socket, &["orders", &good]).await;
        assert_eq!(said["id"], WEB, "{library:?} {said}");
        for (audience, token) in [("payments", &good), ("orders", &forged)] {
            let said = library.ask("validate", &socket, &[audience, token]).await.to_string();
            assert!(
                said.contains("InvalidArgument") || said.contains("INVALID_ARGUMENT"),
                "{library:?} {said}"
            );
        }
    }
}

#[tokio::test]
async fn go_and_python_are_refused_where_they_are_strangers() {
    let endpoint = Endpoint::for_others(Some(pki::ca().identity(ORDERS))).await;
    for library in LIBRARIES {
        for (command, rest) in [("x509", &[][..]), ("bundles", &[]), ("jwt", &["payments"])] {
            let said = library.ask(command, &endpoint.socket(), rest).await.to_string();
            assert!(said.contains("no identity issued"), "{library:?} {command} {said}");
            assert!(
                said.contains("PermissionDenied") || said.contains("PERMISSION_DENIED"),
                "{library:?} {command} {said}"
            );
        }
    }
}

#[tokio::test]
async fn go_ends_its_watch_without_the_header_and_knows_what_is_not_served() {
    let endpoint = Endpoint::start(Some(pki::ca().identity(ORDERS))).await;
    let said = Library::Go.ask("bare", &endpoint.socket(), &[]).await;
    assert_eq!(said["error"], "InvalidArgument", "{said}");
    assert_eq!(said["message"], "security header missing from request", "{said}");
    let said = Library::Go.ask("wit", &endpoint.socket(), &[]).await;
    assert_eq!(said["error"], "Unimplemented", "{said}");
}

#[tokio::test]
async fn two_programs_of_go_speak_mtls_with_what_two_endpoints_gave_them() {
    let ca = pki::ca();
    let orders = Endpoint::start(Some(ca.identity(ORDERS))).await;
    let web = Endpoint::start(Some(ca.identity(WEB))).await;
    let mut server = Library::Go.start("serve", &orders.socket(), &[]);
    let address = text(&server.next().await.unwrap()["address"]);
    let said = Library::Go.ask("dial", &web.socket(), &[&address, ORDERS]).await;
    assert_eq!(said["seen"], WEB, "{said}");
    let said = Library::Go.ask("dial", &web.socket(), &[&address, WEB]).await;
    assert!(text(&said["message"]).contains("unexpected ID"), "{said}");
    let stranger = Endpoint::start(Some(pki::ca().identity(WEB))).await;
    let said = Library::Go.ask("dial", &stranger.socket(), &[&address, ORDERS]).await;
    assert!(said.get("seen").is_none(), "{said}");
}

async fn rust(endpoint: &Endpoint) -> WorkloadApiClient {
    let address = format!("unix://{}", endpoint.socket().display());
    WorkloadApiClient::connect_to(address).await.unwrap()
}

#[tokio::test]
async fn rust_fetches_watches_and_validates() {
    let (ca, partner, key) = (pki::ca(), pki::ca(), JwtKey::new("one"));
    let endpoint = Endpoint::start(Some(identity(&ca, &partner, &key))).await;
    let client = rust(&endpoint).await;
    let svid = client.fetch_x509_svid().await.unwrap();
    assert_eq!(svid.spiffe_id().to_string(), ORDERS);
    assert_eq!(client.fetch_x509_bundles().await.unwrap().len(), 2);
    assert_eq!(client.fetch_jwt_bundles().await.unwrap().len(), 1);

    let mut updates = client.stream_x509_contexts().await.unwrap();
    let leaf = |context: &spiffe::X509Context| {
        let svid = context.default_svid().unwrap();
        let der = svid.cert_chain()[0].as_bytes().to_vec();
        hopgate::identity::Leaf::parse(&der).unwrap().serial().to_owned()
    };
    let first = updates.next().await.unwrap().unwrap();
    assert_eq!(leaf(&first), endpoint.serial());
    endpoint.show(Some(identity(&ca, &partner, &key)));
    let second = updates.next().await.unwrap().unwrap();
    assert_eq!(leaf(&second), endpoint.serial());
    assert_ne!(leaf(&first), leaf(&second));

    let token = key.token(WEB, "orders");
    let valid = client.validate_jwt_token("orders", &token).await.unwrap();
    assert_eq!(valid.spiffe_id().to_string(), WEB);
    let refused = client.validate_jwt_token("payments", &token).await.unwrap_err();
    assert!(refused.is_invalid_argument(), "{refused:?}");
}

#[tokio::test]
async fn rust_knows_that_no_identity_was_issued() {
    let endpoint = Endpoint::for_others(Some(pki::ca().identity(ORDERS))).await;
    let client = rust(&endpoint).await;
    let refused = client.fetch_x509_svid().await.unwrap_err();
    assert!(matches!(refused, WorkloadApiError::NoIdentityIssued), "{refused:?}");
    let refused = client.fetch_jwt_svid(["payments"], None).await.unwrap_err();
    assert!(matches!(refused, WorkloadApiError::NoIdentityIssued), "{refused:?}");
    let refused = client.fetch_x509_bundles().await.unwrap_err();
    assert!(matches!(refused, WorkloadApiError::NoIdentityIssued), "{refused:?}");
}
