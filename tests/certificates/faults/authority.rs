//! The authority is down, or slow.

use std::sync::Arc;
use std::time::Duration;

use hopgate::runtime::Clock;
use tokio::sync::Semaphore;

use super::super::impostor::Impostor;
use super::super::parts::{
    Directory, ORDERS, Plane, Sidecar, hours, id, sidecar_config, start_of_time, this_second,
};
use crate::support::pki;

#[tokio::test]
async fn the_ca_is_down_for_two_lifetimes() {
    let directory = Directory::new();
    let clock = Clock::manual(start_of_time());
    let plane = Plane::start(&directory, &clock).await;
    let (port, server) = (plane.port, format!("https://localhost:{}", plane.port));
    let config = sidecar_config(&directory, &server, Some(&plane.token(ORDERS, &clock)));
    let mut sidecar = Sidecar::start(&config, &clock);
    let serial = sidecar.other_than(None).await.unwrap();
    let end = sidecar.handle.status().not_after.unwrap();
    plane.stop().await;

    for minute in 1..=120 {
        clock.advance(Duration::from_secs(60));
        sidecar.looked(&clock).await;
        let expected = (clock.now() <= end).then(|| serial.clone());
        assert_eq!(sidecar.serial(), expected, "minute {minute}");
        if minute == 45 {
            // A restart in between changes nothing.
            sidecar.stop().await;
            sidecar = Sidecar::start(&config, &clock);
        }
    }
    assert!(clock.now() > end + hours(1) - Duration::from_secs(60), "two lifetimes");
    // It went on asking: from the first half of the life on, at most once a minute.
    let failures = sidecar.handle.status().failures;
    assert!((20..=80).contains(&failures), "{failures} attempts in 75 minutes");
    let refused = sidecar.handle.status().last_error.unwrap();
    assert!(refused.contains("cannot be reached"), "{refused}");

    let plane = Plane::start_at(&directory, &clock, &format!("127.0.0.1:{port}")).await;
    sidecar.refuses("already used").await;
    assert_eq!(sidecar.serial(), None, "nothing expired is served meanwhile");
    directory.write("join.token", &plane.token(ORDERS, &clock), 0o600);
    clock.advance(Duration::from_secs(60));
    assert!(sidecar.other_than(None).await.is_some_and(|new| new != serial));
    assert_eq!(sidecar.handle.status().last_error, None);
    sidecar.stop().await;
    plane.stop().await;
}

#[tokio::test]
async fn the_ca_is_slow() {
    let directory = Directory::new();
    // The server's certificate is one of the real time.
    let clock = Clock::manual(this_second());
    let ca = Arc::new(named_ca());
    directory.write("roots.pem", &pki::pem(&ca.root()), 0o644);
    // One answer for each permit.
    let permits = Arc::new(Semaphore::new(1));
    let impostor = {
        let (ca, clock, permits) = (Arc::clone(&ca), clock.clone(), Arc::clone(&permits));
        let server = Arc::clone(&ca);
        Impostor::start(&server, &clock.clone(), move |asked| {
            let (ca, clock, permits) = (Arc::clone(&ca), clock.clone(), Arc::clone(&permits));
            async move {
                permits.acquire().await.unwrap().forget();
                let leaf = ca.certify(&asked.key, |params| {
                    params.subject_alt_names = vec![pki::uri(id(ORDERS).as_str())];
                    params.not_before = (clock.now() - Duration::from_secs(120)).into();
                    params.not_after = (clock.now() + hours(1)).into();
                });
                Ok(vec![pki::pem(&leaf)])
            }
        })
        .await
    };
    let config = sidecar_config(&directory, &impostor.server(), Some("any"));
    let mut sidecar = Sidecar::start(&config, &clock);
    let serial = sidecar.other_than(None).await.unwrap();
    assert_eq!(impostor.asked(), 1);

    // An answer that does not come: what is held is served, and nobody asks a second time meanwhile.
    for _ in 0..5 {
        sidecar.handle.renew_now();
    }
    while impostor.asked() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    clock.advance(hours(1));
    sidecar.looked(&clock).await;
    assert_eq!((sidecar.serial(), impostor.asked()), (Some(serial.clone()), 2));
    // It ends while the answer is still out.
    clock.advance(Duration::from_secs(1));
    assert_eq!(sidecar.other_than(Some(&serial)).await, None);
    assert_eq!(impostor.asked(), 2);
    // The answer comes, and is judged by the clock of that moment.
    permits.add_permits(2);
    let late = sidecar.other_than(None).await.unwrap();
    assert_ne!(late, serial);

    // One that never comes is given up.
    while permits.available_permits() > 0 {
        sidecar.handle.renew_now();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sidecar.refuses("no answer").await;
    assert!(sidecar.serial().is_some());
    sidecar.stop().await;
}

/// An authority whose root has a name, as every one in use has.
pub(super) fn named_ca() -> pki::Ca {
    pki::ca_with(rcgen::KeyPair::generate().unwrap(), |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "demo.mesh root");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(1));
        params.not_before = (Clock::system().now() - hours(48)).into();
    })
}
