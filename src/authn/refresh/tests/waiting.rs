//! Many who wait for one fetch, and keys that outlive the process.

use super::*;

fn wait(bench: &Bench) -> Option<KeyFetch> {
    match bench.handle.unknown_key("sso") {
        KeyWait::Fetching(fetch) => Some(fetch),
        KeyWait::Cooling => None,
    }
}

/// True when it is over within a moment.
async fn over(fetch: &mut (impl Future<Output = ()> + Unpin)) -> bool {
    tokio::time::timeout(Duration::from_millis(100), fetch).await.is_ok()
}

#[tokio::test]
async fn a_thousand_unknown_keys_wait_for_one_fetch() {
    let (server, _task) = Server::start(Answer::Keys(FIRST.into())).await;
    let mut bench = Bench::start(&providers(&server.uri));
    drop(bench.update().await);
    server.answer(Answer::Keys(format!("{FIRST},{SECOND}")));
    let mut waiters = JoinSet::new();
    for _ in 0..1000 {
        waiters.spawn(wait(&bench).unwrap().ended());
    }
    let update = bench.update().await;
    assert_eq!(update.keys().usable(), 2);
    // The keys came and are not in force yet: whoever asks now waits for that too.
    let mut late = Box::pin(wait(&bench).unwrap().ended());
    assert!(!over(&mut late).await);
    let copy = update.clone();
    drop(update);
    assert!(!over(&mut late).await, "a copy may still be on its way into force");
    drop(copy);
    assert!(over(&mut late).await);
    while let Some(ended) = waiters.join_next().await {
        ended.unwrap();
    }
    assert_eq!(server.asked(), 2);
    assert!(wait(&bench).is_none(), "nothing will come for thirty seconds");
    assert!(matches!(bench.handle.unknown_key("nobody"), KeyWait::Cooling));

    // The same keys again are nothing to wait for any longer.
    bench.advance(30);
    wait(&bench).unwrap().ended().await;
    assert_eq!(server.asked(), 3);
    assert!(bench.updates.try_recv().is_err());
}

#[tokio::test]
async fn the_first_fetch_is_joined_and_a_failed_one_ends() {
    let (server, _task) = Server::start(Answer::Status(StatusCode::BAD_GATEWAY)).await;
    let bench = Bench::start(&providers(&server.uri));
    wait(&bench).unwrap().ended().await;
    assert_eq!((server.asked(), bench.status().failures), (1, 1));
    // Once more at once, since the first was not asked for by an unknown key; then not for a while.
    wait(&bench).unwrap().ended().await;
    assert_eq!(server.asked(), 2);
    assert!(wait(&bench).is_none());
}

#[tokio::test]
async fn nobody_waits_for_what_is_given_up() {
    let (server, _task) = Server::start(Answer::Silence).await;
    let bench = Bench::start(&providers(&server.uri));
    let mut gone = Box::pin(wait(&bench).unwrap().ended());
    assert!(!over(&mut gone).await);
    bench.drain.begin();
    assert!(bench.task.await.unwrap().is_ok());
    assert!(over(&mut gone).await);

    // A provider that is gone before its fetch begins.
    let (sender, _updates) = mpsc::channel(8);
    let client = HttpClient::new(&HttpOptions::system()).unwrap();
    let (_refresh, handle) = KeyRefresh::new(Clock::system(), client, None, sender);
    handle.update(&providers(&server.uri));
    let KeyWait::Fetching(fetch) = handle.unknown_key("sso") else { panic!("it is due") };
    let mut gone = Box::pin(fetch.ended());
    assert!(!over(&mut gone).await);
    handle.update(&Providers::new(&[], &Files::none()).unwrap());
    assert!(over(&mut gone).await);
}

#[tokio::test]
async fn kept_keys_are_there_after_a_restart_until_they_are_stale() {
    let name = format!("hopgate-restart-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    drop(std::fs::remove_dir_all(&directory));
    let store = KeyStore::open(&directory).unwrap();
    let (server, _task) = Server::start(Answer::Keys(FIRST.into())).await;
    let fresh = || providers(&server.uri);
    let mut bench = Bench::keeping(&fresh(), Some(store.clone()));
    let start = bench.clock.now();
    drop(bench.update().await);
    assert_eq!(bench.status().health, KeyHealth::Fresh);
    // The same keys again are kept with their new age.
    bench.advance(400);
    bench.fetched(2).await;
    let path = directory.join("sso.json");
    let kept = async |seconds: u64| {
        let later = format!("\"fetchedAt\":{}", 1_790_000_000 + seconds);
        for _ in 0..2000 {
            if std::fs::read_to_string(&path).is_ok_and(|text| text.contains(&later)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{later} is not kept: {:?}", std::fs::read_to_string(&path));
    };
    kept(400).await;
    bench.drain.begin();
    bench.task.await.unwrap().unwrap();

    server.answer(Answer::Status(StatusCode::SERVICE_UNAVAILABLE));
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    let day = 24 * 60 * 60;
    assert_eq!(fresh().restore(&store, at(401 + day)).missing_keys(), ["sso"]);
    let restored = fresh().restore(&store, at(1000));
    assert!(restored.missing_keys().is_empty());
    assert!(restored.stale_keys(at(400 + day)).is_empty());
    assert_eq!(restored.stale_keys(at(401 + day)), ["sso"]);

    // Refreshing goes on from there.
    let mut bench = Bench::starting_at(at(1000), &restored, Some(store));
    let status = bench.status();
    assert_eq!((status.health, status.usable), (KeyHealth::LastGood, 1));
    assert_eq!(status.age(at(1000)), Some(Duration::from_secs(600)));
    bench.fetched(1).await;
    assert_eq!(bench.status().health, KeyHealth::LastGood);
    bench.advance(day);
    bench.fetched(2).await;
    assert_eq!(bench.status().health, KeyHealth::Stale);
    server.answer(Answer::Keys(FIRST.into()));
    bench.advance(400);
    bench.fetched(3).await;
    assert_eq!(bench.status().health, KeyHealth::Fresh);
    assert!(restored.stale_keys(bench.clock.now()).is_empty(), "without another snapshot");
    assert!(bench.updates.try_recv().is_err(), "the same keys");
    kept(1400 + day).await;
    bench.drain.begin();
    bench.task.await.unwrap().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}
