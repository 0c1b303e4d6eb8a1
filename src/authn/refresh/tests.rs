//! The task against a real HTTP server on loopback; only the clock is moved by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex as StdMutex;
use std::time::SystemTime;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::authn::Files;
use crate::authn::http::{HttpError, HttpOptions, Roots};
use crate::policy::{
    Algorithm, ClaimRules, IdentityProvider, IdentityProviderSpec, KeyLife, Keys, Metadata,
    TokenRules,
};

mod discovery;
mod waiting;

/// RFC 8037, appendix A.2, and a second key that is as good.
const FIRST: &str =
    r#"{"kty":"OKP","crv":"Ed25519","kid":"1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
const SECOND: &str =
    r#"{"kty":"OKP","crv":"Ed25519","kid":"2","x":"fU0Of2FTpptiQrUiq77mhf2kQg-INLEIw72uNp71Sfo"}"#;

#[derive(Clone)]
enum Answer {
    Keys(String),
    Status(StatusCode),
    Redirect(String),
    Endless,
    Silence,
}

/// A provider of keys whose answer can be changed, and that counts how often it was asked.
#[derive(Clone)]
struct Server {
    answer: Arc<StdMutex<(Answer, usize)>>,
    uri: String,
}

impl Server {
    async fn start(answer: Answer) -> (Self, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/keys", listener.local_addr().unwrap());
        let server = Self { answer: Arc::new(StdMutex::new((answer, 0))), uri };
        let router =
            Router::new().route("/keys", axum::routing::get(Self::keys)).with_state(server.clone());
        #[expect(clippy::disallowed_methods, reason = "ends with the runtime of its test")]
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (server, task)
    }

    async fn keys(State(server): State<Self>) -> Response {
        let answer = {
            let mut answer = server.answer.lock().unwrap();
            answer.1 += 1;
            answer.0.clone()
        };
        match answer {
            Answer::Keys(keys) => format!("{{\"keys\":[{keys}]}}").into_response(),
            Answer::Status(status) => status.into_response(),
            Answer::Redirect(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
            Answer::Endless => {
                format!("{{\"keys\":[{FIRST}]{}}}", " ".repeat(1 << 20)).into_response()
            }
            Answer::Silence => std::future::pending().await,
        }
    }

    fn answer(&self, answer: Answer) {
        self.answer.lock().unwrap().0 = answer;
    }

    fn asked(&self) -> usize {
        self.answer.lock().unwrap().1
    }
}

struct Bench {
    clock: Clock,
    handle: KeyHandle,
    updates: mpsc::Receiver<KeyUpdate>,
    drain: Drain,
    task: JoinHandle<Result<(), NobodyListens>>,
}

impl Bench {
    fn start(providers: &Providers) -> Self {
        Self::keeping(providers, None)
    }

    fn keeping(providers: &Providers, store: Option<KeyStore>) -> Self {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        Self::starting_at(start, providers, store)
    }

    fn starting_at(start: SystemTime, providers: &Providers, store: Option<KeyStore>) -> Self {
        let clock = Clock::manual(start);
        let (sender, updates) = mpsc::channel(8);
        let roots = Roots::Given(rustls::RootCertStore::empty());
        let client = HttpClient::new(&HttpOptions { roots, ..HttpOptions::system() }).unwrap();
        let (refresh, handle) = KeyRefresh::new(clock.clone(), client, store, sender);
        handle.update(providers);
        let drain = Drain::new();
        #[expect(clippy::disallowed_methods, reason = "ends with the runtime of its test")]
        let task = tokio::spawn(refresh.run(drain.clone()));
        Self { clock, handle, updates, drain, task }
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.handle.0.wake.notify_one();
    }

    async fn update(&mut self) -> KeyUpdate {
        tokio::time::timeout(Duration::from_secs(10), self.updates.recv()).await.unwrap().unwrap()
    }

