//! A server that counts what it is asked, and the parts of a process that ask it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response};
use hopgate::authn::{
    BrakeRules, BrakesRules, Evidence, Files, ForwardRules, HttpClient, HttpEvidence, HttpOptions,
    KeyHandle, KeyRefresh, Learned, PeerEvidence, PeerRules, Providers, Resolver, Unauthenticated,
    Unproven, Verifier, authenticate,
};
use hopgate::identity::{Members, TrustDomain};
use hopgate::policy::{self, IdentityProvider, Resource};
use hopgate::runtime::{Clock, Drain};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::authentication::mint::{NOW, at};

/// What a server was asked.
pub struct Question {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Question {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn form(&self) -> BTreeMap<String, String> {
        let decode = |text: &str| {
            percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned()
        };
        let pairs = self.body.split('&').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (decode(name), decode(value))).collect()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Status, media type, body.
pub type Answer = (u16, &'static str, String);

type Judge = Box<dyn Fn(&Question) -> Answer + Send>;

/// A server on a port of its own. Cloning shares it.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    asked: AtomicU32,
    judge: Mutex<Judge>,
    /// Answers wait while this is true.
    held: watch::Sender<bool>,
}

pub fn json(status: u16, body: &Value) -> Answer {
    (status, "application/json", body.to_string())
}

impl Server {
    pub fn new(judge: impl Fn(&Question) -> Answer + Send + 'static) -> Self {
        let (held, _) = watch::channel(false);
        Self(Arc::new(Inner { asked: AtomicU32::new(0), judge: Mutex::new(Box::new(judge)), held }))
    }

    /// Says the same of everything.
    pub fn saying(answer: &Value) -> Self {
        let answer = answer.clone();
        Self::new(move |_| json(200, &answer))
    }

    /// Serves plain HTTP, and says where.
    pub async fn plain(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let routes = self.routes();
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        base
    }

    pub fn routes(&self) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }

    pub fn asked(&self) -> u32 {
        self.0.asked.load(Ordering::SeqCst)
    }

    pub fn judges(&self, judge: impl Fn(&Question) -> Answer + Send + 'static) {
        *self.0.judge.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(judge);
    }

    pub fn hold(&self) {
        self.0.held.send_replace(true);
    }

    pub fn release(&self) {
        self.0.held.send_replace(false);
    }

