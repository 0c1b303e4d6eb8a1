//! The workload's own tokens: asked for once, kept, replaced in time, and never handed out when they are not good.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use hopgate::certs::{self, Source};
use hopgate::identity::{JwtBundle, TrustDomain, WorkloadIdentity};
use hopgate::proto::workload::{Jwtsvid, JwtsvidRequest, JwtsvidResponse};
use hopgate::runtime::Clock;
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::endpoint::{Endpoint, ORDERS, WEB, asked};
use super::impostor::Impostor;
use crate::certificates::impostor::Impostor as Istiod;
use crate::support::envoy::eventually;
use crate::support::jwt::JwtKey;
use crate::support::pki;

const LIFE: u64 = 300;

fn unix(clock: &Clock) -> u64 {
    clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn answer(token: String) -> JwtsvidResponse {
    let svid = Jwtsvid { spiffe_id: ORDERS.to_owned(), svid: token, hint: String::new() };
    JwtsvidResponse { svids: vec![svid] }
}

/// An endpoint whose tokens come from a server that says whatever a test wants, and a key that both know.
struct Site {
    clock: Clock,
    key: Arc<JwtKey>,
    server: Impostor,
    endpoint: Endpoint,
}

impl Site {
    async fn start() -> Self {
        let (clock, key) = (Clock::manual(SystemTime::now()), Arc::new(JwtKey::new("one")));
        let server = Impostor::start().await;
        let identity = identity(&[&key]);
        let endpoint = Endpoint::with_tokens(identity, &upstream(&server), &clock).await;
        let site = Self { clock, key, server, endpoint };
        site.honest();
        site
    }

    /// The server gives good tokens of five minutes, no two of them the same.
    fn honest(&self) {
        let (key, clock, count) = (Arc::clone(&self.key), self.clock.clone(), AtomicU64::new(0));
        self.server.mint(move |request| {
            let JwtsvidRequest { audience, spiffe_id } = request;
            assert_eq!(spiffe_id, ORDERS);
            let (now, jti) = (unix(&clock), count.fetch_add(1, Ordering::SeqCst));
            let claims =
                json!({ "sub": ORDERS, "aud": audience, "iat": now, "exp": now + LIFE, "jti": jti });
            Ok(answer(key.sign(&claims)))
        });
    }

    async fn fetch(&self, audience: &[&str]) -> Result<String, (Code, String)> {
        let audience = audience.iter().map(|&one| one.to_owned()).collect();
        let request = JwtsvidRequest { audience, spiffe_id: String::new() };
        let answer = self.endpoint.client().await.fetch_jwtsvid(asked(request)).await;
        match answer.map(tonic::Response::into_inner) {
            Ok(JwtsvidResponse { svids }) => {
                assert_eq!((svids.len(), svids[0].spiffe_id.as_str()), (1, ORDERS));
                Ok(svids[0].svid.clone())
            }
            Err(status) => Err((status.code(), status.message().to_owned())),
        }
    }
}

fn upstream(server: &Impostor) -> Source {
    let text = format!("workloadApi: {{ socket: \"unix:{}\" }}", server.socket().display());
    serde_saphyr::from_str::<certs::Config>(&text).unwrap().source
}

fn identity(keys: &[&JwtKey]) -> WorkloadIdentity {
    let mut identity = pki::ca().identity(ORDERS);
    let keys = keys.iter().flat_map(|key| key.bundle("demo.mesh").keys().to_vec()).collect();
    let bundle = JwtBundle::new(TrustDomain::parse("demo.mesh").unwrap(), keys).unwrap();
    identity.bundles = identity.bundles.with_jwt(bundle);
    identity
}

fn unavailable() -> Result<String, (Code, String)> {
    Err((Code::Unavailable, "no JWT-SVID can be had now".to_owned()))
}

fn denied() -> Result<String, (Code, String)> {
    Err((Code::PermissionDenied, "no identity issued".to_owned()))
}

#[tokio::test]
async fn whoever_asks_for_the_same_at_once_is_one_question() {
    let site = Site::start().await;
    site.server.hold(true);
    let both = [["a", "b"], ["b", "a"]];
    let mut all = Vec::new();
    for n in 0..20 {
        all.push(site.fetch(&both[n % 2]));
    }
    let release = async {
        assert!(eventually(async || site.server.asked() > 0).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
        site.server.hold(false);
    };
    let (tokens, ()) = tokio::join!(futures_util::future::join_all(all), release);
    let first = tokens[0].clone().unwrap();
    assert!(tokens.into_iter().all(|token| token.as_ref() == Ok(&first)));
    assert_eq!(site.server.asked(), 1);
    assert_eq!(site.fetch(&["b", "a", "b"]).await, Ok(first.clone()), "kept");
    assert_ne!(site.fetch(&["a"]).await.unwrap(), first);
    assert_ne!(site.fetch(&["ab"]).await.unwrap(), first, "audiences do not run together");
    assert_eq!(site.server.asked(), 3);
    let page = site.endpoint.metrics.text();
    assert!(page.contains("hopgate_workload_api_token_requests_total 3"), "{page}");
}

#[tokio::test]
async fn a_token_is_replaced_from_half_of_its_life_on_and_serves_through_an_outage() {
    let site = Site::start().await;
    let first = site.fetch(&["a"]).await.unwrap();
    site.clock.advance(seconds(130));
    assert_eq!(site.fetch(&["a"]).await, Ok(first.clone()));
    assert_eq!(site.server.asked(), 1, "it is not due");
    site.clock.advance(seconds(40));
    let replaced = async || site.fetch(&["a"]).await.unwrap() != first;
    assert!(eventually(replaced).await);
    assert_eq!(site.server.asked(), 2);
    let second = site.fetch(&["a"]).await.unwrap();

    site.server.mint(|_| Err(Status::unavailable("down")));
    site.clock.advance(seconds(LIFE - 1));
    for _ in 0..3 {
        assert_eq!(site.fetch(&["a"]).await, Ok(second.clone()), "to its last second");
    }
    assert!(eventually(async || site.server.asked() > 2).await, "a better one was asked for");
    site.clock.advance(seconds(1));
    assert_eq!(site.fetch(&["a"]).await, unavailable(), "and not a second longer");
    site.honest();
    site.clock.advance(seconds(2));
    assert!(eventually(async || site.fetch(&["a"]).await.is_ok()).await, "it heals by itself");
}

#[tokio::test]
async fn a_token_that_is_not_what_was_asked_for_is_never_handed_out() {
    let site = Site::start().await;
    let now = unix(&site.clock);
    let claims = |sub: &str, aud: Value, exp: u64| json!({ "sub": sub, "aud": aud, "exp": exp });
    let good = claims(ORDERS, json!(["x"]), now + LIFE);
    let forged = JwtKey::new("one").sign(&good);
    let key = |claims: &Value| site.key.sign(claims);
    let named = |id: &str, token: String| {
        let mut answer = answer(token);
        id.clone_into(&mut answer.svids[0].spiffe_id);
        answer
    };
    for (name, said) in [
        ("another's", answer(key(&claims(WEB, json!(["x"]), now + LIFE)))),
        ("another's by its name", named(WEB, key(&good))),
        ("for others", answer(key(&claims(ORDERS, json!(["y"]), now + LIFE)))),
        ("for others too", answer(key(&claims(ORDERS, json!(["x", "y"]), now + LIFE)))),
        ("over", answer(key(&claims(ORDERS, json!(["x"]), now)))),
        ("forged", answer(forged)),
        ("garbage", answer("a.b.c".to_owned())),
        ("nothing", JwtsvidResponse::default()),
    ] {
        site.server.mint(move |_| Ok(said.clone()));
        // What was wrong is remembered for a second.
        site.clock.advance(seconds(2));
        assert_eq!(site.fetch(&["x"]).await, unavailable(), "{name}");
    }
    assert_eq!(site.server.asked(), 8);
}

#[tokio::test]
async fn a_token_waits_for_its_key_and_goes_with_it() {
    let site = Site::start().await;
    let next = Arc::new(JwtKey::new("two"));
    let (signer, clock) = (Arc::clone(&next), site.clock.clone());
    site.server.mint(move |request| {
        let exp = unix(&clock) + LIFE;
        Ok(answer(signer.sign(&json!({ "sub": ORDERS, "aud": request.audience, "exp": exp }))))
    });
    let told = async {
        assert!(eventually(async || site.server.asked() == 1).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
        site.endpoint.show(Some(identity(&[&site.key, &next])));
    };
    let (token, ()) = tokio::join!(site.fetch(&["a"]), told);
    let token = token.unwrap();
    assert_eq!(site.fetch(&["a"]).await, Ok(token.clone()));
    assert_eq!(site.server.asked(), 1);
    // The key is withdrawn, and its tokens with it.
    site.honest();
    site.endpoint.show(Some(identity(&[&site.key])));
    let other = site.fetch(&["a"]).await.unwrap();
    assert_ne!(other, token);
    assert_eq!(site.server.asked(), 2);
    // A key that never comes.
    site.endpoint.show(Some(identity(&[&next])));
    assert_eq!(site.fetch(&["a"]).await, unavailable());
}

#[tokio::test]
async fn what_is_revoked_takes_its_tokens_with_it_at_once() {
    let site = Site::start().await;
    let first = site.fetch(&["a"]).await.unwrap();
    // The certificate with which it was got, and no other.
    site.endpoint.revoke(&[(ORDERS, Some(&site.endpoint.serial()))]);
    let second = site.fetch(&["a"]).await.unwrap();
    assert_ne!(second, first);
    site.endpoint.revoke(&[]);
    let second = site.fetch(&["a"]).await.unwrap();
    site.endpoint.revoke(&[(ORDERS, Some("a1b2"))]);
    assert_eq!(site.fetch(&["a"]).await, Ok(second.clone()));
    // The workload: its sidecar shows no identity any more.
    site.endpoint.show(None);
    assert_eq!(site.fetch(&["a"]).await, denied());
    site.endpoint.show(Some(identity(&[&site.key])));
    assert_eq!(site.fetch(&["a"]).await, Ok(second.clone()));

    // Revoked while a question is out.
    site.server.hold(true);
    let taken = async {
        assert!(eventually(async || site.server.asked() == 3).await, "{}", site.server.asked());
        site.endpoint.show(None);
        site.server.hold(false);
    };
    let (asked, ()) = tokio::join!(site.fetch(&["b"]), taken);
    assert_eq!(asked, denied());
    site.endpoint.show(Some(identity(&[&site.key])));

    // Whoever signs has heard of it first.
    site.server.mint(|_| Err(Status::permission_denied("this workload is revoked")));
    assert_eq!(site.fetch(&["c"]).await, denied());
    assert_eq!(site.fetch(&["a"]).await, denied(), "what was kept is gone, too");
}

#[tokio::test]
async fn so_many_tokens_are_kept_and_no_more() {
    let site = Site::start().await;
    for n in 0..300 {
        site.fetch(&[&format!("{n:03}")]).await.unwrap();
    }
    assert_eq!(site.server.asked(), 300);
    site.fetch(&["299"]).await.unwrap();
    assert_eq!(site.server.asked(), 300, "the newest is there");
    let mut again = 0;
    for n in 0..300 {
        let before = site.server.asked();
        site.fetch(&[&format!("{n:03}")]).await.unwrap();
        again += usize::from(site.server.asked() > before);
    }
    assert!(again >= 44, "{again}");
}

#[tokio::test]
async fn a_control_plane_that_signs_none_is_told_from_one_that_fails() {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let (ca, clock) = (pki::ca(), Clock::system());
    let istiod =
        Istiod::start(&ca, &clock, |_| async { Err(Status::unavailable("not now")) }).await;
    let text = format!("control: {{ server: \"{}\", caFile: roots.pem }}", istiod.server());
    let source = serde_saphyr::from_str::<certs::Config>(&text).unwrap().source;
    let endpoint = Endpoint::with_tokens(ca.identity(ORDERS), &source, &clock).await;
    let fetch = async || {
        let request = JwtsvidRequest { audience: vec!["a".to_owned()], spiffe_id: String::new() };
        let status =
            endpoint.client().await.fetch_jwtsvid(asked(request)).await.map(drop).unwrap_err();
        (status.code(), status.message().to_owned())
    };
    let (code, text) = fetch().await;
    assert_eq!(code, Code::Unimplemented);
    assert!(text.contains("signs no JWT-SVIDs"), "{text}");
    drop(istiod);
    let gone = async || fetch().await.0 == Code::Unavailable;
    assert!(eventually(gone).await, "{:?}", fetch().await);
}