    fn status(&self) -> KeyStatus {
        let mut all = self.handle.status();
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    /// Waits until this many fetches have ended.
    async fn fetched(&self, fetches: u64) -> KeyStatus {
        for _ in 0..1000 {
            let status = self.status();
            if status.fetches >= fetches {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{fetches} fetches expected, seen: {:?}", self.status());
    }

    /// Gives a fetch that must not happen the time to happen.
    async fn quiet(&self) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn providers(uri: &str) -> Providers {
    named("sso", uri, &[Algorithm::EdDSA])
}

fn named(name: &str, uri: &str, algorithms: &[Algorithm]) -> Providers {
    let keys = Keys::JwksUri { uri: uri.into(), life: KeyLife::default() };
    compiled(name, "https://sso.example", algorithms, keys)
}

fn compiled(name: &str, issuer: &str, algorithms: &[Algorithm], keys: Keys) -> Providers {
    let spec = IdentityProviderSpec::for_tokens(
        TokenRules::new(issuer, algorithms.to_vec(), keys),
        ClaimRules::for_audiences(vec!["orders".into()]),
    );
    let metadata = Metadata { name: name.into(), namespace: "shop".into() };
    Providers::new(&[IdentityProvider { metadata, spec }], &Files::none()).unwrap()
}

#[tokio::test]
async fn keys_come_at_once_and_stay_through_an_outage() {
    let (server, _task) = Server::start(Answer::Keys(FIRST.into())).await;
    let before = providers(&server.uri);
    let mut bench = Bench::start(&before);
    let update = bench.update().await;
    assert_eq!(update.provider(), "sso");
    let after = before.with_update(&update).unwrap();
    assert!(after.missing_keys().is_empty());
    assert!(after.with_update(&update).is_none(), "the same keys change nothing");

    // Every way to fail leaves the keys alone and says what it was.
    for (fetches, (answer, code)) in (2..).zip([
        (Answer::Status(StatusCode::INTERNAL_SERVER_ERROR), "status"),
        (Answer::Status(StatusCode::NO_CONTENT), "status"),
        (Answer::Redirect(server.uri.clone()), "redirect"),
        (Answer::Endless, "too_large"),
        (Answer::Keys("{\"kty\":\"oct\",\"k\":\"AAAA\"}".into()), "invalid_key_set"),
        (Answer::Keys("<html>".into()), "invalid_key_set"),
    ]) {
        server.answer(answer);
        bench.advance(400);
        let status = bench.fetched(fetches).await;
        assert_eq!(status.last_error.map(|error| error.code()), Some(code));
        assert_eq!((status.usable, status.failures), (1, fetches - 1));
        assert_eq!(status.fetched_at.map(|_| ()), Some(()));
    }
    let status = bench.status();
    assert_eq!(status.age(bench.clock.now()), Some(Duration::from_secs(6 * 400)));
    assert!(bench.updates.try_recv().is_err(), "nothing was handed on");

    // The same text again is no news; another is.
    server.answer(Answer::Keys(FIRST.into()));
    bench.advance(400);
    assert_eq!(bench.fetched(8).await.last_error, None);
    server.answer(Answer::Keys(format!("{FIRST},{SECOND},{{\"kty\":\"oct\"}}")));
    bench.advance(400);
    assert_eq!(bench.update().await.keys().usable(), 2);
    assert_eq!(bench.status().skipped.len(), 1);
    assert!(bench.updates.try_recv().is_err());

    bench.drain.begin();
    assert!(bench.task.await.unwrap().is_ok());
}

#[tokio::test]
async fn an_unknown_key_makes_one_fetch_per_cool_down() {
    let (server, _task) = Server::start(Answer::Keys(FIRST.into())).await;
    let mut bench = Bench::start(&providers(&server.uri));
    bench.update().await;
    server.answer(Answer::Keys(format!("{FIRST},{SECOND}")));
    bench.advance(1);
    bench.quiet().await;
    assert_eq!(server.asked(), 1, "nothing is due");
    for _ in 0..100 {
        drop(bench.handle.unknown_key("sso"));
        drop(bench.handle.unknown_key("nobody"));
    }
    assert_eq!(bench.update().await.keys().usable(), 2);
    for _ in 0..29 {
        bench.advance(1);
        drop(bench.handle.unknown_key("sso"));
    }
    bench.quiet().await;
    assert_eq!(server.asked(), 2, "once in thirty seconds");
    bench.advance(1);
    drop(bench.handle.unknown_key("sso"));
    bench.fetched(3).await;
    bench.quiet().await;
    assert_eq!(server.asked(), 3);
}

#[tokio::test]
async fn a_provider_that_starts_late_is_asked_again_soon() {
    let (server, _task) = Server::start(Answer::Status(StatusCode::SERVICE_UNAVAILABLE)).await;
    let mut bench = Bench::start(&providers(&server.uri));
    let status = bench.fetched(1).await;
    assert_eq!((status.fetched_at, status.usable, status.age(bench.clock.now())), (None, 0, None));
    bench.advance(2);
    bench.fetched(2).await;
    server.answer(Answer::Keys(FIRST.into()));
    bench.advance(3);
    assert_eq!(bench.update().await.keys().usable(), 1);
    assert_eq!(bench.status().fetches, 3);
}

#[tokio::test]
async fn new_providers_are_followed_and_old_answers_dropped() {
    let (old, _old) = Server::start(Answer::Keys(FIRST.into())).await;
    let (new, _new) = Server::start(Answer::Keys(SECOND.into())).await;
    let mut bench = Bench::start(&providers(&old.uri));
    let first = bench.update().await;

    let moved = providers(&new.uri);
    // An answer from before the move that is taken off the channel after it.
    assert!(moved.with_update(&first).is_none());
    assert!(named("other", &old.uri, &[Algorithm::EdDSA]).with_update(&first).is_none());
    let wider = named("sso", &old.uri, &[Algorithm::EdDSA, Algorithm::ES256]);
    assert!(wider.with_update(&first).is_none());

    bench.handle.update(&moved);
    let second = bench.update().await;
    let moved = moved.with_update(&second).unwrap();
    assert_eq!(bench.status().uri, new.uri);
    bench.advance(400);
    bench.fetched(2).await;
    assert_eq!((old.asked(), new.asked()), (1, 2));

    // The same providers with their keys keep their schedule; without keys they are asked at once.
    bench.handle.update(&moved);
    bench.quiet().await;
    assert_eq!(new.asked(), 2);
    bench.handle.update(&providers(&new.uri));
    assert_eq!(bench.update().await.keys().usable(), 1);
    assert_eq!(new.asked(), 3);

    bench.handle.update(&Providers::new(&[], &Files::none()).unwrap());
    assert!(bench.handle.status().is_empty());
}

#[tokio::test]
async fn silence_ends_after_five_seconds_and_holds_up_nobody() {
    let (mute, _mute) = Server::start(Answer::Silence).await;
    let (server, _task) = Server::start(Answer::Keys(FIRST.into())).await;
    let mut bench = Bench::start(&providers(&mute.uri));
    bench.handle.update(&providers(&server.uri));
    bench.update().await;
    bench.handle.update(&providers(&mute.uri));
    let status = bench.fetched(1).await;
    assert_eq!(
        status.last_error,
        Some(FetchError::Http(HttpError::Timeout(Duration::from_secs(5))))
    );
}

#[tokio::test]
async fn nobody_listening_is_an_error_and_no_port_is_unreachable() {
    let (server, _task) = Server::start(Answer::Keys(FIRST.into())).await;
    let bench = Bench::start(&providers(&server.uri));
    drop(bench.updates);
    assert!(bench.task.await.unwrap().is_err());

    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://localhost:{}/keys", free.local_addr().unwrap().port());
    drop(free);
    let bench = Bench::start(&providers(&uri));
    let error = bench.fetched(1).await.last_error.unwrap();
    assert_eq!(error.code(), "unreachable");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn localhost_is_this_machine_and_https_needs_a_trusted_root() {
    let (server, _task) = Server::start(Answer::Keys(FIRST.into())).await;
    let mut bench = Bench::start(&providers(&server.uri.replace("127.0.0.1", "localhost")));
    assert_eq!(bench.update().await.keys().usable(), 1);
    let bench = Bench::start(&providers(&server.uri.replace("http:", "https:")));
    let error = bench.fetched(1).await.last_error.unwrap();
    assert_eq!(error.code(), "unreachable", "{error}");
}
