//! What the answers of an introspection endpoint mean, and how long.

use serde_json::json;

use super::parts::{Answer, Process, Server, active, active_with, json as says};
use crate::authentication::mint::{NOW, Signer};

const CONTEXT: &str = "from: [{ header: authorization, scheme: Bearer }]";

fn spec(base: &str, more: &str) -> String {
    format!("introspection: {{ url: {base}/introspect, auth: none{more} }}\n{CONTEXT}")
}

async fn asking(answer: Answer) -> (Server, Process) {
    let server = Server::new(move |_| answer.clone());
    let base = server.plain().await;
    (server, Process::new(&spec(&base, ""), &[]))
}

#[tokio::test]
async fn a_token_is_asked_about_as_the_rfc_says() {
    let server = Server::new(|question| {
        assert_eq!((question.method.as_str(), question.path.as_str()), ("POST", "/introspect"));
        assert_eq!(question.header("content-type"), "application/x-www-form-urlencoded");
        assert_eq!(question.header("accept"), "application/json");
        assert_eq!(question.header("authorization"), "", "the token is no credential of ours");
        let form = question.form();
        assert_eq!(form.len(), 2);
        assert_eq!(form["token_type_hint"], "access_token");
        match form["token"].as_str() {
            "a+b/c==" => says(200, &active()),
            _ => says(200, &json!({ "active": false })),
        }
    });
    let base = server.plain().await;
    let process = Process::new(&spec(&base, ", tokenTypeHint: access_token"), &[]);
    assert_eq!(process.user("a+b/c==").await.as_deref(), Ok("ann"));
    assert_eq!(process.code("a-b/c==").await, "credential_inactive");
}

