//! What a peer begins and does not finish.

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// So long after the connection began.
fn after(connection: &mut Connection, seconds: u64) -> Result<(), Code> {
    let now = connection.began + Duration::from_secs(seconds);
    connection.tick(now);
    connection.end_unfinished(now - PATIENCE).map_err(|fault| fault.code)
}

#[test]
fn who_does_not_say_hello_is_sent_away() {
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for said in [0, 10, PREFACE.len(), hello.len()] {
        let mut connection = fresh(METHOD);
        assert!(connection.next(&mut &hello[..said]).unwrap().is_none());
        let is_mute = said < hello.len();
        assert_eq!(connection.is_unfinished(0), is_mute);
        assert_eq!(after(&mut connection, 10), Ok(()));
        let expected = if is_mute { Err(Code::EnhanceYourCalm) } else { Ok(()) };
        assert_eq!(after(&mut connection, 11), expected, "{said} bytes");
        assert_eq!(connection.is_over(), is_mute);
        let goaways = sent(&mut connection).iter().filter(|frame| frame.0 == GOAWAY).count();
        assert_eq!(goaways, usize::from(is_mute), "and told so");
        assert_eq!(
            after(&mut connection, 3600),
            Ok(()),
            "once; who has said hello may say no more"
        );
    }
}

#[test]
fn a_header_block_is_not_waited_for_for_ever() {
    let mut connection = greeted();
    connection.tick(connection.began + Duration::from_secs(5));
    hear(&mut connection, &head(1, 0)).unwrap();
    assert!(connection.is_unfinished(0));
    hear(&mut connection, &frame(CONTINUATION, 0, 1, &[])).unwrap();
    assert_eq!(after(&mut connection, 15), Ok(()));
    assert_eq!(after(&mut connection, 16), Err(Code::EnhanceYourCalm));
    assert!(connection.is_over());
}

/// A request in parts and an answer without room end; what waits for an answer from here does not.
#[test]
fn streams_that_wait_for_the_peer_end() {
    let mut connection = greeted();
    let bytes = [
        setting(4, 0),
        head(1, END_HEADERS),
        head(3, END_HEADERS),
        frame(DATA, 0, 3, b"a"),
        request(5, b"b"),
        request(7, b"c"),
    ];
    assert_eq!(hear(&mut connection, &bytes.concat()).unwrap().len(), 2);
    connection.tick(connection.began + Duration::from_secs(5));
    connection.answer(7, b"yes");
    sent(&mut connection);
    let reset = |ids: &[u32]| -> Vec<Sent> {
        let cancel = (Code::Cancel as u32).to_be_bytes().to_vec();
        ids.iter().map(|id| (RST_STREAM, 0, *id, cancel.clone())).collect()
    };
    assert!(connection.is_unfinished(1));
    assert_eq!(after(&mut connection, 10), Ok(()));
    assert_eq!(sent(&mut connection), []);
    assert_eq!(after(&mut connection, 11), Ok(()));
    assert_eq!(sent(&mut connection), reset(&[1, 3]), "the answer waits since a little later");
    assert_eq!(after(&mut connection, 16), Ok(()));
    assert_eq!(sent(&mut connection), reset(&[7]));
    assert!(!connection.is_unfinished(1));
    assert_eq!(after(&mut connection, 3600), Ok(()));
    assert_eq!((connection.streams.count(), connection.streams.charge()), (1, 1));
    hear(&mut connection, &setting(4, 100)).unwrap();
    connection.answer(5, b"yes");
    let kinds = kinds(&sent(&mut connection));
    assert_eq!(kinds, [(SETTINGS, 0), (HEADERS, 5), (DATA, 5), (HEADERS, 5)]);
    // What was on its way when they ended is no mistake.
    let late = [frame(DATA, END_STREAM, 1, b"a"), frame(HEADERS, WHOLE, 3, &block(&[("a", "b")]))];
    assert_eq!(hear(&mut connection, &late.concat()), Ok(Vec::new()));
    let heard = hear(&mut connection, &request(9, b"d")).unwrap();
    assert_eq!(heard, [Heard::Request(9, b"d".to_vec())]);
}

/// Slow is not too slow: each time that the peer has room for some of an answer, it is waited for anew.
#[test]
fn an_answer_that_goes_on_is_not_ended() {
    let mut connection = greeted();
    hear(&mut connection, &[setting(4, 0), request(1, b"a")].concat()).unwrap();
    connection.answer(1, b"yes");
    for seconds in [9, 18, 27] {
        assert_eq!(after(&mut connection, seconds), Ok(()));
        hear(&mut connection, &frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])).unwrap();
    }
    assert_eq!(after(&mut connection, 37), Ok(()));
    let frames = kinds(&sent(&mut connection));
    let expected = [(SETTINGS, 0), (HEADERS, 1), (DATA, 1), (DATA, 1), (DATA, 1)];
    assert_eq!(frames, expected);
    assert_eq!(after(&mut connection, 38), Ok(()));
    assert_eq!(kinds(&sent(&mut connection)), [(RST_STREAM, 1)]);
}

/// The peer made room, and what comes before is still being sent.
#[test]
fn an_answer_that_waits_for_its_turn_is_not_ended() {
    let mut connection = greeted();
    hear(&mut connection, &setting(4, 0)).unwrap();
    for stream in [1, 3, 5] {
        hear(&mut connection, &request(stream, b"a")).unwrap();
        connection.answer(stream, &[b'm'; 50_000]);
    }
    let room = frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 20).to_be_bytes());
    hear(&mut connection, &[room, setting(4, 1 << 20)].concat()).unwrap();
    assert_eq!(after(&mut connection, 50), Ok(()));
    let frames = sent(&mut connection);
    assert!(frames.iter().all(|frame| frame.0 != RST_STREAM));
    assert_eq!(connection.streams.count(), 0);
}

#[test]
fn who_does_not_hear_the_last_call_is_left() {
    let mut connection = greeted();
    hear(&mut connection, &request(1, b"a")).unwrap();
    connection.drain();
    sent(&mut connection);
    assert!(connection.is_unfinished(1));
    assert_eq!(after(&mut connection, 10), Ok(()));
    assert_eq!(sent(&mut connection), []);
    assert_eq!(after(&mut connection, 11), Ok(()));
    let frames = sent(&mut connection);
    assert_eq!(kinds(&frames), [(GOAWAY, 0)]);
    assert_eq!(frames[0].3[..8], [0, 0, 0, 1, 0, 0, 0, 0]);
    assert!(!connection.is_over(), "what was asked is answered");
    connection.answer(1, b"yes");
    assert!(connection.is_over());
}
