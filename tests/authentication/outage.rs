//! A provider that is away for longer than the refresh interval, and a process that restarts meanwhile.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hopgate::authn::{
    HttpClient, HttpOptions, KeyHandle, KeyHealth, KeyRefresh, KeyStore, KeyUpdate, KeyWait,
    NobodyListens, Providers, Verifier,
};
use hopgate::policy::{Algorithm, KeyLife, Keys};
use hopgate::runtime::{Clock, Drain};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::mint::{self, Signer, at, compile, provider, with};
use crate::support::Scratch;

const NOW: u64 = mint::NOW;
const MAX_STALE: u64 = 3600;

/// A provider with a metadata document and keys, which can go away and come back at the same port.
struct Site {
    port: u16,
    keys: Arc<Mutex<Value>>,
    running: Option<JoinHandle<()>>,
}

impl Site {
    async fn start(signers: &[&Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut site = Self { port, keys: Arc::default(), running: None };
        site.rotate(signers);
        site.serve(listener);
        site
    }

    fn serve(&mut self, listener: TcpListener) {
        let (port, keys) = (self.port, Arc::clone(&self.keys));
        self.running = Some(tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let body = if head.starts_with(b"GET /keys ") {
                    keys.lock().unwrap().to_string()
                } else {
                    let jwks_uri = format!("http://127.0.0.1:{port}/keys");
                    json!({ "issuer": mint::ISSUER, "jwks_uri": jwks_uri }).to_string()
                };
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }));
    }

    fn rotate(&self, signers: &[&Signer]) {
        let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
        *self.keys.lock().unwrap() = json!({ "keys": keys });
    }

    async fn stop(&mut self) {
        let running = self.running.take().unwrap();
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
    }

    async fn come_back(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.serve(listener);
    }

    fn providers(&self) -> Providers {
        let keys = Keys::Discovery {
            url: Some(format!("http://127.0.0.1:{}/document", self.port)),
            jwks_uri: None,
            life: KeyLife {
                refresh_interval: Duration::from_secs(300),
                max_stale: Duration::from_secs(MAX_STALE),
            },
        };
        compile(&[provider("sso", &[Algorithm::ES256], keys)]).unwrap()
    }
}

/// What a sidecar does about keys.
struct Process {
    clock: Clock,
    providers: Providers,
    verifier: Verifier,
    keys: KeyHandle,
    updates: mpsc::Receiver<KeyUpdate>,
    drain: Drain,
    task: JoinHandle<Result<(), NobodyListens>>,
}

impl Process {
    fn start(site: &Site, directory: &Path, now: u64) -> Self {
        let clock = Clock::manual(at(now));
        let store = KeyStore::open(directory).unwrap();
        let providers = site.providers().restore(&store, clock.now());
        let (sender, updates) = mpsc::channel(1);
        let client = HttpClient::new(&HttpOptions::system()).unwrap();
        let (refresh, keys) = KeyRefresh::new(clock.clone(), client, Some(store), sender);
        keys.update(&providers);
        let drain = Drain::new();
        let task = tokio::spawn(refresh.run(drain.clone()));
        Self { clock, providers, verifier: Verifier::new(10).unwrap(), keys, updates, drain, task }
    }

    /// Takes keys as the reload task does.
    async fn take_keys(&mut self) {
        let update = tokio::time::timeout(Duration::from_secs(10), self.updates.recv());
        let update = update.await.unwrap().unwrap();
        self.providers = self.providers.with_update(&update).unwrap();
    }