#[tokio::test]
async fn only_a_clear_answer_judges() {
    let long = format!(r#"{{"active":true,"sub":"ann","x":"{}"}}"#, "x".repeat(300 * 1024));
    let deep =
        format!(r#"{{"active":true,"sub":"ann","x":{}1{}}}"#, "[".repeat(40), "]".repeat(40));
    let plain = |text: &str| (200, "application/json", text.to_owned());
    for (answer, expected) in [
        (says(200, &active()), "allow"),
        (says(200, &active_with(json!({ "exp": NOW + 1, "nbf": NOW }))), "allow"),
        // A clock that is ahead of ours by no more than the leeway.
        (says(200, &active_with(json!({ "nbf": NOW + 30, "iat": NOW + 30 }))), "allow"),
        (says(200, &active_with(json!({ "token_type": "Bearer" }))), "allow"),
        (says(200, &active_with(json!({ "token_use": "access_token" }))), "allow"),
        (says(200, &json!({ "active": false })), "credential_inactive"),
        (says(200, &active_with(json!({ "active": false }))), "credential_inactive"),
        (says(200, &active_with(json!({ "exp": NOW }))), "credential_inactive"),
        (says(200, &active_with(json!({ "nbf": NOW + 31 }))), "credential_inactive"),
        (says(200, &active_with(json!({ "token_type": "refresh_token" }))), "credential_inactive"),
        (says(200, &active_with(json!({ "token_use": "refresh_token" }))), "credential_inactive"),
        (says(200, &active_with(json!({ "typ": "Refresh" }))), "credential_inactive"),
        (says(200, &active_with(json!({ "active": null }))), "server_answer_unusable"),
        (says(200, &active_with(json!({ "active": "true" }))), "server_answer_unusable"),
        (says(200, &active_with(json!({ "active": 1 }))), "server_answer_unusable"),
        (says(200, &active_with(json!({ "exp": "tomorrow" }))), "server_answer_unusable"),
        (says(200, &active_with(json!({ "exp": -1 }))), "server_answer_unusable"),
        (plain(r#"{"active":false,"active":true,"sub":"ann"}"#), "server_answer_unusable"),
        (plain(r#"{"active":true,"sub":"ann"} {}"#), "server_answer_unusable"),
        (plain(r#"[{"active":true,"sub":"ann"}]"#), "server_answer_unusable"),
        (plain(&deep), "server_answer_unusable"),
        (plain(&long), "server_answer_unusable"),
        (plain(""), "server_answer_unusable"),
        ((200, "text/html", "<p>Sign in</p>".into()), "server_answer_unusable"),
        (
            (200, "application/token-introspection+jwt", active().to_string()),
            "server_answer_unusable",
        ),
        // No status but 200 says anything about the token, whatever stands beside it.
        (says(201, &active()), "server_answer_unusable"),
        (says(302, &active()), "server_answer_unusable"),
        (says(400, &json!({ "active": false })), "server_answer_unusable"),
        (says(404, &json!({ "active": false })), "server_answer_unusable"),
        (says(500, &json!({ "active": false })), "server_answer_unusable"),
        (says(503, &active()), "server_answer_unusable"),
        (says(401, &json!({ "active": false })), "server_refuses_us"),
        (says(403, &json!({ "active": false })), "server_refuses_us"),
    ] {
        let text = format!("{} {} {:.200}", answer.0, answer.1, answer.2);
        let (server, process) = asking(answer).await;
        assert_eq!(process.code("t").await, expected, "{text}");
        assert_eq!(server.asked(), 1, "{text}");
    }
}

#[tokio::test]
async fn who_is_at_fault_is_told_to_the_operator_and_not_in_a_token_s_words() {
    let (_server, process) = asking(says(401, &json!({ "error": "invalid_client" }))).await;
    let refused = process.user("secret-token").await.unwrap_err();
    assert_eq!(refused.blame(), hopgate::authn::Blame::Ours);
    let text = refused.to_string();
    assert!(text.contains("our own credentials") && text.contains("sso"), "{text}");
    assert!(!format!("{refused:?} {text}").contains("secret-token"));
    let (_server, process) = asking(says(200, &json!({ "active": false }))).await;
    let refused = process.user("secret-token").await.unwrap_err();
    assert_eq!(refused.blame(), hopgate::authn::Blame::Credential);
}

#[tokio::test]
async fn a_yes_is_believed_for_its_ttl() {
    let server = Server::saying(&active());
    let base = server.plain().await;
    let process = Process::new(&spec(&base, ", ttl: 60s"), &[]);
    assert_eq!(process.code("t").await, "allow");
    // Revoked meanwhile.
    server.judges(|_| says(200, &json!({ "active": false })));
    process.advance(59);
    assert_eq!(process.code("t").await, "allow");
    assert_eq!(server.asked(), 1);
    process.advance(1);
    assert_eq!(process.code("t").await, "credential_inactive");
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn a_yes_ends_with_the_token() {
    let server = Server::saying(&active_with(json!({ "exp": NOW + 10 })));
    let base = server.plain().await;
    let process = Process::new(&spec(&base, ", ttl: 60s"), &[]);
    assert_eq!(process.code("t").await, "allow");
    process.advance(9);
    assert_eq!(process.code("t").await, "allow");
    assert_eq!(server.asked(), 1);
    process.advance(1);
    // The server is asked again, and may say what it likes.
    assert_eq!(process.code("t").await, "credential_inactive");
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn a_no_is_believed_for_its_own_ttl() {
    let server = Server::saying(&json!({ "active": false }));
    let base = server.plain().await;
    let process = Process::new(&spec(&base, ", negativeTtl: 5s"), &[]);
    assert_eq!(process.code("t").await, "credential_inactive");
    server.judges(|_| says(200, &active()));
    process.advance(4);
    for _ in 0..100 {
        assert_eq!(process.code("t").await, "credential_inactive");
    }
    assert_eq!(server.asked(), 1, "a bad token costs one question");
    // The question took a moment, and the five seconds began after it.
    process.advance(3);
    assert_eq!(process.code("t").await, "allow");
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn a_failure_is_believed_for_a_moment_however_long_it_took() {
    let server = Server::saying(&active());
    let base = server.plain().await;
    let process = Process::new(&spec(&base, ", timeout: 1500ms"), &[]);
    server.hold();
    assert_eq!(process.code("t").await, "server_timeout");
    // By the clock of the process the question took no time; by a real one it took longer than failures are kept.
    process.advance(1);
    for _ in 0..100 {
        assert_eq!(process.code("t").await, "server_timeout");
    }
    assert_eq!(server.asked(), 1);
    server.release();
    process.advance(3);
    assert_eq!(process.code("t").await, "allow");
}

#[tokio::test]
async fn another_configuration_reads_no_answers_of_the_one_before() {
    let server = Server::saying(&active());
    let (one, two) = (server.plain().await, server.plain().await);
    let basic = |base: &str| {
        let auth = "{ basic: { clientId: gate, secretFile: s } }";
        format!("introspection: {{ url: {base}/introspect, auth: {auth} }}")
    };
    let mut process = Process::new(&basic(&one), &[("s", b"first")]);
    assert_eq!(process.code("t").await, "allow");
    process.reload(&basic(&one), &[("s", b"first")]);
    assert_eq!(process.code("t").await, "allow");
    assert_eq!(server.asked(), 1, "nothing changed");
    for (asked, base, secret) in [(2, &one, b"second"), (3, &two, b"second")] {
        process.reload(&basic(base), &[("s", secret)]);
        assert_eq!(process.code("t").await, "allow");
        assert_eq!(server.asked(), asked);
    }
}

#[tokio::test]
async fn another_document_is_another_server() {
    let site = |active: bool| async move {
        let key = Signer::new("ES256", "k").jwk();
        let server = Server::saying(&json!({}));
        let base = server.plain().await;
        let at = base.clone();
        server.judges(move |question| match question.path.as_str() {
            "/introspect" => says(200, &json!({ "active": active, "sub": "ann" })),
            "/keys" => says(200, &json!({ "keys": [key] })),
            _ => says(
                200,
                &json!({
                    "issuer": "https://sso.example", "jwks_uri": format!("{at}/keys"),
                    "introspection_endpoint": format!("{at}/introspect"),
                }),
            ),
        });
        base
    };
    let (one, two) = (site(true).await, site(false).await);
    let spec = |base: &str| {
        format!(
            "issuer: https://sso.example\naudienceCheck: 'Off'\nalgorithms: [ES256]\n\
             keys: {{ discovery: {{ url: {base}/document }} }}\nintrospection: {{ auth: none, ttl: 1h }}"
        )
    };
    let mut process = Process::new(&spec(&one), &[]);
    let keys = process.keys.clone();
    // Whoever comes before the document does waits for it.
    assert_eq!(process.code("t").await, "allow");
    process.reload(&spec(&two), &[]);
    let unlike = format!("{two}/introspect");
    super::parts::eventually(|| {
        keys.endpoints("sso").is_some_and(|all| all.introspection.as_deref() == Some(&*unlike))
    })
    .await;
    assert_eq!(process.code("t").await, "credential_inactive");
}

#[tokio::test]
async fn an_endpoint_that_is_not_known_yet_is_none_that_fails() {
    let server = Server::saying(&active());
    let base = server.plain().await;
    // The document is not there at first.
    server.judges(|_| says(404, &json!({})));
    let spec = format!(
        "issuer: https://sso.example\naudienceCheck: 'Off'\nalgorithms: [ES256]\n\
         keys: {{ discovery: {{ url: {base}/document }} }}\nintrospection: {{ auth: none }}"
    );
    let process = Process::new(&spec, &[]);
    for n in 0..20 {
        assert_eq!(process.code(&format!("t{n}")).await, "server_unknown");
    }
    let counts = process.resolver.counts();
    assert_eq!((counts.asked, counts.failed["server_unknown"]), (0, 20));
}
