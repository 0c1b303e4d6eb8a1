//! `hopgate cert` and `hopgate ca bundle`: certificates of files, servers and a running sidecar.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::made::{Authority, Server};
use crate::support::{Scratch, golden};

const NOW: &str = "2026-11-23T04:00:00Z";

fn hopgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cert"))
        .env_clear()
        .env("COLUMNS", "100")
        .output()
        .unwrap()
}

fn cert(arguments: &[&str]) -> (Option<i32>, String) {
    let output = hopgate(&[&["cert"], arguments].concat());
    let text = String::from_utf8(output.stdout).unwrap()
        + String::from_utf8_lossy(&output.stderr).as_ref();
    assert!(!text.contains("PRIVATE KEY"), "a private key is never printed");
    (output.status.code(), text)
}

fn json(arguments: &[&str]) -> (Option<i32>, Value) {
    let (code, text) = cert(&[arguments, &["--output", "json"]].concat());
    (code, serde_json::from_str(&text).unwrap())
}

#[test]
fn chains_names_and_lifetimes_are_drawn() {
    let (code, text) = cert(&["inspect", "orders.pem", "bundle.json", "--at", NOW]);
    assert_eq!(code, Some(0), "{text}");
    golden("cert/inspect.txt", &text);
    let (code, text) = cert(&["inspect", "odd.pem", "root.der", "--at", NOW]);
    assert_eq!(code, Some(0), "{text}");
    golden("cert/inspect-odd.txt", &text);
    let (code, object) = json(&["inspect", "orders.pem", "--at", NOW]);
    assert_eq!(code, Some(0));
    golden("cert/inspect.json", &format!("{object:#}\n"));
}

#[test]
fn each_check_says_what_it_found() {
    let verify = |more: &[&str]| cert(&[&["verify", "orders.pem", "--at", NOW], more].concat());
    let (code, text) = verify(&["--bundle", "roots.pem", "--name", "orders.shop.svc"]);
    assert_eq!(code, Some(0), "{text}");
    golden("cert/verified.txt", &text);
    let (code, text) = verify(&["--bundle", "other.pem"]);
    assert_eq!(code, Some(1), "{text}");
    golden("cert/refused.txt", &text);
    for (more, expected, part) in [
        (&["--bundle", "bundle.json"][..], 0, "passed       chain"),
        (&["--bundle", "root.der", "--id", "spiffe://demo.mesh/ns/shop/sa/orders"], 0, "identity"),
        (
            &["--bundle", "roots.pem", "--id", "spiffe://demo.mesh/other"],
            1,
            "FAILED       identity",
        ),
        (
            &["--bundle", "roots.pem", "--trust-domain", "other.mesh"],
            1,
            "there is none of demo.mesh, only of other.mesh",
        ),
        (
            &["--bundle", "roots.pem", "--name", "payments.shop.svc"],
            1,
            "the name is not among its names",
        ),
        (
            &["--bundle", "roots.pem", "--at", "2026-11-23T05:00:00Z"],
            2,
            "cannot be used multiple times",
        ),
        (&["--bundle", "nowhere.pem"], 2, "there is no such file"),
        (&["--system"], 2, "--name"),
        (&[], 2, "--bundle"),
    ] {
        let (code, text) = verify(more);
        assert_eq!(code, Some(expected), "{more:?}: {text}");
        assert!(text.contains(part), "{more:?}: {text}");
    }
    let later =
        cert(&["verify", "orders.pem", "--bundle", "roots.pem", "--at", "2026-11-23T05:00:00Z"]);
    assert!(
        later.1.contains("FAILED       dates: expired at 2026-11-23T04:40:00Z (20 min ago)"),
        "{}",
        later.1
    );
    assert_eq!(later.0, Some(1));
    let odd = cert(&["verify", "odd.pem", "--bundle", "other.pem", "--at", NOW]);
    assert!(odd.1.contains("FAILED       form: it has 2 URI names"), "{}", odd.1);
    let roots = cert(&["verify", "roots.pem", "--bundle", "roots.pem"]);
    assert_eq!((roots.0, roots.1.contains("there is nothing to verify")), (Some(2), true));
    let (code, object) = json(&["verify", "orders.pem", "--bundle", "other.pem", "--at", NOW]);
    assert_eq!((code, &object["chains"][0]["outcome"]), (Some(1), &Value::from("refused")));
    // Whoever wants the roots of this system must say whose name it should be.
    let (code, text) = verify(&["--system", "--name", "orders.shop.svc"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("FAILED       chain"), "{text}");
}

#[test]
fn what_ends_soon_is_a_no_and_what_cannot_be_read_is_no_answer() {
    let all = ["expiry", "orders.pem", "roots.pem", "other.pem", "--at", NOW];
    let (code, text) = cert(&all);
    assert_eq!(code, Some(0), "{text}");
    golden("cert/expiry.txt", &text);
    for (more, expected) in [
        (&["--min-left", "30m"][..], 0),
        (&["--min-left", "41m"], 1),
        (&["nowhere.pem"], 2),
        // A sure no is an answer.
        (&["nowhere.pem", "--min-left", "41m"], 1),
        (&["odd.pem"], 1),
        (&["--min-left", "soon"], 2),
    ] {
        let (code, text) = cert(&[&all, more].concat());
        assert_eq!(code, Some(expected), "{more:?}: {text}");
    }
    let (_, object) = json(&["expiry", "orders.pem", "nowhere.pem", "--at", NOW]);
    assert_eq!(object["certificates"][0]["leftSeconds"], 2400);
    assert_eq!(object["unread"][0]["place"], "nowhere.pem");
}

#[test]
fn a_private_key_beside_a_certificate_is_not_shown() {
    let scratch = Scratch::new("cert-key");
    let leaf = Authority::new("root").svid("spiffe://demo.mesh/a");
    let key = leaf.key.serialize_pem();
    let both = scratch.write("both.pem", &format!("{}{key}", leaf.pem()));
    let (code, text) = cert(&["inspect", both.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{text}");
    let body: String = key.lines().nth(1).unwrap().to_owned();
    assert!(!text.contains(&body) && text.contains("a private key too"), "{text}");
    let alone = scratch.write("key.pem", &key);
    let (code, text) = cert(&["inspect", alone.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{text}");
    assert!(!text.contains(&body) && text.contains("private key and no certificate"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_of_a_server_is_taken_without_trust() {
    let authority = Authority::new("root");
    let server = Server::start(authority.svid("spiffe://demo.mesh/ns/shop/sa/orders")).await;
    let place = format!("localhost:{}", server.port);
    let scratch = Scratch::new("cert-server");
    let roots = scratch.write("roots.pem", &authority.pem());
    let stranger = scratch.write("stranger.pem", &Authority::new("root").pem());
    let check = move || {
        let (code, text) = cert(&["inspect", &place]);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("(TLS server, 1 certificate)"), "{text}");
        assert!(text.contains("the server proved that it holds the key"), "{text}");
        let verify =
            |roots: &Path| cert(&["verify", &place, "--bundle", roots.to_str().unwrap()]).0;
        assert_eq!((verify(&roots), verify(&stranger)), (Some(0), Some(1)));
        let (code, text) = cert(&["inspect", "localhost:1", "--timeout", "2s"]);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("cannot connect"), "{text}");
    };
    tokio::task::spawn_blocking(check).await.unwrap();
}
