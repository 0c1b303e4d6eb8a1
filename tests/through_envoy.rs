//! What the application behind a real Envoy is left with, once a credential was taken from its place.

use std::net::SocketAddr;
use std::path::PathBuf;

use hopgate::identity::SpiffeId;
use hopgate::mesh::{self, Endpoint, ForwardedCertificates};
use hopgate::runtime::Address;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::ask::Sidecar;
use crate::support::envoy::Envoy;
use crate::support::issuer::Issuer;

const KEY: &str = "hk_live_4f1d0c2b7a9e48d3b6c5a1e2f3d4c5b6";
const POLICY: &str = r#"
apiVersion: hopgate.dev/v1alpha1
kind: AccessPolicy
metadata: { name: orders, namespace: shop }
spec:
  rules:
    - name: known
      allow:
        users: {}
        requests: [{ paths: ["/orders/**", "/hook"] }]
"#;

/// An Envoy for clients from outside, with a sidecar and an application that says what it sees.
pub struct Edge {
    address: SocketAddr,
    envoy: Envoy,
    _sidecar: Sidecar,
    _tasks: JoinSet<()>,
}

impl Edge {
    /// With the policy of this file.
    async fn usual(issuer: &Issuer) -> Self {
        let sso = issuer.provider()
            + "  from:\n    - { query: access_token }\n    \
               - { cookie: session, csrf: { origins: [https://shop.test] } }\n";
        Self::start("through-envoy", POLICY, &sso).await
    }

    /// With this policy and this provider beside API keys.
    pub async fn start(name: &str, policy: &str, sso: &str) -> Self {
        Self::amended(name, (policy, sso), |_| ()).await
    }

    /// The same behind an Envoy with a bootstrap that somebody has changed.
    async fn amended(
        name: &str,
        (policy, sso): (&str, &str),
        amend: impl FnOnce(&mut Value),
    ) -> Self {
        let keys = "apiVersion: hopgate.dev/v1alpha1\nkind: IdentityProvider\n\
             metadata: { name: keys, namespace: shop }\n\
             spec:\n  apiKeys: { file: keys.txt, prefix: hk_ }\n  from: [{ header: x-api-key }]\n";
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, KEY.as_bytes());
        let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let list = format!("keys:\n  - {{ id: export, sha256: {hash} }}\n");
        let files = [
            ("policy.yaml", policy),
            ("sso.yaml", sso),
            ("keys.yaml", keys),
            ("keys.txt", list.as_str()),
        ];
        let sidecar = Sidecar::start(name, &files).await;
        let Address::Unix(authz) = &sidecar.authz else { panic!("not a unix socket") };

        let mut tasks = JoinSet::new();
        let app = mirror(&mut tasks).await;
        let directory = sidecar.scratch.path();
        let config = json!({
            "admin": format!("unix:{}", directory.join("admin.sock").display()),
            "edge": [{ "name": "public", "listen": "127.0.0.1:0", "app": app }],
        });
        let mesh = mesh::Mesh::new(
            serde_saphyr::from_str(&config.to_string()).unwrap(),
            mesh::Sidecar {
                identity: SpiffeId::parse("spiffe://test.mesh/ns/shop/sa/orders").unwrap(),
                // Nobody listens there: this listener needs no certificate.
                sds: Endpoint::Unix(PathBuf::from(directory).join("sds.sock")),
                authz: Endpoint::Unix(authz.clone()),
                tokens: None,
                forwarded: ForwardedCertificates::Replaced,
                aliases: Vec::new(),
            },
        );
        let mut bootstrap = mesh::bootstrap(&mesh.unwrap());
        amend(&mut bootstrap);
        let envoy = Envoy::start(directory, &bootstrap);
        let address = envoy.listener("edge|public").await;
        Self { address, envoy, _sidecar: sidecar, _tasks: tasks }
    }

    /// What the application saw, or the code of the refusal.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Value, u16> {
        let answer = self.send(method, path, headers).await;
        match answer.status().as_u16() {
            200 => Ok(answer.json().await.unwrap()),
            other => Err(other),
        }
    }

    /// The response as it comes; a redirection is not followed.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> reqwest::Response {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let url = format!("http://{}{path}", self.address);
        let mut request = client.build().unwrap().request(method.parse().unwrap(), url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap_or_else(|error| {
            panic!("Envoy does not answer: {error}\n{}", self.envoy.log());
        })
    }
}

/// Says what it sees, and sets headers of its own.
async fn mirror(tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = |uri: axum::http::Uri, headers: HeaderMap| async move {
        let headers: serde_json::Map<String, Value> = headers
            .keys()
            .map(|name| {
                let values: Vec<String> = headers
                    .get_all(name)
                    .iter()
                    .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
                    .collect();
                (name.to_string(), json!(values))
            })
            .collect();
        let seen = axum::Json(json!({ "uri": uri.to_string(), "headers": headers }));
        ([("x-kept", "application"), ("x-replaced", "application")], seen)
    };
    let router = axum::Router::new().fallback(answer);
    tasks.spawn(async { axum::serve(listener, router).await.unwrap() });
    address
}

