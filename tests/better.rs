//! What other gates get wrong, as measured with them, and this one does not.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::routing::get as route;
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use hopgate::runtime::{Address, Clock};
use hopgate::sidecar::{Bound, Config};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::Scratch;
use crate::support::ask::{Meaning, channel, get, meaning, page};
use crate::support::envoy::eventually;
use crate::support::issuer::Issuer;

const POLICY: &str = r#"
apiVersion: hopgate.dev/v1alpha1
kind: AccessPolicy
metadata: { name: orders, namespace: shop }
spec:
  rules:
    - name: orders
      allow:
        users: { providers: [sso] }
        requests: [{ paths: ["/orders/**"] }]
"#;

/// A provider that can go away and come back at its port, and counts who asks for its keys.
struct Site {
    port: u16,
    jwks: Arc<(Mutex<String>, AtomicU32)>,
    running: Option<JoinHandle<()>>,
}

impl Site {
    async fn start(issuer: &Issuer) -> Self {
        let jwks = Arc::new((Mutex::new(issuer.jwks().to_string()), AtomicU32::new(0)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut site = Self { port, jwks, running: None };
        site.serve(listener);
        site
    }

    fn serve(&mut self, listener: tokio::net::TcpListener) {
        type Keys = Arc<(Mutex<String>, AtomicU32)>;
        let keys = |State(jwks): State<Keys>| async move {
            jwks.1.fetch_add(1, Ordering::SeqCst);
            jwks.0.lock().unwrap().clone()
        };
        let routes = Router::new().route("/keys", route(keys)).with_state(Arc::clone(&self.jwks));
        self.running =
            Some(tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() }));
    }

    fn fetches(&self) -> u32 {
        self.jwks.1.load(Ordering::SeqCst)
    }

    async fn go_away(&mut self) {
        let running = self.running.take().unwrap();
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
    }

    async fn come_back(&mut self) {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.serve(listener);
    }
}

/// One life of a sidecar whose home and state stay.
struct Gate {
    client: AuthorizationClient<tonic::transport::Channel>,
    admin: Address,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Gate {
    async fn start(home: &Scratch, site: &Site, clock: Clock) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let provider = format!(
            "apiVersion: hopgate.dev/v1alpha1\nkind: IdentityProvider\nmetadata: {{ name: sso, namespace: shop }}\n\
             spec:\n  issuer: https://sso.test\n  audiences: [orders]\n  algorithms: [ES256]\n  \
             keys: {{ jwksUri: \"http://127.0.0.1:{}/keys\", refreshInterval: 5m, maxStale: 24h }}\n",
            site.port
        );
        home.write("resources/sso.yaml", &provider);
        home.write("resources/policy.yaml", POLICY);
        let config = home.write(
            "sidecar.yaml",
            "workload: { trustDomain: test.mesh, namespace: shop, serviceAccount: orders }\n\
             resources: [resources]\nextAuthz: { listen: [\"unix:authz.sock\"] }\nstateDir: state\n\
             admin: { listen: \"127.0.0.1:0\" }\ndecisionLog: { path: decisions.log }\n",
        );
        let config: Config = hopgate::config::sidecar(&config, Default::default()).unwrap();
        let bound = Bound::build(config, clock).await.unwrap();
        let (admin, authz) =
            (bound.addresses().admin.clone(), bound.addresses().ext_authz[0].clone());
        let (stop, stopped) = oneshot::channel();
        let ended =
            tokio::spawn(async move { bound.run(async { drop(stopped.await) }).await.unwrap() });
        Self { client: AuthorizationClient::new(channel(&authz)), admin, stop, ended }
    }

    async fn ready(&self) -> bool {
        eventually(async || page(&self.admin, "/readyz").await.0 == 200).await
    }

    async fn ask(&mut self, path: &str, token: &str) -> Meaning {
        let value = format!("Bearer {token}");
        let request = get(path, &[("authorization", &value)]);
        meaning(self.client.check(request).await.expect("never a gRPC error").into_inner())
    }

    async fn code(&mut self, token: &str) -> (i32, String) {
        let answer = self.ask("/orders/1", token).await;
        let code = answer.metadata.get("code").cloned().unwrap_or_else(|| "allow".to_owned());
        (answer.status, code)
    }

    async fn health(&self) -> String {
        let (_, metrics) = page(&self.admin, "/metrics").await;
        let line = metrics.lines().find(|line| line.starts_with("hopgate_authn_key_health{"));
        let label = line.unwrap().split("health=\"").nth(1).unwrap();
        label.split('"').next().unwrap().to_owned()
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        drop(self.client);
        self.ended.await.unwrap();
    }
}

fn lasting(issuer: &Issuer, kid: Option<&str>) -> String {
    let exp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + 400_000;
    let token = issuer.token(&json!({ "exp": exp }));
    match kid {
        None => token,
        Some(kid) => {
            use base64::Engine as _;
            let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
            let header = engine.encode(json!({ "alg": "ES256", "kid": kid }).to_string());
            format!("{header}.{}", token.split_once('.').unwrap().1)
        }
    }
}

