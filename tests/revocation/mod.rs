//! Revoking a workload, end to end: a real control plane, real sidecars, real Envoys, connections that are kept.

mod parts;
mod thief;

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::envoy::eventually;
use parts::{MAIL, ORDERS, Plane, Service, WEB, get, within_a_second};
use thief::Thief;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_peer_refuses_within_a_second_on_new_and_on_kept_connections() {
    let plane = Plane::start().await;
    let orders = Service::start(&plane, ORDERS, &[]).await;
    let mail = Service::start(&plane, MAIL, &[]).await;
    let (http, tcp) = (orders.listener("inbound|http").await, orders.listener("inbound|tcp").await);
    let other_http = mail.listener("inbound|http").await;

    // Whoever has the key of the workload, and none of its sidecar's good manners.
    let thief = Thief::with_certificate_of(&plane, WEB).await;
    let honest = Thief::with_certificate_of(&plane, MAIL).await;
    let mut kept = [thief.dial(http).await.unwrap(), thief.dial(other_http).await.unwrap()];
    let mut bare = thief.dial(tcp).await.unwrap();
    bare.write_all(b"hello").await.unwrap();
    let mut answer = [0; 12];
    bare.read_exact(&mut answer).await.unwrap();
    let mut other = honest.dial(http).await.unwrap();
    for stream in kept.iter_mut().chain([&mut other]) {
        assert_eq!(get(stream, "/").await.unwrap().0, 200);
    }

    assert!(!thief.resumes(http).await, "every connection shows its certificate");
    let began = Instant::now();
    plane.revoke(&format!("workload {WEB} --reason stolen")).await;
    let said = began.elapsed();
    for stream in &mut kept {
        within_a_second(began, "a kept connection", async || {
            get(stream, "/").await.unwrap().0 == 403
        })
        .await;
    }
    let refused = began.elapsed();
    let closed = tokio::time::timeout(Duration::from_secs(2), bare.read_u8()).await;
    assert!(matches!(closed, Ok(Err(_))), "the TCP connection is ended: {closed:?}");
    let ended = began.elapsed();
    println!(
        "revoked: the command took {said:?}; refused on kept connections of two peers after {refused:?}, \
         the TCP connection ended after {ended:?}"
    );
    assert!(ended < Duration::from_secs(2), "{ended:?}");
    // On new connections too, and nobody else is refused.
    let mut new = thief.dial(http).await.unwrap();
    assert_eq!(get(&mut new, "/").await.unwrap().0, 403);
    assert!(!thief.echoes(tcp).await, "a new TCP connection");
    assert!(!thief.resumes(http).await, "no ticket helps");
    assert_eq!(get(&mut other, "/").await.unwrap().0, 200);
    assert!(eventually(async || honest.echoes(tcp).await).await);
    let log = orders.decisions();
    assert!(log.contains("\"code\":\"peer_revoked\"") && log.contains("stolen"), "{log}");
    let refused = thief.renew(&plane).await.unwrap_err();
    assert_eq!(refused.message(), "this workload is revoked");

    // Nothing was changed at the client: lifted, the same connections work again.
    plane.revoke(&format!("lift {WEB}")).await;
    let began = Instant::now();
    for stream in &mut kept {
        within_a_second(began, "a kept connection", async || {
            get(stream, "/").await.unwrap().0 == 200
        })
        .await;
    }
    assert!(eventually(async || thief.echoes(tcp).await).await);
    thief.renew(&plane).await.unwrap();

    // One certificate only: the next one is good.
    let next = Thief::with_certificate_of(&plane, WEB).await;
    let serial = thief.serial();
    plane.revoke(&format!("workload {WEB} --serial {serial} --until 2h --reason stolen")).await;
    let began = Instant::now();
    within_a_second(began, "one certificate", async || {
        get(&mut kept[0], "/").await.unwrap().0 == 403
    })
    .await;
    let mut good = next.dial(http).await.unwrap();
    assert_eq!(get(&mut good, "/").await.unwrap().0, 200);
    let refused = thief.renew(&plane).await.unwrap_err();
    assert!(refused.message().contains("token is needed"), "{}", refused.message());
    next.renew(&plane).await.unwrap();
    for part in [orders, mail] {
        part.stop().await;
    }
    drop(plane.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_server_is_refused_by_its_callers_and_withdraws_itself() {
    let plane = Plane::start().await;
    let orders = Service::start(&plane, ORDERS, &[]).await;
    let mail = Service::start(&plane, MAIL, &[]).await;
    let callees = [
        ("orders", orders.listener("inbound|http").await, ORDERS),
        ("mail", mail.listener("inbound|http").await, MAIL),
    ];
    let web = Service::start(&plane, WEB, &callees).await;
    let mut to_orders = TcpStream::connect(web.listener("outbound|orders").await).await.unwrap();
    let mut to_mail = TcpStream::connect(web.listener("outbound|mail").await).await.unwrap();
    for stream in [&mut to_orders, &mut to_mail] {
        assert!(eventually(async || get(stream, "/").await.unwrap().0 == 200).await);
    }

    assert_eq!(orders.workload_api().await, Ok(()));
    plane.revoke(&format!("workload {ORDERS} --reason stolen")).await;
    let began = Instant::now();
    within_a_second(began, "a revoked server", async || {
        get(&mut to_orders, "/").await.unwrap().0 == 503
    })
    .await;
    for _ in 0..20 {
        assert_eq!(get(&mut to_orders, "/").await.unwrap().0, 503);
    }
    assert_eq!(get(&mut to_mail, "/").await.unwrap().0, 200, "others are still called");
    assert_eq!(web.envoy.stat("cluster.outbound|orders.upstream_cx_active").await, 0);
    let withdrawn = async || orders.ready().await.contains("this workload is revoked: stolen");
    assert!(eventually(withdrawn).await, "{}", orders.ready().await);
    let refused = orders.workload_api().await.unwrap_err();
    assert_eq!(refused, "PermissionDenied: no identity issued");

    plane.revoke(&format!("lift {ORDERS}")).await;
    let again = async || get(&mut to_orders, "/").await.unwrap().0 == 200;
    assert!(eventually(again).await, "lifted, it is called again");
    assert!(eventually(async || orders.ready().await == "ready\n").await);
    assert_eq!(orders.workload_api().await, Ok(()));
    for part in [web, orders, mail] {
        part.stop().await;
    }
    drop(plane.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_while_the_control_plane_is_away_forgets_nothing() {
    let plane = Plane::start().await;
    let orders = Service::start(&plane, ORDERS, &[]).await;
    let thief = Thief::with_certificate_of(&plane, WEB).await;
    let http = orders.listener("inbound|http").await;
    let mut kept = thief.dial(http).await.unwrap();
    assert_eq!(get(&mut kept, "/").await.unwrap().0, 200);
    plane.revoke(&format!("workload {WEB} --reason stolen")).await;
    within_a_second(Instant::now(), "a kept connection", async || {
        get(&mut kept, "/").await.unwrap().0 == 403
    })
    .await;
    // What was heard is on disk before long.
    let kept_on_disk = async || orders.state().contains("RevokedWorkload");
    assert!(eventually(kept_on_disk).await, "{}", orders.state());
    let _files = plane.stop().await;

    let orders = orders.restarted().await;
    let refused = async || get(&mut kept, "/").await.is_ok_and(|(status, _)| status == 403);
    assert!(eventually(refused).await, "the restarted sidecar forgot it");
    let page = orders.page("/config").await;
    assert!(page.contains("\"stalenessSeconds\"") && page.contains("\"known\": 1"), "{page}");
    orders.stop().await;
}
