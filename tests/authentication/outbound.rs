//! Tokens for the application's own calls: what the endpoint may answer, and that a token is there in time and never
//! after its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use hopgate::authn::{Bearer, TargetConfig, Tokens};
use hopgate::policy::{Algorithm, Keys};
use hopgate::runtime::{Clock, Drain};
use rcgen::KeyPair;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::mint::{compile, provider};
use super::online::parts::{Answer, Server, eventually, json as says};
use crate::support::Scratch;

fn target(text: &str) -> Result<TargetConfig, String> {
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

/// A target with the usual fields, and these.
fn usual(url: &str, more: &str) -> TargetConfig {
    let text = format!("name: partner\nhosts: [api.example]\ntokenUrl: {url}\n{more}");
    target(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn start(target: &TargetConfig) -> (Tokens, Drain) {
    let (tokens, sources) =
        Tokens::compile(std::slice::from_ref(target), &Clock::system()).unwrap();
    let drain = Drain::new();
    for source in sources {
        tokio::spawn(source.run(drain.clone()));
    }
    (tokens, drain)
}

/// A running target with a secret in a file.
async fn with_secret(server: &Server) -> (Tokens, Drain, Scratch) {
    let scratch = Scratch::new("tokens");
    let secret = scratch.write("secret", "s3cret");
    let auth = format!("auth: {{ post: {{ clientId: gate, secretFile: {} }} }}", secret.display());
    let (tokens, drain) = start(&usual(&format!("{}/token", server.plain().await), &auth));
    (tokens, drain, scratch)
}

fn now() -> SystemTime {
    Clock::system().now()
}

fn value(tokens: &Tokens, at: SystemTime) -> Option<String> {
    match tokens.bearer("api.example", at) {
        Bearer::Header { name, value } => {
            assert_eq!(name, "authorization");
            Some(value.to_string())
        }
        Bearer::Missing { target } => {
            assert_eq!(target, "partner");
            None
        }
        Bearer::NotNamed => panic!("it is named"),
    }
}

fn granted(more: Value) -> Answer {
    let mut answer = json!({ "access_token": "t", "token_type": "Bearer", "expires_in": 3600 });
    for (name, value) in more.as_object().unwrap() {
        answer[name] = value.clone();
    }
    says(200, &answer)
}

#[tokio::test]
async fn all_who_wait_for_the_first_token_ask_once() {
    let server = Server::new(|_| granted(json!({})));
    server.hold();
    let (tokens, drain, _scratch) = with_secret(&server).await;
    assert_eq!(value(&tokens, now()), None);
    let late = Instant::now() + Duration::from_millis(50);
    tokens.ready("api.example", now(), late).await;
    assert_eq!(value(&tokens, now()), None, "the deadline passed");
    tokens.ready("other.example", now(), Instant::now() + Duration::from_secs(60)).await;
    let tokens = Arc::new(tokens);
    let waiting = (0..100).map(|_| {
        let tokens = Arc::clone(&tokens);
        tokio::spawn(async move {
            let deadline = Instant::now() + Duration::from_secs(20);
            tokens.ready("api.example", now(), deadline).await;
            value(&tokens, now())
        })
    });
    let waiting: Vec<_> = waiting.collect();
    server.was_asked(1).await;
    server.release();
    for waiter in waiting {
        assert_eq!(waiter.await.unwrap().as_deref(), Some("Bearer t"));
    }
    assert_eq!(server.asked(), 1);
    drain.begin();
}

#[tokio::test]
async fn a_token_is_given_out_until_shortly_before_its_end() {
    let server = Server::new(|_| granted(json!({ "expires_in": "100" })));
    let before = now();
    let (tokens, drain, _scratch) = with_secret(&server).await;
    eventually(|| value(&tokens, now()).is_some()).await;
    let until = tokens.status()[0].until.unwrap();
    assert!(until >= before + Duration::from_secs(95) && until <= now() + Duration::from_secs(95));
    assert!(value(&tokens, until - Duration::from_nanos(1)).is_some());
    assert_eq!(value(&tokens, until), None);
    drain.begin();
}

#[tokio::test]
async fn the_life_of_a_token_begins_when_it_was_asked_for() {
    let server = Server::new(|_| granted(json!({ "expires_in": 100 })));
    server.hold();
    let (tokens, drain, _scratch) = with_secret(&server).await;
    server.was_asked(1).await;
    let asked = now();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    server.release();
    eventually(|| value(&tokens, now()).is_some()).await;
    assert!(tokens.status()[0].until.unwrap() <= asked + Duration::from_secs(95));
    drain.begin();
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_kept_while_that_fails() {
    let (count, fails) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU16::new(0)));
    let (counted, failing) = (Arc::clone(&count), Arc::clone(&fails));
    let server = Server::new(move |_| match failing.load(Ordering::SeqCst) {
        0 => {
            let n = counted.fetch_add(1, Ordering::SeqCst) + 1;
            granted(json!({ "access_token": format!("t{n}"), "expires_in": 3 }))
        }
        status => says(status, &json!({ "error": "temporarily_unavailable" })),
    });
    let (tokens, drain, _scratch) = with_secret(&server).await;
    eventually(|| value(&tokens, now()).is_some()).await;
    // Through two renewals there is never a moment without.
    eventually(|| {
        assert!(value(&tokens, now()).is_some());
        count.load(Ordering::SeqCst) == 3
    })
    .await;
    assert!(server.asked() <= 4, "half of its life at the earliest");
    eventually(|| value(&tokens, now()).as_deref() == Some("Bearer t3")).await;
    let until = tokens.status()[0].until.unwrap();
    fails.store(503, Ordering::SeqCst);
    eventually(|| tokens.status()[0].last_error.is_some()).await;
    if now() < until {
        assert_eq!(value(&tokens, now()).as_deref(), Some("Bearer t3"), "still good");
    }
    eventually(|| now() >= until).await;
    assert_eq!(value(&tokens, now()), None, "not a moment longer");
    fails.store(0, Ordering::SeqCst);
    eventually(|| value(&tokens, now()).is_some()).await;
    assert_eq!(tokens.status()[0].last_error, None);
    drain.begin();
}

#[tokio::test]
async fn a_secret_that_is_replaced_is_used_and_one_that_is_gone_is_kept() {
    let server = Server::new(|question| match question.form()["client_secret"].as_str() {
        "second" => granted(json!({ "expires_in": 2 })),
        _ => says(401, &json!({ "error": "invalid_client" })),
    });
    let (tokens, drain, scratch) = with_secret(&server).await;
    eventually(|| tokens.status()[0].failures == 1).await;
    let file = scratch.write("secret", "second\n");
    eventually(|| value(&tokens, now()).is_some()).await;
    std::fs::remove_file(file).unwrap();
    eventually(|| tokens.status()[0].grants >= 3).await;
    scratch.write("secret", "third");
    eventually(|| value(&tokens, now()).is_none()).await;
    drain.begin();
}

#[tokio::test]
async fn only_a_usable_bearer_token_is_taken() {
    let long = "x".repeat(16 * 1024 + 1);
    let text = |text: &str| (200, "application/json", text.to_owned());
    for (answer, expected) in [
        (granted(json!({})), "taken"),
        (granted(json!({ "token_type": "bEARER", "expires_in": null })), "taken"),
        (granted(json!({ "token_type": null })), "unusable"),
        (granted(json!({ "token_type": "DPoP" })), "unusable"),
        (granted(json!({ "access_token": null })), "unusable"),
        (granted(json!({ "access_token": "" })), "unusable"),
        (granted(json!({ "access_token": "a b" })), "unusable"),
        (granted(json!({ "access_token": "a\r\nx-admin: 1" })), "unusable"),
        (granted(json!({ "access_token": "ä" })), "unusable"),
        (granted(json!({ "access_token": long })), "unusable"),
        (granted(json!({ "expires_in": 0 })), "unusable"),
        (granted(json!({ "expires_in": -1 })), "unusable"),
        (granted(json!({ "expires_in": "soon" })), "unusable"),
        (text(r#"{"access_token":"a","access_token":"b","token_type":"Bearer"}"#), "unusable"),
        (text("<p>Sign in</p>"), "unusable"),
        (says(201, &json!({ "access_token": "t", "token_type": "Bearer" })), "refused"),
        (says(302, &json!({})), "refused"),
        (says(400, &json!({ "error": "invalid_scope" })), "refused"),
        (says(401, &json!({ "error": "invalid_client" })), "refused"),
        (text(&format!("{{\"x\":\"{}\"}}", "x".repeat(70_000))), "too_large"),
    ] {
        let shown = format!("{} {:.100}", answer.0, answer.2);
        let server = Server::new(move |_| answer.clone());
        let (tokens, drain, _scratch) = with_secret(&server).await;
        let outcome = || {
            let status = tokens.status().remove(0);
            status.last_error.as_ref().map(|error| error.code()).or(status.until.map(|_| "taken"))
        };
        eventually(|| outcome().is_some()).await;
        assert_eq!(outcome(), Some(expected), "{shown}");
        assert_eq!(value(&tokens, now()).is_some(), expected == "taken", "{shown}");
        drain.begin();
    }
}

#[tokio::test]
async fn what_an_endpoint_says_is_not_repeated_unless_it_is_a_word_of_the_rfc() {
    let server = Server::new(|_| says(400, &json!({ "error": "your secret s3cret is wrong" })));
    let (tokens, drain, _scratch) = with_secret(&server).await;
    eventually(|| tokens.status()[0].last_error.is_some()).await;
    let error = tokens.status()[0].last_error.clone().unwrap();
    assert_eq!(error.to_string(), "the token endpoint answered 400");
    assert!(!format!("{error:?}").contains("s3cret"));
    drain.begin();
}

#[tokio::test]
async fn a_signed_assertion_gets_a_token_and_another_key_does_not() {
    let scratch = Scratch::new("assertion");
    let key = KeyPair::generate().unwrap();
    for (pem, expected) in
        [(key.serialize_pem(), true), (KeyPair::generate().unwrap().serialize_pem(), false)]
    {
        let mut client = provider("client", &[Algorithm::ES256], Keys::Pem(key.public_key_pem()));
        client.spec.tokens.as_mut().unwrap().issuers = vec!["gate".into()];
        client.spec.rules.audience = hopgate::policy::Audience::AnyOf {
            audiences: vec!["https://sso.example".into()],
            claims: vec!["aud".into()],
        };
        let providers = compile(&[client]).unwrap();
        let server = Server::new(move |question| {
            let form = question.form();
            assert_eq!(form["grant_type"], "client_credentials");
            assert_eq!((form["scope"].as_str(), form["resource"].as_str()), ("a b", "urn:x"));
            let verifier = hopgate::authn::Verifier::new(1).unwrap();
            match verifier.user(&form["client_assertion"], &providers, now()) {
                Ok(_) => granted(json!({})),
                Err(_) => says(401, &json!({ "error": "invalid_client" })),
            }
        });
        let file = scratch.write("key.pem", &pem);
        let auth = format!(
            "scopes: [a, b]\nresource: 'urn:x'\nauth: {{ privateKeyJwt: {{ clientId: gate, keyFile: {}, \
             algorithm: ES256, audience: 'https://sso.example' }} }}",
            file.display()
        );
        let (tokens, drain) = start(&usual(&server.plain().await, &auth));
        eventually(|| tokens.status()[0].grants + tokens.status()[0].failures > 0).await;
        assert_eq!(value(&tokens, now()).is_some(), expected);
        drain.begin();
    }
}

#[test]
fn mistakes_name_their_field() {
    let scratch = Scratch::new("targets");
    let secret = scratch.write("secret", "s3cret").display().to_string();
    let auth = format!("auth: {{ basic: {{ clientId: gate, secretFile: {secret} }} }}");
    let with = |name: &str, hosts: &str, url: &str, more: &str| {
        target(&format!("name: {name}\nhosts: {hosts}\ntokenUrl: {url}\n{more}"))
    };
    let url = "https://sso.example/token";
    let refused = |all: Vec<Result<TargetConfig, String>>| {
        let all: Result<Vec<_>, _> = all.into_iter().collect();
        match all {
            Err(error) => error,
            Ok(all) => Tokens::compile(&all, &Clock::system())
                .map_or_else(|error| error.to_string(), |_| "accepted".to_owned()),
        }
    };
    let one = |hosts: &str, url: &str, more: &str| refused(vec![with("one", hosts, url, more)]);
    assert_eq!(one("[a.example, '*.b.example']", url, &auth), "accepted");
    for (text, expected) in [
        (one("[]", url, &auth), "tokens[0].hosts: name at least one host"),
        (one("['https://a.example']", url, &auth), "tokens[0].hosts"),
        (one("['a.example:443']", url, &auth), "tokens[0].hosts"),
        (one("['A.example']", url, &auth), "tokens[0].hosts"),
        (one("['*']", url, &auth), "tokens[0].hosts"),
        (one("['a.*.example']", url, &auth), "tokens[0].hosts"),
        (one("[a.example]", "http://sso.example/token", &auth), "tokens[0].tokenUrl"),
        (one("[a.example]", "https://169.254.169.254/token", &auth), "tokens[0].tokenUrl"),
        (one("[a.example]", "sso", &auth), "tokens[0].tokenUrl"),
        (one("[a.example]", url, &format!("{auth}\nheader: host")), "tokens[0].header"),
        (one("[a.example]", url, &format!("{auth}\nheader: 'a b'")), "tokens[0].header"),
        (
            one("[a.example]", url, &format!("{auth}\nparameters: {{ client_id: x }}")),
            "tokens[0].parameters",
        ),
        (
            one("[a.example]", url, &format!("{auth}\nparameters: {{ grant_type: password }}")),
            "tokens[0].parameters",
        ),
        (
            one("[a.example]", url, "auth: { basic: { clientId: x, secretFile: /none/there } }"),
            "tokens[0].auth: cannot read",
        ),
        (
            one(
                "[a.example]",
                url,
                &format!(
                    "auth: {{ privateKeyJwt: {{ clientId: x, keyFile: {secret}, algorithm: HS256 }} }}"
                ),
            ),
            "tokens[0].auth",
        ),
        (
            one(
                "[a.example]",
                url,
                &format!(
                    "auth: {{ privateKeyJwt: {{ clientId: x, keyFile: {secret}, algorithm: ES256 }} }}"
                ),
            ),
            "tokens[0].auth",
        ),
        (one("[a.example]", url, &format!("{auth}\nscopes: null")), "scopes"),
        (one("[a.example]", url, &format!("{auth}\nscope: [a]")), "scope"),
        (one("[a.example]", url, ""), "auth"),
        (
            refused(vec![
                with("one", "[a.example]", url, &auth),
                with("two", "[b.example, a.example]", url, &auth),
            ]),
            "tokens[1].hosts",
        ),
        (
            refused(vec![
                with("one", "[a.example]", url, &auth),
                with("one", "[b.example]", url, &auth),
            ]),
            "tokens[1].name",
        ),
    ] {
        assert!(text.contains(expected), "{expected} expected: {text}");
        assert!(!text.contains("s3cret"));
    }
}
