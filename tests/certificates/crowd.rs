//! Many callers at once, over real TLS.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hopgate::identity::{Leaf, PrivateKey, X509Svid};
use hopgate::runtime::Clock;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;

use super::parts::{
    Call, Directory, ORDERS, Office, Plane, Sidecar, connect, csr, ders, hours, id, sidecar_config,
    start_of_time,
};

fn call<'a>(plane: &'a Plane, authorization: &'a [String]) -> Call<'a> {
    Call {
        port: plane.port,
        trusts: &plane.bundle,
        certificate: None,
        authorization,
        csr: csr(&PrivateKey::generate().unwrap(), |_| {}),
        seconds: 0,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_token_raced_by_fifty_callers_is_used_once() {
    const CALLERS: usize = 50;
    let directory = Directory::new();
    let clock = Clock::manual(start_of_time());
    let plane = Arc::new(Plane::start(&directory, &clock).await);
    let authorization = Arc::new([format!("Bearer {}", plane.token(ORDERS, &clock))]);
    let barrier = Arc::new(Barrier::new(CALLERS));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let channel = connect(plane.port, &plane.bundle, None, &clock).await.unwrap();
        let (plane, authorization) = (Arc::clone(&plane), Arc::clone(&authorization));
        let barrier = Arc::clone(&barrier);
        callers.spawn(async move {
            let call = call(&plane, &*authorization);
            barrier.wait().await;
            call.send_over(channel).await
        });
    }
    let mut issued = Vec::new();
    while let Some(answer) = callers.join_next().await {
        match answer.unwrap() {
            Ok(chain) => issued.push(Leaf::parse(&ders(&chain)[0]).unwrap()),
            Err(status) => assert_eq!(
                (status.code(), status.message()),
                (Code::Unauthenticated, "join token already used")
            ),
        }
    }
    assert_eq!(issued.len(), 1, "one certificate for one token");
    assert_eq!(*issued[0].id(), id(ORDERS));
    let late = call(&plane, &*authorization).send(&clock).await.unwrap_err();
    assert_eq!(late.message(), "join token already used");
    // The record was moved, not copied.
    let records = |path: &str| {
        let entries = std::fs::read_dir(directory.path(path)).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().path().is_file()).count()
    };
    assert_eq!((records("ca/join-tokens"), records("ca/join-tokens/used")), (0, 1));
    let text = plane.metrics.text();
    assert!(text.contains("signing_requests_total{outcome=\"Issued\"} 1"), "{text}");
    assert!(text.contains("signing_requests_total{outcome=\"Unproven\"} 50"), "{text}");
    Arc::into_inner(plane).unwrap().stop().await;
}

/// One sidecar that renews: its namespace, and a connection with its certificate.
struct Simulated {
    namespace: usize,
    channel: Channel,
    csr: String,
}

/// What became of one.
struct Served {
    namespace: usize,
    rank: usize,
    attempts: u32,
    at: Duration,
}

/// A certificate for each namespace, which its replicas share.
fn certificates(directory: &Directory, namespaces: usize) -> Vec<X509Svid> {
    let office = Office::open(&directory.path("ca"), start_of_time());
    let workload = |n: usize| format!("ns/team-{n}/sa/app");
    (0..namespaces).map(|n| office.issue(&workload(n), hours(1), start_of_time())).collect()
}

