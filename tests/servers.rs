//! Credentials that only a server can judge, through a real sidecar: the server is real, and counts what it is asked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::support::ask::{Sidecar, get as request, meaning};

/// A server of a provider: what it answers about each token.
#[derive(Clone, Default)]
struct Server(Arc<Inner>);

/// The header that says who asked, and the form.
type Seen = (Option<String>, BTreeMap<String, String>);

#[derive(Default)]
struct Inner {
    answers: Mutex<BTreeMap<String, (u16, Value)>>,
    seen: Mutex<Vec<Seen>>,
    asked: AtomicU32,
    delay: Mutex<Duration>,
}

impl Server {
    async fn start() -> (Self, String) {
        let server = Self::default();
        let routes = Router::new()
            .route("/introspect", post(introspect))
            .route("/users/me", get(me))
            .with_state(server.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        (server, base)
    }

    fn says(&self, token: &str, status: u16, answer: Value) {
        self.0.answers.lock().unwrap().insert(token.to_owned(), (status, answer));
    }

    fn asked(&self) -> u32 {
        self.0.asked.load(Ordering::SeqCst)
    }

    fn last_seen(&self) -> Seen {
        self.0.seen.lock().unwrap().last().cloned().unwrap()
    }

    async fn answer(
        &self,
        token: &str,
        headers: &HeaderMap,
        form: BTreeMap<String, String>,
    ) -> (StatusCode, Json<Value>) {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let authorization = headers.get("authorization").map(|v| v.to_str().unwrap().to_owned());
        self.0.seen.lock().unwrap().push((authorization, form));
        let delay = *self.0.delay.lock().unwrap();
        tokio::time::sleep(delay).await;
        let answers = self.0.answers.lock().unwrap();
        let unknown = (200, json!({ "active": false }));
        let (status, answer) = answers.get(token).unwrap_or(&unknown);
        (StatusCode::from_u16(*status).unwrap(), Json(answer.clone()))
    }
}

async fn introspect(
    State(server): State<Server>,
    headers: HeaderMap,
    Form(form): Form<BTreeMap<String, String>>,
) -> impl IntoResponse {
    let token = form.get("token").cloned().unwrap_or_default();
    server.answer(&token, &headers, form).await
}

async fn me(State(server): State<Server>, headers: HeaderMap) -> impl IntoResponse {
    let token = headers["authorization"].to_str().unwrap().replace("Bearer ", "");
    server.answer(&token, &headers, BTreeMap::new()).await
}

const POLICY: &str = r#"
apiVersion: hopgate.dev/v1alpha1
kind: AccessPolicy
metadata: { name: orders, namespace: shop }
spec:
  rules:
    - name: readers
      allow:
        users: { roles: [reader] }
        requests: [{ paths: ["/orders"] }]
    - name: whoever
      allow:
        users: {}
        requests: [{ paths: ["/me"] }]
"#;

fn provider(spec: &str) -> String {
    let head = "apiVersion: hopgate.dev/v1alpha1\nkind: IdentityProvider\nmetadata: { name: sso, namespace: shop }\nspec:\n";
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!("{head}{spec}")
}

async fn sidecar(name: &str, spec: &str, files: &[(&str, &str)]) -> Sidecar {
    let provider = provider(spec);
    let mut all = vec![("sso.yaml", provider.as_str()), ("policy.yaml", POLICY)];
    all.extend_from_slice(files);
    Sidecar::start(name, &all).await
}

fn seconds_from_now(seconds: u64) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    now.as_secs() + seconds
}

async fn code(sidecar: &mut Sidecar, path: &str, token: &str) -> (i32, String) {
    let value = format!("Bearer {token}");
    let answer = meaning(sidecar.ask(request(path, &[("authorization", &value)])).await);
    let code = answer.metadata.get("code").cloned().unwrap_or_else(|| "allow".to_owned());
    (answer.status, code)
}

