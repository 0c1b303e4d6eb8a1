//! A realm changes its key while requests run: nobody with a good token is refused, and the gate asks once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{count, me, sidecar};
use crate::support::ask::{get, meaning};
use crate::support::keycloak::{Realm, SHOP, header};

fn kid(token: &str) -> String {
    header(token)["kid"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_good_token_is_refused_while_the_key_changes() {
    let realm = Realm::new(SHOP).await;
    let sidecar = sidecar("keycloak-rotation", &realm, "").await;
    let mut tokens = realm.login("web", "alice").await;
    let old = kid(&tokens.access);

    // Callers that use the newest token there is, and one from before, all the time.
    let live = Arc::new(Mutex::new(vec![tokens.access.clone()]));
    let done = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (live, done) = (Arc::clone(&live), Arc::clone(&done));
            let mut client = sidecar.client.clone();
            tokio::spawn(async move {
                let mut answers: BTreeMap<(String, bool), u32> = BTreeMap::new();
                while !done.load(Ordering::Relaxed) {
                    let (first, last) = {
                        let live = live.lock().unwrap();
                        (live.first().unwrap().clone(), live.last().unwrap().clone())
                    };
                    for token in [first, last] {
                        let bearer = format!("Bearer {token}");
                        let request = get("/me", &[("authorization", &bearer)]);
                        let answer = meaning(client.check(request).await.unwrap().into_inner());
                        *answers.entry((kid(&token), answer.allowed)).or_default() += 1;
                    }
                    tokio::task::yield_now().await;
                }
                answers
            })
        })
        .collect();

    for round in 0..20 {
        if round == 8 {
            realm.rotate("second", 200).await;
        }
        tokens = realm.refresh("web", &tokens).await;
        live.lock().unwrap().push(tokens.access.clone());
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    done.store(true, Ordering::Relaxed);

    let mut answers: BTreeMap<(String, bool), u32> = BTreeMap::new();
    for caller in callers {
        for (key, number) in caller.await.unwrap() {
            *answers.entry(key).or_default() += number;
        }
    }
    let new = kid(&tokens.access);
    assert_ne!(old, new);
    assert!(answers.keys().all(|(_, allowed)| *allowed), "refused: {answers:?}");
    for key in [old, new] {
        assert!(answers[&(key, true)] > 20, "too few to tell: {answers:?}");
    }
    // The first fetch, and the one for the new key that all callers waited for.
    assert_eq!(count(&sidecar, "hopgate_authn_key_fetches_total").await, 2);
    assert_eq!(count(&sidecar, "hopgate_authn_key_fetch_failures_total").await, 0);
}

#[tokio::test]
async fn a_withdrawn_key_is_forgotten_at_the_next_refresh() {
    let realm = Realm::new(SHOP).await;
    let more = "  keys: { discovery: {}, refreshInterval: 10s }\n";
    let mut sidecar = sidecar("keycloak-withdrawn", &realm, more).await;
    let old = realm.login("web", "alice").await.access;
    assert!(me(&mut sidecar, &old).await.allowed);
    realm.rotate("second", 200).await;
    realm.withdraw("rsa-generated").await;
    let new = realm.login("web", "alice").await.access;
    let end = Instant::now() + Duration::from_secs(30);
    while me(&mut sidecar, &old).await.allowed {
        assert!(Instant::now() < end, "a token by a withdrawn key is still good");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(me(&mut sidecar, &new).await.allowed);
    assert_eq!(me(&mut sidecar, &old).await.status, 401);
}