/// Tries until there is a certificate, and waits between attempts for as long as it is told to.
async fn renew(
    plane: &Plane,
    sidecar: &Simulated,
    answered: &std::sync::atomic::AtomicUsize,
) -> (usize, u32) {
    for attempts in 1.. {
        let mut call = call(plane, &[]);
        call.csr.clone_from(&sidecar.csr);
        match call.send_over(sidecar.channel.clone()).await {
            Ok(chain) => {
                let leaf = Leaf::parse(&ders(&chain)[0]).unwrap();
                let expected = format!("ns/team-{}/sa/app", sidecar.namespace);
                assert_eq!(*leaf.id(), id(&expected));
                let rank = answered.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                return (rank, attempts);
            }
            Err(status) => {
                let shed = matches!(status.code(), Code::ResourceExhausted | Code::Unavailable);
                assert!(shed, "{status:?}");
                let told = status.metadata().get("retry-after").expect("when to come again");
                let seconds: u64 = told.to_str().unwrap().parse().unwrap();
                assert!((1..=60).contains(&seconds));
                tokio::time::sleep(Duration::from_secs(seconds)).await;
            }
        }
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sidecars_renew_at_once() {
    /// One namespace with most of them, and many with few.
    const NAMESPACES: usize = 20;
    const SMALL: usize = 20;
    const ALL: usize = 1000;
    let directory = Directory::new();
    let clock = Clock::manual(start_of_time());
    let certificates = certificates(&directory, NAMESPACES);
    // One at a time, so that there is a queue on any machine.
    let more = "limits: { atOnce: 1, patience: 60s }\n";
    let plane = Arc::new(Plane::start_with(&directory, &clock, "127.0.0.1:0", more).await);
    let mut sidecars = Vec::with_capacity(ALL);
    let csr = csr(&PrivateKey::generate().unwrap(), |_| {});
    for n in 0..ALL {
        // The big namespace comes first, and all of it.
        let small = (NAMESPACES - 1) * SMALL;
        let namespace = n.checked_sub(ALL - small).map_or(0, |n| 1 + n % (NAMESPACES - 1));
        let svid = &certificates[namespace];
        let shown = (svid.chain().to_vec(), svid.key().to_pem().to_string());
        let channel = connect(plane.port, &plane.bundle, Some(shown), &clock).await.unwrap();
        sidecars.push(Simulated { namespace, channel, csr: csr.clone() });
    }
    let answered = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let began = Instant::now();
    let mut running = JoinSet::new();
    for sidecar in sidecars {
        let (plane, answered) = (Arc::clone(&plane), Arc::clone(&answered));
        running.spawn(async move {
            let (rank, attempts) = renew(&plane, &sidecar, &answered).await;
            Served { namespace: sidecar.namespace, rank, attempts, at: began.elapsed() }
        });
    }
    let served: Vec<Served> = running.join_all().await;
    let total = began.elapsed();

    assert_eq!(served.len(), ALL, "none is lost");
    let mut windows: BTreeMap<u128, u32> = BTreeMap::new();
    for one in &served {
        *windows.entry(one.at.as_millis() / 100).or_default() += 1;
    }
    let peak = windows.values().max().unwrap() * 10;
    let again = served.iter().filter(|one| one.attempts > 1).count();
    let last_of_small =
        served.iter().filter(|one| one.namespace != 0).map(|one| one.rank).max().unwrap();
    println!(
        "{ALL} sidecars renewed in {:.2} s, at most {peak} certificates/s in a tenth of a second; \
         {again} were told to come again; the {} of small namespaces were done after {} of {ALL}",
        total.as_secs_f64(),
        (NAMESPACES - 1) * SMALL,
        last_of_small + 1,
    );
    // In order of arrival the last of them would be about the thousandth, as the big namespace came first.
    assert!(last_of_small < 800, "small namespaces waited for the big one: {last_of_small}");
    let text = plane.metrics.text();
    assert!(
        text.contains(&format!("signing_requests_total{{outcome=\"Issued\"}} {ALL}")),
        "{text}"
    );
    assert!(text.contains("hopgate_control_signing_waiting 0"), "{text}");
    Arc::into_inner(plane).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_fit_is_told_when_to_come_again() {
    let directory = Directory::new();
    let clock = Clock::manual(start_of_time());
    let certificates = certificates(&directory, 1);
    let more = "limits: { perWorkload: { perMinute: 60, burst: 3 } }\n";
    let plane = Plane::start_with(&directory, &clock, "127.0.0.1:0", more).await;
    let shown = || (certificates[0].chain().to_vec(), certificates[0].key().to_pem().to_string());
    for _ in 0..3 {
        assert!(call(&plane, &[]).send_as(&clock, Some(shown())).await.is_ok());
    }
    let status = call(&plane, &[]).send_as(&clock, Some(shown())).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.metadata().get("retry-after").unwrap(), "1");
    assert_eq!(status.metadata().get("retry-after-jitter").unwrap(), "1");
    // Another workload is not concerned, and a join token that is turned away is not used up.
    let authorization = [format!("Bearer {}", plane.token(ORDERS, &clock))];
    assert!(call(&plane, &authorization).send(&clock).await.is_ok());
    let tokens: Vec<_> = (0..4).map(|_| plane.token("ns/shop/sa/busy", &clock)).collect();
    let mut refused = None;
    for token in &tokens {
        let authorization = [format!("Bearer {token}")];
        if call(&plane, &authorization).send(&clock).await.is_err() {
            refused = Some(authorization);
        }
    }
    clock.advance(Duration::from_secs(1));
    assert!(call(&plane, &refused.unwrap()).send(&clock).await.is_ok());
    clock.advance(Duration::from_secs(1));
    assert!(call(&plane, &[]).send_as(&clock, Some(shown())).await.is_ok());
    plane.stop().await;
}

#[tokio::test]
async fn a_sidecar_comes_again_when_it_is_told_to() {
    let directory = Directory::new();
    let clock = Clock::manual(start_of_time());
    let more = "limits: { perWorkload: { perMinute: 1, burst: 1 } }\n";
    let plane = Plane::start_with(&directory, &clock, "127.0.0.1:0", more).await;
    let authorization = [format!("Bearer {}", plane.token(ORDERS, &clock))];
    assert!(call(&plane, &authorization).send(&clock).await.is_ok());
    // Another replica of the same workload comes at once, and is told to come again in a minute or two.
    let token = plane.token(ORDERS, &clock);
    let server = format!("https://localhost:{}", plane.port);
    let config = sidecar_config(&directory, &server, Some(&token));
    let mut sidecar = Sidecar::start(&config, &clock);
    sidecar.error("asks too often").await;
    let refusals = || {
        let text = plane.metrics.text();
        let line = text.lines().find(|line| line.contains("outcome=\"TooOften\""));
        line.unwrap().rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(refusals(), "1");
    // Its own back-off would be over after a second.
    clock.advance(Duration::from_secs(50));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(refusals(), "1");
    clock.advance(Duration::from_secs(71));
    assert!(sidecar.other_than(None).await.is_some());
    sidecar.stop().await;
    plane.stop().await;
}
