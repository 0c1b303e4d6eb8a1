//! How a connection ends well.

use super::*;

fn goaway(frame: &Sent) -> (u32, u32) {
    assert_eq!(frame.0, GOAWAY);
    let number = |at: usize| u32::from_be_bytes(frame.3[at..at + 4].try_into().unwrap());
    (number(0), number(4))
}

#[test]
fn requests_in_flight_finish_and_later_ones_are_left() {
    let mut connection = greeted();
    hear(&mut connection, &[request(1, b"a"), head(3, END_HEADERS)].concat()).unwrap();
    connection.drain();
    connection.drain();
    let frames = sent(&mut connection);
    assert_eq!(kinds(&frames), [(GOAWAY, 0), (PING, 0)], "once");
    assert_eq!(goaway(&frames[0]), (0x7fff_ffff, 0));
    // What was sent before the peer heard of it is served.
    let heard = hear(&mut connection, &request(5, b"b")).unwrap();
    assert_eq!(heard, [Heard::Request(5, b"b".to_vec())]);
    assert_eq!(hear(&mut connection, &frame(PING, ACK, 0, b"another!")), Ok(Vec::new()));
    assert_eq!(sent(&mut connection), []);
    hear(&mut connection, &frame(PING, ACK, 0, &frames[1].3)).unwrap();
    assert_eq!(goaway(&sent(&mut connection)[0]), (5, 0));
    let late = [
        request(7, b"c"),
        frame(WINDOW_UPDATE, 0, 7, &[0, 0, 0, 1]),
        frame(RST_STREAM, 0, 7, &[0; 4]),
    ];
    assert_eq!(hear(&mut connection, &late.concat()), Ok(Vec::new()), "ignored");
    let heard = hear(&mut connection, &frame(DATA, END_STREAM, 3, b"d")).unwrap();
    assert_eq!(heard, [Heard::Request(3, b"d".to_vec())]);
    for stream in [1, 3, 5] {
        assert!(!connection.is_over());
        connection.answer(stream, b"yes");
    }
    assert!(connection.is_over());
    assert_eq!(sent(&mut connection).len(), 9);
}

#[test]
fn a_connection_without_requests_ends_at_once() {
    let mut connection = fresh(METHOD);
    connection.drain();
    assert!(connection.is_over());
    let mut connection = greeted();
    connection.drain();
    assert!(!connection.is_over(), "requests may be on their way");
    let ping = sent(&mut connection).pop().unwrap();
    hear(&mut connection, &frame(PING, ACK, 0, &ping.3)).unwrap();
    assert!(connection.is_over());
}

#[test]
fn a_peer_that_leaves_gets_its_answers() {
    let mut connection = greeted();
    hear(&mut connection, &[request(1, b"a"), frame(GOAWAY, 0, 0, &[0; 8])].concat()).unwrap();
    assert!(!connection.is_over());
    connection.answer(1, b"yes");
    assert!(connection.is_over());
    assert_eq!(sent(&mut connection).iter().map(|frame| frame.0).collect::<Vec<_>>(), ANSWER);
}
