//! Peers that say nothing, do not finish, come too often, or take no answers.

use tokio::io::DuplexStream;

use super::*;
use crate::runtime::{Address, ConnectionCounts, Places};

#[tokio::test(start_paused = true)]
async fn who_does_not_say_hello_does_not_stay() {
    for said in [0, 5, HELLO.len() - 1, HELLO.len()] {
        let (ours, mut theirs) = duplex(1000);
        let mut server = spawn(serve(Said::default(), ours, alone(Drain::default())));
        theirs.write_all(&HELLO[..said]).await.unwrap();
        assert!(tokio::time::timeout(UNFINISHED / 2, &mut server).await.is_err());
        let ended = tokio::time::timeout(2 * UNFINISHED, &mut server).await;
        if said < HELLO.len() {
            ended.expect("it ends").unwrap();
            continue;
        }
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, &mut server).await.is_err(), "an idle one stays");
        server.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_finished_ends_alone() {
    let peer = start(&h2::client::Builder::new()).await;
    let mut client = peer.client.clone().ready().await.unwrap();
    let (response, mut stream) = client.send_request(post(CHECK, None), false).unwrap();
    stream.send_data(Bytes::from(framed(b"nx")).slice(..3), false).unwrap();
    let (waits, mut asked) =
        peer.client.clone().ready().await.unwrap().send_request(post(CHECK, None), false).unwrap();
    asked.send_data(framed(b"wait").into(), true).unwrap();
    let error = tokio::time::timeout(3 * UNFINISHED, response).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
    assert_eq!(answer(&peer.client, b"nx").await, about(b"x").as_bytes(), "others go on");
    let hour = Duration::from_secs(3600);
    assert!(tokio::time::timeout(hour, waits).await.is_err(), "what is judged is not ended");
}

/// Whoever may connect may do so too often. Nobody is kept out by that, and nothing that was asked is lost.
#[tokio::test]
async fn strangers_who_say_nothing_keep_nobody_out() {
    let (door, drain, most) = (Said::default(), Drain::default(), 8);
    let counts = ConnectionCounts::default().of("test");
    let listener = "127.0.0.1:0".parse::<Address>().unwrap().bind().await.unwrap();
    let address = listener.address().unwrap();
    let places = Places::new(most, drain.clone(), counts);
    let (served, room) = (door.clone(), Room::new(1 << 26));
    let server = spawn(places.serve(listener, move |socket, place| {
        serve(served.clone(), socket, (place, room.clone()))
    }));
    let connect = || async {
        let stream = address.connect().await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        (client, spawn(connection))
    };
    let (waits, _waits) = connect().await;
    let mut client = waits.clone().ready().await.unwrap();
    let (response, mut stream) = client.send_request(post(CHECK, None), false).unwrap();
    stream.send_data(framed(b"wait").into(), true).unwrap();
    while door.waiting.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let (client, _client) = connect().await;
    let mut strangers = Vec::new();
    for at in 0..100 {
        let mut stranger = address.connect().await.unwrap();
        let hello = if at % 2 == 0 { HELLO } else { b"" };
        stranger.write_all(hello).await.unwrap();
        strangers.push(stranger);
        assert_eq!(answer(&client, b"nx").await, about(b"x").as_bytes(), "who asks stays");
    }
    let (late, _late) = connect().await;
    assert_eq!(answer(&late, b"nx").await, about(b"x").as_bytes(), "who comes is let in");
    assert_eq!(door.waiting.load(Ordering::SeqCst), 1, "what is being answered goes on");
    // The first stranger was sent away: it is told so, and then there is an end.
    let mut rest = Vec::new();
    strangers[1].read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() > 9 + 8, "{rest:?}");
    stream.send_reset(h2::Reason::CANCEL);
    drop((response, strangers));
    drain.begin();
    server.await.unwrap().unwrap();
}

/// Pings are small to ask and must be answered: the answers must not pile up.
#[tokio::test(start_paused = true)]
async fn who_takes_no_answers_is_not_read_and_then_cut() {
    let (ours, mut theirs) = duplex(64);
    let server = spawn(serve(Said::default(), ours, alone(Drain::default())));
    let sent = flood(&mut theirs).await;
    assert!(sent < 2 * MOST_UNSENT + 1000, "{sent} bytes were read");
    server.await.unwrap();
    theirs.write_all(b"more").await.unwrap_err();
}

/// Writes hello and pings until nothing more is taken for a while; how many bytes were.
async fn flood(peer: &mut DuplexStream) -> usize {
    peer.write_all(HELLO).await.unwrap();
    let mut sent = 0;
    let ping = b"\0\0\x08\x06\0\0\0\0\0abcdefgh";
    while let Ok(written) = tokio::time::timeout(Duration::from_secs(1), peer.write_all(ping)).await
    {
        written.unwrap();
        sent += ping.len();
    }
    sent
}