#[tokio::test]
async fn a_credential_goes_and_all_else_stays() {
    let issuer = Issuer::new();
    let edge = Edge::usual(&issuer).await;
    let token = issuer.token(&json!({}));

    let path = format!("/orders/7?z=%2f&a&access_token={token}&b=%2F&a=1&b=3&c=;d");
    let seen = edge.ask("GET", &path, &[("x-team", "blue")]).await.unwrap();
    assert_eq!(seen["uri"], "/orders/7?z=%2f&a&b=%2F&a=1&b=3&c=;d", "byte for byte");
    let seen_alone = edge.ask("GET", &format!("/orders/7?access_token={token}"), &[]).await;
    assert_eq!(seen_alone.unwrap()["uri"], "/orders/7");
    assert_eq!(seen["headers"]["x-hopgate-user"], json!(["alice"]));
    assert_eq!(seen["headers"]["x-team"], json!(["blue"]));
    assert!(!seen.to_string().contains(&token), "{seen}");

    let cookies = format!("theme=dark; session={token}; lang=de");
    let seen = edge.ask("GET", "/orders/7?x", &[("cookie", &cookies)]).await.unwrap();
    assert_eq!(seen["headers"]["cookie"], json!(["theme=dark; lang=de"]));
    assert_eq!(seen["uri"], "/orders/7?x");
    let alone = format!("session={token}");
    let seen = edge.ask("GET", "/orders/7", &[("cookie", &alone)]).await.unwrap();
    assert_eq!(seen["headers"]["cookie"], Value::Null);

    let seen = edge.ask("POST", "/hook", &[("x-api-key", KEY)]).await.unwrap();
    assert_eq!(seen["headers"]["x-hopgate-user"], json!(["export"]));
    assert_eq!(seen["headers"]["x-api-key"], Value::Null);
}

#[tokio::test]
async fn what_proves_nobody_reaches_nothing() {
    let issuer = Issuer::new();
    let edge = Edge::usual(&issuer).await;
    let token = issuer.token(&json!({}));
    let cookie = format!("session={token}");
    let (api_key, wrong) = ("x-api-key", KEY.replace("4f1d", "4f1e"));

    assert_eq!(edge.ask("GET", "/orders/7", &[]).await, Err(401));
    let twice = format!("/orders/7?access_token={token}&access_token={token}");
    assert_eq!(edge.ask("GET", &twice, &[]).await, Err(401), "two in one place");
    let both = format!("/orders/7?access_token={token}");
    assert_eq!(edge.ask("GET", &both, &[("cookie", &cookie)]).await, Err(401), "two places");
    assert_eq!(edge.ask("POST", "/hook", &[(api_key, &wrong)]).await, Err(401));
    // A page elsewhere makes the browser send the cookie.
    let elsewhere = [("cookie", cookie.as_str()), ("origin", "https://elsewhere.test")];
    assert_eq!(edge.ask("POST", "/hook", &elsewhere).await, Err(401));
    let here = [("cookie", cookie.as_str()), ("origin", "https://shop.test")];
    assert!(edge.ask("POST", "/hook", &here).await.is_ok());
}

/// Makes Envoy trace by OpenTelemetry, to a collector that is not there.
fn trace(bootstrap: &mut Value) {
    let resources = &mut bootstrap["static_resources"];
    let collector = json!({
        "name": "collector",
        "type": "STATIC",
        "load_assignment": { "cluster_name": "collector", "endpoints": [{ "lb_endpoints": [{ "endpoint": {
            "address": { "socket_address": { "address": "127.0.0.1", "port_value": 1 } },
        } }] }] },
    });
    resources["clusters"].as_array_mut().unwrap().push(collector);
    let listeners = resources["listeners"].as_array_mut().unwrap();
    let edge = listeners.iter_mut().find(|listener| listener["name"] == "edge|public").unwrap();
    let manager = &mut edge["filter_chains"][0]["filters"][0]["typed_config"];
    assert!(manager["http_filters"].is_array(), "{manager}");
    manager["tracing"] = json!({ "provider": {
        "name": "envoy.tracers.opentelemetry",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
            "grpc_service": { "envoy_grpc": { "cluster_name": "collector" }, "timeout": "0.25s" },
            "service_name": "edge",
        },
    } });
}

/// An Envoy that traces sends what its client says as `tracestate` in the head of its own question, byte for byte. No client
/// may turn that question into an error, which the failure mode of the Envoy would decide, or end the connection on which
/// those of others are answered.
#[tokio::test]
async fn no_client_spoils_the_question_of_its_gate() {
    let issuer = Issuer::new();
    let edge = Edge::amended("through-tracing", (POLICY, &issuer.provider()), trace).await;
    let bearer = format!("Bearer {}", issuer.token(&json!({})));
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    // The second one is not shorter in the code of HPACK.
    for long in ["x", "~"].map(|letter| format!("a={}", letter.repeat(55_000))) {
        for (credential, expected) in [(bearer.as_str(), 200), ("Bearer nobody", 401)] {
            let headers =
                [("authorization", credential), ("traceparent", parent), ("tracestate", &long)];
            let status = edge.send("GET", "/orders/7", &headers).await.status();
            assert_eq!(status, expected, "{}", edge.envoy.log());
        }
    }
    // Blanks around a value get through where a client speaks HTTP/2.
    let stream = tokio::net::TcpStream::connect(edge.address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async { connection.await.unwrap() });
    for (credential, expected) in [(bearer.as_str(), 200), ("Bearer nobody", 401)] {
        let request = axum::http::Request::get("http://shop.test/orders/7")
            .header("authorization", credential)
            .header("traceparent", parent)
            .header("tracestate", "  a=1\t")
            .body(())
            .unwrap();
        let mut client = client.clone().ready().await.unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        assert_eq!(response.await.unwrap().status(), expected, "{}", edge.envoy.log());
    }
    let resets = edge.envoy.admin("/stats?filter=upstream_rq_rx_reset").await.unwrap();
    let of_gate = resets.lines().find(|line| line.contains("authz"));
    assert!(of_gate.is_some_and(|line| line.ends_with(": 0")), "{resets}");
}