    /// Until it was asked this often.
    pub async fn was_asked(&self, times: u32) {
        eventually(|| self.asked() >= times).await;
    }
}

async fn answer(State(Server(inner)): State<Server>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 100_000).await.unwrap();
    inner.asked.fetch_add(1, Ordering::SeqCst);
    drop(inner.held.subscribe().wait_for(|held| !held).await);
    let question = Question {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let judge = inner.judge.lock().unwrap_or_else(PoisonError::into_inner);
    let (status, kind, body) = judge(&question);
    let builder = Response::builder().status(status).header("content-type", kind);
    let builder = if status == 302 { builder.header("location", "/elsewhere") } else { builder };
    builder.body(Body::from(body)).unwrap()
}

/// Until it is so; fails after ten seconds.
pub async fn eventually(is_so: impl Fn() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come to pass");
}

/// What a process asks servers with.
pub struct Process {
    pub clock: Clock,
    pub providers: Providers,
    pub resolver: Resolver,
    pub keys: KeyHandle,
    pub patience: Duration,
    verifier: Verifier,
}

pub type Named<'a> = (&'a str, &'a [u8]);

/// Providers of these names and specs.
pub fn providers(specs: &[(&str, &str)], files: &[Named<'_>]) -> Providers {
    let mut all: Vec<IdentityProvider> = Vec::new();
    for (name, spec) in specs {
        let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
        let text = format!(
            "apiVersion: hopgate.dev/v1alpha1\nkind: IdentityProvider\n\
             metadata: {{ name: {name}, namespace: shop }}\nspec:\n{spec}"
        );
        let parsed = policy::parse("sso.yaml", &text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        for resource in parsed {
            let Resource::IdentityProvider(provider) = resource else { panic!("{text}") };
            all.push(provider);
        }
    }
    let mut handed = Files::none();
    for (name, content) in files {
        handed.insert(PathBuf::from(name), content.to_vec().into());
    }
    Providers::new(&all, &handed).unwrap()
}

impl Process {
    pub fn new(spec: &str, files: &[Named<'_>]) -> Self {
        Self::of(providers(&[("sso", spec)], files))
    }

    pub fn of(providers: Providers) -> Self {
        let clock = Clock::manual(at(NOW));
        // Brakes are under test elsewhere.
        let free = BrakeRules {
            failures: u32::MAX.try_into().unwrap(),
            within: Duration::from_secs(1),
            hold: Duration::from_secs(1),
            max_entries: 1,
        };
        let verifier = Verifier::new(10_000)
            .unwrap()
            .with_brakes(BrakesRules { addresses: free, credentials: free });
        let (sender, mut updates) = mpsc::channel(16);
        let client = HttpClient::new(&HttpOptions::system()).unwrap();
        let (refresh, keys) = KeyRefresh::new(clock.clone(), client, None, sender);
        tokio::spawn(refresh.run(Drain::new()));
        // The keys themselves are under test elsewhere.
        tokio::spawn(async move { while updates.recv().await.is_some() {} });
        keys.update(&providers);
        let resolver = Resolver::new(keys.clone(), &verifier, clock.clone());
        tokio::spawn(resolver.questions().unwrap().run(Drain::new()));
        let patience = Duration::from_secs(20);
        Self { clock, providers, resolver, keys, patience, verifier }
    }

    /// The same process after a reload of its resources.
    pub fn reload(&mut self, spec: &str, files: &[Named<'_>]) {
        self.providers = providers(&[("sso", spec)], files);
        self.keys.update(&self.providers);
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Whoever a credential speaks for, as a Check finds out.
    pub async fn user(&self, token: &str) -> Result<String, Unauthenticated> {
        self.in_header("authorization", &format!("Bearer {token}")).await
    }

    pub async fn in_header(&self, name: &str, value: &str) -> Result<String, Unauthenticated> {
        let deadline = tokio::time::Instant::now() + self.patience;
        let mut learned = Learned::nothing();
        for _ in 0..4 {
            match self.attempt((name, value), &learned) {
                Err(Unproven::Unknown(needs)) => {
                    self.resolver.resolve(needs, &mut learned, deadline).await;
                }
                Err(Unproven::Refused(refused)) => return Err(refused),
                Ok(subject) => return Ok(subject),
            }
        }
        panic!("it asks without end");
    }

    fn attempt(&self, (name, value): (&str, &str), learned: &Learned) -> Result<String, Unproven> {
        let headers = [(name, value.as_bytes())];
        let evidence = Evidence {
            peer: PeerEvidence::none(),
            http: Some(HttpEvidence {
                method: "GET",
                authority: "orders.shop",
                path: "/orders",
                query: None,
                headers: &headers,
            }),
            source: None,
        };
        let domain = TrustDomain::parse("test.mesh").unwrap();
        let forward = ForwardRules::nobody();
        let rules = PeerRules { members: Members::of(&domain), forward: &forward, roots: None };
        let now = self.clock.now();
        let principals =
            authenticate(&self.verifier, &self.providers, &evidence, rules, learned, now)?;
        Ok(principals.user().expect("a user").facts().subject().to_owned())
    }

    /// `allow`, or the code of the refusal.
    pub async fn code(&self, token: &str) -> &'static str {
        self.user(token).await.map_or_else(|refused| refused.code(), |_| "allow")
    }
}

/// What an introspection endpoint says of a good token.
pub fn active() -> Value {
    json!({ "active": true, "sub": "ann" })
}

/// `active`, with these members set; those that are null are taken away.
pub fn active_with(more: Value) -> Value {
    let mut answer = active();
    for (name, value) in more.as_object().unwrap() {
        if value.is_null() {
            answer.as_object_mut().unwrap().shift_remove(name);
        } else {
            answer[name] = value.clone();
        }
    }
    answer
}
