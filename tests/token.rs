//! `hopgate token`: a key is made, a token is minted with it, and looked at.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{Scratch, golden};

const NOW: &str = "2026-11-23T04:00:00Z";

fn token(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .arg("token")
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .output()
        .unwrap()
}

fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A key, and a provider that trusts it.
fn site(name: &str) -> Scratch {
    let scratch = Scratch::new(name);
    let made = token(
        scratch.path(),
        &["mint", "--new-key", "ES256", "--kid", "test", "--out", "key.pem", "--jwks", "jwks.json"],
    );
    assert_eq!(made.status.code(), Some(0));
    let keys = std::fs::read_to_string(scratch.path().join("jwks.json")).unwrap();
    provider(&scratch, &format!("{{ inline: {keys} }}"));
    scratch
}

fn provider(scratch: &Scratch, keys: &str) {
    scratch.write(
        "sso.yaml",
        &format!(
            "{{ apiVersion: hopgate.dev/v1alpha1, kind: IdentityProvider, metadata: {{ name: sso, namespace: shop }},\n\
             spec: {{ issuer: https://sso.example, audiences: [orders], algorithms: [ES256], keys: {keys} }} }}\n"
        ),
    );
}

fn mint(scratch: &Scratch, more: &[&str]) -> String {
    let usual = [
        "mint",
        "--key",
        "key.pem",
        "--kid",
        "test",
        "--issuer",
        "https://sso.example",
        "--audience",
        "orders",
        "--subject",
        "ann",
        "--claim",
        "roles=[\"support\"]",
        "--at",
        NOW,
    ];
    let output = token(scratch.path(), &[&usual, more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("for tests only"));
    printed(&output).trim().to_owned()
}

fn inspect(scratch: &Scratch, jwt: &str, more: &[&str]) -> (Option<i32>, String) {
    let file = scratch.write("token.jwt", jwt);
    let from = format!("@{}", file.display());
    let usual = ["inspect", &from, "--resources", "sso.yaml", "--at", NOW];
    let output = token(scratch.path(), &[&usual, more].concat());
    let text = printed(&output) + String::from_utf8_lossy(&output.stderr).as_ref();
    let signature = jwt.rsplit('.').next().unwrap();
    assert!(signature.len() < 10 || !text.contains(signature), "the signature is never shown");
    (output.status.code(), text)
}

#[test]
fn a_minted_token_is_verified_check_by_check() {
    let scratch = site("token-inspect");
    let jwt = mint(&scratch, &[]);
    let (code, text) = inspect(&scratch, &jwt, &[]);
    assert_eq!(code, Some(0), "{text}");
    golden("token-inspect-verified.txt", &text);
    let (code, json) = inspect(&scratch, &jwt, &["--output", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["outcome"]), (Some(0), &Value::from("verified")));
    assert_eq!(json["identity"]["subject"], "ann");
}

#[test]
fn a_refused_token_is_refused_with_the_check_and_both_sides() {
    let scratch = site("token-refused");
    let (code, text) = inspect(&scratch, &mint(&scratch, &["--claim", "aud=\"payments\""]), &[]);
    assert_eq!(code, Some(1));
    golden("token-inspect-refused.txt", &text);
    for (claim, part) in [
        ("iss=\"https://sso.example/\"", "not even the last slash"),
        ("iss=\"https://evil.example\"", "known are https://sso.example"),
        ("exp=1", "token_expired"),
        ("exp=null", "missing_expiry"),
    ] {
        let (code, text) = inspect(&scratch, &mint(&scratch, &["--claim", claim]), &[]);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(part), "{claim}: {text}");
    }
    let (code, text) = inspect(&scratch, "opaque-token", &[]);
    assert_eq!(code, Some(1));
    assert!(text.contains("token_opaque"), "{text}");
}

#[test]
fn what_cannot_be_asked_is_no_refusal() {
    let scratch = site("token-offline");
    let jwt = mint(&scratch, &[]);
    // A port on which nobody listens.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    provider(&scratch, &format!("{{ jwksUri: 'http://{closed}/keys' }}"));
    let (code, text) = inspect(&scratch, &jwt, &[]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("keys_unavailable") && text.contains(&closed.to_string()), "{text}");
    let (code, text) = inspect(&scratch, &jwt, &["--offline"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("--offline"), "{text}");
    let (code, text) = inspect(&scratch, &jwt, &["--provider", "other"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("there is shop/sso"), "{text}");
}

#[test]
fn keys_are_fetched_where_the_provider_keeps_them() {
    use std::io::{Read as _, Write as _};
    let scratch = site("token-fetch");
    let jwt = mint(&scratch, &[]);
    let keys = std::fs::read_to_string(scratch.path().join("jwks.json")).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    provider(&scratch, &format!("{{ jwksUri: 'http://{}/keys' }}", listener.local_addr().unwrap()));
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = [0; 4096];
        let length = stream.read(&mut asked).unwrap();
        assert!(asked[..length].starts_with(b"GET /keys "));
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
        write!(stream, "{head}content-length: {}\r\n\r\n{keys}", keys.len()).unwrap();
    });
    let (code, text) = inspect(&scratch, &jwt, &[]);
    assert_eq!(code, Some(0), "{text}");
    server.join().unwrap();
}

#[test]
fn an_api_key_is_said_once() {
    let scratch = Scratch::new("token-key");
    let output = token(scratch.path(), &["key", "--prefix", "hk_", "--id", "billing"]);
    assert_eq!(output.status.code(), Some(0));
    let key = printed(&output).trim().to_owned();
    let entry = String::from_utf8(output.stderr).unwrap();
    assert!(key.starts_with("hk_") && !entry.contains(&key) && entry.contains("sha256: "));
}