#[tokio::test]
async fn an_opaque_token_is_introspected_once_and_means_what_the_server_says() {
    let (server, base) = Server::start().await;
    let spec = format!(
        "introspection:\n  url: {base}/introspect\n  auth: {{ basic: {{ clientId: 'gate 1', secretFile: secret }} }}\n  \
         tokenTypeHint: access_token\naudiences: [orders]"
    );
    let mut sidecar = sidecar("introspect", &spec, &[("secret", "p:w/+ d\n")]).await;
    let active = |more: Value| {
        let mut answer = json!({
            "active": true, "sub": "ann", "aud": "orders", "roles": ["reader"],
            "exp": seconds_from_now(300), "token_type": "Bearer",
        });
        answer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        answer
    };
    server.says("good", 200, active(json!({})));
    for _ in 0..5 {
        assert_eq!(code(&mut sidecar, "/orders", "good").await, (200, "allow".into()));
    }
    assert_eq!(server.asked(), 1, "remembered");
    let (authorization, form) = server.last_seen();
    // "gate+1:p%3Aw%2F%2B+d" would do as well; both read the same by RFC 6749, appendix B.
    use base64::Engine as _;
    let expected = base64::engine::general_purpose::STANDARD.encode("gate%201:p%3Aw%2F%2B%20d");
    assert_eq!(authorization.unwrap(), format!("Basic {expected}"));
    assert_eq!(form["token"], "good");
    assert_eq!(form["token_type_hint"], "access_token");

    for (token, status, answer, expected) in [
        ("inactive", 200, json!({ "active": false }), (401, "credential_inactive")),
        ("norole", 200, active(json!({ "roles": [] })), (403, "no_rule_allows")),
        ("elsewhere", 200, active(json!({ "aud": "payments" })), (401, "wrong_audience")),
        ("past", 200, active(json!({ "exp": 1_700_000_000 })), (401, "credential_inactive")),
        (
            "early",
            200,
            active(json!({ "nbf": seconds_from_now(600) })),
            (401, "credential_inactive"),
        ),
        (
            "refresh",
            200,
            active(json!({ "token_use": "refresh_token" })),
            (401, "credential_inactive"),
        ),
        ("us", 401, json!({ "error": "invalid_client" }), (503, "server_refuses_us")),
        ("us2", 403, json!({}), (503, "server_refuses_us")),
        ("broken", 500, json!({}), (503, "server_answer_unusable")),
        ("silent", 200, json!({ "sub": "ann" }), (503, "server_answer_unusable")),
        ("text", 200, json!({ "active": "true" }), (503, "server_answer_unusable")),
    ] {
        server.says(token, status, answer);
        let seen = code(&mut sidecar, "/orders", token).await;
        assert_eq!(seen, (expected.0, expected.1.to_owned()), "{token}");
        // Failures in a row would make the endpoint rest.
        server.says("fine", 200, active(json!({})));
        let fine = format!("fine-{token}");
        server.says(&fine, 200, active(json!({})));
        assert_eq!(code(&mut sidecar, "/orders", &fine).await.0, 200);
    }
    let log = sidecar.stop().await;
    for secret in ["good\"", "p:w", "fine-us"] {
        assert!(!log.contains(secret), "{secret} in the log");
    }
}

#[tokio::test]
async fn a_thousand_requests_with_one_token_ask_once() {
    let (server, base) = Server::start().await;
    *server.0.delay.lock().unwrap() = Duration::from_millis(300);
    server.says("hot", 200, json!({ "active": true, "sub": "ann", "roles": ["reader"] }));
    let spec = format!("introspection: {{ url: {base}/introspect, auth: none }}");
    let sidecar = sidecar("stampede", &spec, &[]).await;
    let asks = (0..1000).map(|_| {
        let mut client = sidecar.client.clone();
        tokio::spawn(async move {
            let request = request("/orders", &[("authorization", "Bearer hot")]);
            meaning(client.check(request).await.unwrap().into_inner()).allowed
        })
    });
    let asks: Vec<_> = asks.collect();
    for ask in asks {
        assert!(ask.await.unwrap());
    }
    assert_eq!(server.asked(), 1);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_server_that_is_slow_or_gone_refuses_and_is_not_hammered() {
    let (server, base) = Server::start().await;
    *server.0.delay.lock().unwrap() = Duration::from_secs(30);
    let spec = format!("introspection: {{ url: {base}/introspect, auth: none, timeout: 100ms }}");
    let mut sidecar = sidecar("slow", &spec, &[]).await;
    for _ in 0..20 {
        assert_eq!(code(&mut sidecar, "/orders", "t").await, (503, "server_timeout".into()));
    }
    assert_eq!(server.asked(), 1, "the failure is remembered for a moment");
    for n in 0..20 {
        let (status, code) = code(&mut sidecar, "/orders", &format!("t{n}")).await;
        assert_eq!(status, 503);
        assert!(["server_timeout", "server_resting"].contains(&code.as_str()), "{code}");
    }
    assert!(server.asked() <= 6, "it rests after five failures, not {}", server.asked());
    sidecar.stop().await;
}

#[tokio::test]
async fn a_user_resource_judges_its_tokens() {
    let (server, base) = Server::start().await;
    let spec = format!(
        "userinfo: {{ url: {base}/users/me, root: [data], refusals: [401, 403] }}\n\
         claims: {{ subject: [[id]], roles: [[role, name]] }}"
    );
    let mut sidecar = sidecar("userinfo", &spec, &[]).await;
    server.says("ann", 200, json!({ "data": { "id": "u1", "role": { "name": "reader" } } }));
    server.says("bob", 200, json!({ "data": { "id": "u2", "role": null } }));
    server.says("bad", 403, json!({ "errors": [] }));
    server.says("odd", 200, json!({ "id": "u3" }));
    assert_eq!(code(&mut sidecar, "/orders", "ann").await.0, 200);
    assert_eq!(code(&mut sidecar, "/orders", "bob").await, (403, "no_rule_allows".into()));
    assert_eq!(code(&mut sidecar, "/me", "bob").await.0, 200);
    assert_eq!(code(&mut sidecar, "/me", "bad").await, (401, "credential_inactive".into()));
    assert_eq!(code(&mut sidecar, "/me", "odd").await, (503, "server_answer_unusable".into()));
    assert_eq!(server.last_seen().0.unwrap(), "Bearer odd");
    sidecar.stop().await;
}