    fn verdict(&self, token: &str) -> &'static str {
        let judged = |verifier: &Verifier| {
            let user = verifier.user(token, &self.providers, self.clock.now());
            user.map_or_else(|refused| refused.code(), |_| "accepted")
        };
        let remembered = judged(&self.verifier);
        assert_eq!(judged(&Verifier::new(1).unwrap()), remembered, "whether remembered or not");
        remembered
    }

    /// Moves the clock and waits until this many fetches have ended since the start.
    async fn fetched(&self, seconds: u64, fetches: u64) -> KeyHealth {
        self.clock.advance(Duration::from_secs(seconds));
        self.keys.update(&self.providers);
        for _ in 0..1000 {
            let status = self.keys.status().remove(0);
            if status.fetches >= fetches {
                return status.health;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{fetches} fetches expected, seen: {:?}", self.keys.status());
    }

    async fn stop(self) {
        self.drain.begin();
        self.task.await.unwrap().unwrap();
    }
}

async fn until_kept(directory: &Path) {
    for _ in 0..1000 {
        if directory.join("sso.json").exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the keys were not kept");
}

#[tokio::test]
async fn known_keys_outlive_an_outage_and_a_restart_up_to_the_bound() {
    let scratch = Scratch::new("outage");
    let directory = scratch.path().join("keys");
    let (old, new) = (Signer::new("ES256", "old"), Signer::new("ES256", "new"));
    let long = with("exp", json!(NOW + 100_000));
    let (token, rotated) = (old.token(&long), new.token(&long));
    let mut site = Site::start(&[&old]).await;

    let mut process = Process::start(&site, &directory, NOW);
    assert_eq!(process.verdict(&token), "keys_unavailable");
    process.take_keys().await;
    assert_eq!(process.verdict(&token), "accepted");
    until_kept(&directory).await;

    site.stop().await;
    assert_eq!(process.fetched(400, 2).await, KeyHealth::LastGood);
    assert_eq!(process.verdict(&token), "accepted");
    process.stop().await;

    // Before anything is fetched; ready, too.
    let mut process = Process::start(&site, &directory, NOW + 500);
    assert!(process.providers.missing_keys().is_empty());
    assert_eq!(process.verdict(&token), "accepted");
    assert_eq!(process.verdict(&rotated), "unknown_key");
    assert_eq!(process.fetched(0, 1).await, KeyHealth::LastGood);
    assert_eq!(process.fetched(MAX_STALE - 500, 2).await, KeyHealth::LastGood);
    assert_eq!(process.verdict(&token), "accepted");

    // Past the bound nothing counts, also what was proven before.
    assert_eq!(process.fetched(1, 2).await, KeyHealth::Stale);
    assert_eq!(process.verdict(&token), "keys_stale");
    assert_eq!(process.providers.stale_keys(process.clock.now()), ["sso"]);
    let late = Process::start(&site, &directory, NOW + MAX_STALE + 1);
    assert_eq!(late.providers.missing_keys(), ["sso"]);
    assert_eq!(late.verdict(&token), "keys_unavailable");
    late.stop().await;

    // It heals by itself.
    site.come_back().await;
    assert_eq!(process.fetched(400, 3).await, KeyHealth::Fresh);
    assert_eq!(process.verdict(&token), "accepted");

    // And follows a rotation when it is shown the new key.
    site.rotate(&[&old, &new]);
    let KeyWait::Fetching(fetch) = process.keys.unknown_key("sso") else {
        panic!("a fetch is due")
    };
    let waiting = tokio::spawn(fetch.ended());
    process.take_keys().await;
    waiting.await.unwrap();
    assert_eq!((process.verdict(&token), process.verdict(&rotated)), ("accepted", "accepted"));
    process.stop().await;
}

#[tokio::test]
async fn what_is_kept_for_another_place_or_damaged_is_never_trusted() {
    let scratch = Scratch::new("outage-foreign");
    let directory = scratch.path().join("keys");
    let signer = Signer::new("ES256", "k");
    let token = signer.token(&mint::claims());
    let mut site = Site::start(&[&signer]).await;
    let mut process = Process::start(&site, &directory, NOW);
    process.take_keys().await;
    until_kept(&directory).await;
    process.stop().await;
    site.stop().await;

    let store = KeyStore::open(&directory).unwrap();
    let restored = |site: &Site| {
        let providers = site.providers().restore(&store, at(NOW));
        let user = Verifier::new(1).unwrap().user(&token, &providers, at(NOW));
        user.map_or_else(|refused| refused.code(), |_| "accepted")
    };
    assert_eq!(restored(&site), "accepted");
    let elsewhere = Site { port: site.port ^ 1, keys: Arc::default(), running: None };
    assert_eq!(restored(&elsewhere), "keys_unavailable");

    let file = directory.join("sso.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(mint::ISSUER, "https://evil.example/")).unwrap();
    assert_eq!(restored(&site), "keys_unavailable");
    std::fs::write(&file, &text[..text.len() / 2]).unwrap();
    assert_eq!(restored(&site), "keys_unavailable");
    std::fs::write(&file, text).unwrap();
    assert_eq!(restored(&site), "accepted");
}