#[tokio::test]
async fn the_provider_goes_away_and_known_keys_stay() {
    let issuer = Issuer::new();
    let mut site = Site::start(&issuer).await;
    let (home, start) = (Scratch::new("outage"), SystemTime::now());
    let clock = Clock::manual(start);
    let token = lasting(&issuer, None);
    let mut gate = Gate::start(&home, &site, clock.clone()).await;
    assert!(gate.ready().await);
    assert_eq!(gate.code(&token).await, (200, "allow".into()));
    assert_eq!(gate.health().await, "fresh");

    site.go_away().await;
    clock.advance(Duration::from_secs(600));
    assert_eq!(gate.code(&token).await, (200, "allow".into()), "longer than the refresh interval");
    gate.stop().await;

    // A restart while the provider is away: it is ready at once, and known keys verify.
    let mut gate = Gate::start(&home, &site, clock.clone()).await;
    assert!(gate.ready().await);
    assert_eq!(gate.health().await, "last_good");
    assert_eq!(gate.code(&token).await, (200, "allow".into()));
    assert_eq!(gate.code(&lasting(&issuer, Some("new"))).await, (401, "unknown_key".into()));

    clock.advance(Duration::from_secs(25 * 3600));
    assert_eq!(gate.code(&token).await, (503, "keys_stale".into()), "past maxStale");
    assert_eq!(gate.health().await, "stale");
    let (_, config) = page(&gate.admin, "/config").await;
    assert!(config.contains("\"health\": \"stale\""), "{config}");

    site.come_back().await;
    clock.advance(Duration::from_secs(3600));
    assert!(
        eventually(async || gate.code(&token).await.0 == 200).await,
        "healed without a restart"
    );
    assert_eq!(gate.health().await, "fresh");
    gate.stop().await;
}

#[tokio::test]
async fn a_thousand_requests_with_an_unknown_key_make_one_fetch() {
    let issuer = Issuer::new();
    let site = Site::start(&issuer).await;
    let home = Scratch::new("unknown-kids");
    let gate = Gate::start(&home, &site, Clock::system()).await;
    assert!(gate.ready().await);
    let before = site.fetches();
    let asks: Vec<_> = (0..1000)
        .map(|number| {
            let mut client = gate.client.clone();
            let value =
                format!("Bearer {}", lasting(&issuer, Some(&format!("kid-{}", number % 50))));
            tokio::spawn(async move {
                let request = get("/orders/1", &[("authorization", &value)]);
                meaning(client.check(request).await.unwrap().into_inner())
            })
        })
        .collect();
    for ask in asks {
        let answer = ask.await.unwrap();
        assert_eq!((answer.status, answer.metadata["code"].as_str()), (401, "unknown_key"));
    }
    assert_eq!(site.fetches() - before, 1);
    gate.stop().await;
}

#[tokio::test]
async fn bad_tokens_cost_the_provider_nothing_and_tell_the_client_nothing() {
    let (issuer, stranger) = (Issuer::new(), Issuer::new());
    let site = Site::start(&issuer).await;
    let home = Scratch::new("better");
    let mut gate = Gate::start(&home, &site, Clock::system()).await;
    assert!(gate.ready().await);
    let before = site.fetches();
    for number in 0..50 {
        let (forged, unknown) = (
            stranger.token(&json!({ "jti": number.to_string() })),
            lasting(&issuer, Some(&format!("kid-{number}"))),
        );
        for token in [forged, unknown] {
            let refused = gate.ask("/orders/1", &token).await;
            assert!(!refused.allowed);
            let told = format!("{}{:?}", refused.body, refused.headers);
            for secret in ["127.0.0.1", &site.port.to_string(), "sso", "kid", "signature", "key"] {
                assert!(!told.contains(secret), "{secret} in {told}");
            }
        }
    }
    assert!(site.fetches() - before <= 1, "{} fetches for 100 bad tokens", site.fetches() - before);

    let good = issuer.token(&json!({}));
    for (token, code) in [
        (issuer.token(&json!({ "exp": null })), "missing_expiry"),
        (issuer.token(&json!({ "aud": "payments" })), "wrong_audience"),
        (issuer.token(&json!({ "aud": null })), "wrong_audience"),
        (issuer.token(&json!({ "iss": "https://sso.evil" })), "unknown_issuer"),
        (issuer.token(&json!({ "iss": null })), "missing_issuer"),
    ] {
        assert_eq!(gate.code(&token).await, (401, code.to_owned()));
    }
    // The path is judged as the service will see it, not as it was written.
    for path in ["/orders/%2e%2e/admin", "/orders/../admin", "/orders/%2E%2E%2fadmin"] {
        let refused = gate.ask(path, &good).await;
        assert_eq!(refused.status, 400, "{path}");
    }
    // `get` sends headers raw, as `encode_raw_headers` has Envoy do: with others nothing passes then.
    assert!(gate.ask("/orders/1", &good).await.allowed);
    gate.stop().await;
    let log = std::fs::read_to_string(home.path().join("decisions.log")).unwrap();
    assert!(log.lines().count() > 100);
    for part in good.split('.') {
        assert!(!log.contains(part), "a part of a token in the log");
    }
}

#[tokio::test]
async fn before_the_keys_are_there_a_gate_is_not_ready_and_refuses() {
    let issuer = Issuer::new();
    let mut site = Site::start(&issuer).await;
    site.go_away().await;
    let home = Scratch::new("no-keys");
    let mut gate = Gate::start(&home, &site, Clock::system()).await;
    let (status, missing) = page(&gate.admin, "/readyz").await;
    assert_eq!(status, 503);
    assert!(missing.contains("no keys yet of sso"), "{missing}");
    let token = issuer.token(&json!({}));
    assert_eq!(gate.code(&token).await, (503, "keys_unavailable".into()));
    site.come_back().await;
    assert!(gate.ready().await, "by itself");
    assert_eq!(gate.code(&token).await, (200, "allow".into()));
    gate.stop().await;
}
