//! The clock is set while a certificate is held.

use std::time::Duration;

use hopgate::certs::Renewal;
use hopgate::runtime::Clock;

use super::super::parts::{
    Directory, ORDERS, Plane, Sidecar, days, id, sidecar_config, start_of_time,
};

#[tokio::test]
async fn the_clock_jumps_forward() {
    let directory = Directory::new();
    let (ours, theirs) = (Clock::manual(start_of_time()), Clock::manual(start_of_time()));
    let plane = Plane::start(&directory, &theirs).await;
    let server = format!("https://localhost:{}", plane.port);
    let config = sidecar_config(&directory, &server, Some(&plane.token(ORDERS, &theirs)));
    let mut sidecar = Sidecar::start(&config, &ours);
    let first = sidecar.other_than(None).await.unwrap();

    // The machine slept past the time of renewal: it is renewed at once.
    for clock in [&theirs, &ours] {
        clock.advance(Duration::from_secs(50 * 60));
    }
    let second = sidecar.other_than(Some(&first)).await.unwrap();

    // Only our clock jumps, by a day: what is held seems over, and is not served.
    let before = ours.now();
    ours.advance(days(1));
    assert_eq!(sidecar.other_than(Some(&second)).await, None);
    sidecar.error("no new certificate").await;
    plane.stop().await;
    // Somebody who starts now finds nothing that may be served.
    let late = Renewal::new(&config, id(ORDERS), ours.clone()).unwrap();
    assert!(late.identity().borrow().is_none());
    drop(late);
    let mut late = Sidecar::start(&config, &ours);
    assert_eq!(late.serial(), None);
    late.error("cannot be reached").await;

    // It is put right, and the authority is down: what was good is good again, also for who started meanwhile.
    ours.set(before + Duration::from_secs(60));
    assert_eq!(sidecar.other_than(None).await.as_ref(), Some(&second));
    assert_eq!(late.other_than(None).await.as_ref(), Some(&second));
    late.stop().await;
    sidecar.stop().await;
}

#[tokio::test]
async fn the_clock_jumps_back() {
    let directory = Directory::new();
    let (ours, theirs) = (Clock::manual(start_of_time()), Clock::manual(start_of_time()));
    let plane = Plane::start(&directory, &theirs).await;
    let (port, server) = (plane.port, format!("https://localhost:{}", plane.port));
    let config = sidecar_config(&directory, &server, Some(&plane.token(ORDERS, &theirs)));
    let mut sidecar = Sidecar::start(&config, &ours);
    let serial = sidecar.other_than(None).await.unwrap();

    // By a minute, as a time server does it: nothing happens.
    let status = sidecar.handle.status();
    ours.set(start_of_time() - Duration::from_secs(60));
    sidecar.looked(&ours).await;
    assert_eq!(sidecar.handle.status().failures, status.failures);

    // By a day: the certificate is of the future by our clock alone, and it is kept.
    let back = start_of_time() - days(1);
    ours.set(back);
    sidecar.error("no new certificate").await;
    for _ in 0..30 {
        ours.advance(Duration::from_secs(60));
        sidecar.looked(&ours).await;
        assert_eq!(sidecar.serial().as_ref(), Some(&serial));
    }
    let failures = sidecar.handle.status().failures;
    assert!((10..=45).contains(&failures), "{failures} attempts in half an hour");

    // It is put right: all is as it was, and the renewal comes in its time.
    ours.set(start_of_time() + Duration::from_secs(600));
    sidecar.looked(&ours).await;
    assert_eq!(sidecar.serial().as_ref(), Some(&serial));
    for clock in [&theirs, &ours] {
        clock.set(start_of_time() + Duration::from_secs(40 * 60));
    }
    // What was under way when the clocks were set may have failed: they go on, and it is tried again.
    for _ in 0..15 {
        let changed = sidecar.other_than(Some(&serial));
        if tokio::time::timeout(Duration::from_secs(4), changed).await.is_ok() {
            break;
        }
        for clock in [&theirs, &ours] {
            clock.advance(Duration::from_secs(60));
        }
    }
    let second = sidecar.serial().unwrap();
    assert_ne!(second, serial, "{:?}", sidecar.handle.status());

    // Both clocks jump back to before it was issued, and the authority starts anew.
    for clock in [&theirs, &ours] {
        clock.set(start_of_time() + Duration::from_secs(60));
    }
    plane.stop().await;
    let plane = Plane::start_at(&directory, &theirs, &format!("127.0.0.1:{port}")).await;
    sidecar.looked(&ours).await;
    assert_eq!(sidecar.serial().as_ref(), Some(&second), "kept");
    sidecar.stop().await;
    plane.stop().await;
}
