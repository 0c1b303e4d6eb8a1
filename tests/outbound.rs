//! Tokens for the application's own calls, through a real sidecar and from a real token endpoint.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use hopgate::runtime::Clock;
use hopgate::sidecar::{Bound, Config};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::support::Scratch;
use crate::support::ask::{Meaning, channel, http, meaning};

#[derive(Clone, Default)]
struct Endpoint(Arc<Inner>);

/// The header that says who asked, and the form.
type Seen = (Option<String>, BTreeMap<String, String>);

#[derive(Default)]
struct Inner {
    asked: AtomicU32,
    seen: Mutex<Vec<Seen>>,
    fails: Mutex<Option<u16>>,
}

async fn token(
    State(endpoint): State<Endpoint>,
    headers: HeaderMap,
    Form(form): Form<BTreeMap<String, String>>,
) -> impl IntoResponse {
    let count = endpoint.0.asked.fetch_add(1, Ordering::SeqCst) + 1;
    let authorization = headers.get("authorization").map(|v| v.to_str().unwrap().to_owned());
    endpoint.0.seen.lock().unwrap().push((authorization, form));
    if let Some(status) = *endpoint.0.fails.lock().unwrap() {
        let answer: Value = json!({ "error": "invalid_client", "error_description": "secret" });
        return (StatusCode::from_u16(status).unwrap(), Json(answer));
    }
    let answer = json!({
        "access_token": format!("t{count}%2B"), "token_type": "bearer", "expires_in": 3600,
    });
    (StatusCode::OK, Json(answer))
}

struct Door {
    endpoint: Endpoint,
    client: AuthorizationClient<tonic::transport::Channel>,
    admin: hopgate::runtime::Address,
    stop: oneshot::Sender<()>,
    _scratch: Scratch,
}

impl Door {
    async fn start(name: &str, fails: Option<u16>) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let endpoint = Endpoint::default();
        *endpoint.0.fails.lock().unwrap() = fails;
        let routes = Router::new().route("/token", post(token)).with_state(endpoint.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let scratch = Scratch::new(name);
        scratch.write("secret", "s3cret\n");
        scratch.write("resources/p.yaml", "apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: p, namespace: shop }\nspec: { rules: [{ name: r, allow: { users: {} } }] }\n");
        let config = scratch.write(
            "sidecar.yaml",
            &format!(
                "workload: {{ trustDomain: test.mesh, namespace: shop, serviceAccount: orders }}\n\
                 resources: [resources]\n\
                 extAuthz: {{ listen: [\"unix:authz.sock\"], longestWait: 300ms }}\n\
                 outbound:\n  listen: \"unix:outbound.sock\"\n  tokens:\n    - name: partner\n      \
                 hosts: [api.partner.example, \"*.partner.internal\"]\n      tokenUrl: {url}\n      \
                 auth: {{ basic: {{ clientId: gate, secretFile: secret }} }}\n      scopes: [read, write]\n      \
                 audience: partner\n      parameters: {{ tenant: acme }}\n\
                 admin: {{ listen: \"127.0.0.1:0\" }}\ndecisionLog: {{ path: decisions.log }}\n"
            ),
        );
        let config: Config = hopgate::config::sidecar(&config, Default::default()).unwrap();
        let bound = Bound::build(config, Clock::system()).await.unwrap();
        let addresses = bound.addresses().clone();
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(bound.run(async { drop(stopped.await) }));
        let client = AuthorizationClient::new(channel(&addresses.outbound.unwrap()));
        Self { endpoint, client, admin: addresses.admin, stop, _scratch: scratch }
    }

    async fn call(&mut self, host: &str) -> Meaning {
        let mut request = http("GET", "/v1/things", &[("authorization", "Bearer forged")]);
        let http = request.attributes.as_mut().unwrap().request.as_mut().unwrap();
        let http = http.http.as_mut().unwrap();
        http.host = host.into();
        for header in &mut http.header_map.as_mut().unwrap().headers {
            if header.key == ":authority" {
                header.raw_value = host.into();
            }
        }
        meaning(self.client.check(request).await.expect("never a gRPC error").into_inner())
    }
}

#[tokio::test]
async fn calls_to_named_hosts_get_a_token_and_others_nothing() {
    let mut door = Door::start("outbound", None).await;
    for host in ["api.partner.example", "API.partner.example:443", "a.b.partner.internal"] {
        let call = door.call(host).await;
        assert!(call.allowed, "{host}: {call:?}");
        // Exactly as it came: nothing is escaped on the way.
        assert_eq!(call.header("authorization"), Some("Bearer t1%2B"), "{host}");
    }
    for host in ["partner.internal", "api.partner.example.evil.example", "other.example"] {
        let call = door.call(host).await;
        assert!(call.allowed && call.headers.is_empty(), "{host}: {call:?}");
    }
    let refused = door.call("a,b").await;
    assert_eq!((refused.allowed, refused.status), (false, 400));
    assert_eq!(door.endpoint.0.asked.load(Ordering::SeqCst), 1);
    let (authorization, form) = door.endpoint.0.seen.lock().unwrap()[0].clone();
    assert_eq!(authorization.unwrap(), "Basic Z2F0ZTpzM2NyZXQ=");
    let form: Vec<(&str, &str)> = form.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        form,
        [
            ("audience", "partner"),
            ("grant_type", "client_credentials"),
            ("scope", "read write"),
            ("tenant", "acme")
        ]
    );
    let (_, config) = crate::support::ask::page(&door.admin, "/config").await;
    assert!(config.contains("\"target\": \"partner\"") && !config.contains("s3cret"), "{config}");
    assert!(!config.contains("t1%2B"), "no token is shown");
    door.stop.send(()).unwrap();
}

#[tokio::test]
async fn without_a_token_a_call_is_not_sent() {
    let mut door = Door::start("outbound-down", Some(401)).await;
    let refused = door.call("api.partner.example").await;
    assert_eq!((refused.allowed, refused.status), (false, 503));
    assert_eq!(refused.metadata["code"], "outbound_token_unavailable");
    assert!(door.call("other.example").await.allowed, "others go on");
    let (_, config) = crate::support::ask::page(&door.admin, "/config").await;
    assert!(config.contains("answered 401 (invalid_client)"), "{config}");
    // It heals by itself.
    *door.endpoint.0.fails.lock().unwrap() = None;
    let healed = async { while !door.call("api.partner.example").await.allowed {} };
    tokio::time::timeout(std::time::Duration::from_secs(20), healed).await.expect("heals");
    door.stop.send(()).unwrap();
}
