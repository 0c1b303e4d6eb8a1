//! Windows, both ways.

use super::*;

fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

/// The bytes of DATA frames on a stream, and whether the stream has ended.
fn received(frames: &[Sent], stream: u32) -> (Vec<u8>, bool) {
    let of_stream = || frames.iter().filter(|frame| frame.2 == stream);
    let data = of_stream().filter(|frame| frame.0 == DATA).flat_map(|frame| frame.3.clone());
    (data.collect(), of_stream().any(|frame| frame.1 & END_STREAM != 0))
}

#[test]
fn an_answer_waits_for_room_on_its_stream() {
    let mut connection = greeted();
    hear(&mut connection, &[setting(4, 3), request(1, b"a")].concat()).unwrap();
    connection.answer(1, b"0123456789");
    let mut frames = sent(&mut connection);
    assert_eq!(received(&frames, 1), (b"\0\0\0".to_vec(), false));
    for (bytes, length) in [
        (window_update(0, 100), 3),
        (window_update(1, 1), 4),
        // Three more than before for every stream, then less than nothing, which it has to be paid back from.
        (setting(4, 6), 7),
        (setting(4, 0), 7),
        (window_update(1, 6), 7),
        (window_update(1, 1), 8),
        (window_update(1, 100), 15),
    ] {
        hear(&mut connection, &bytes).unwrap();
        frames.extend(sent(&mut connection));
        assert_eq!(received(&frames, 1).0.len(), length);
    }
    assert_eq!(received(&frames, 1), (b"\0\0\0\0\x0a0123456789".to_vec(), true));
    assert_eq!(connection.streams.count(), 0);
}

#[test]
fn settings_are_acknowledged_before_what_comes_of_them() {
    let mut connection = greeted();
    hear(&mut connection, &[setting(4, 0), request(1, b"a")].concat()).unwrap();
    connection.answer(1, b"yes");
    sent(&mut connection);
    hear(&mut connection, &setting(4, 1)).unwrap();
    assert_eq!(kinds(&sent(&mut connection)), [(SETTINGS, 0), (DATA, 1)]);
}

/// A peer that gives no room gets no answers, and may not ask for ever; one stream without room stops no other.
#[test]
fn who_gives_no_room_holds_no_more_than_its_streams() {
    let mut connection = greeted();
    let most = settings::MAX_STREAMS;
    hear(&mut connection, &setting(4, 0)).unwrap();
    for at in 0..most {
        hear(&mut connection, &request(2 * at + 1, b"a")).unwrap();
        connection.answer(2 * at + 1, b"yes");
    }
    assert_eq!(received(&sent(&mut connection), 1).0, b"");
    assert_eq!(hear(&mut connection, &request(2 * most + 1, b"a")), Ok(Vec::new()));
    assert_eq!(sent(&mut connection)[0].0, RST_STREAM);
    assert_eq!(connection.streams.count(), usize::try_from(most).unwrap());
    hear(&mut connection, &window_update(5, 100)).unwrap();
    let frames = sent(&mut connection);
    assert_eq!(kinds(&frames), [(DATA, 5), (HEADERS, 5)]);
    let heard = hear(&mut connection, &request(2 * most + 3, b"b")).unwrap();
    assert_eq!(heard, [Heard::Request(2 * most + 3, b"b".to_vec())], "there is room for one again");
}

/// Room for thousands of answers at once: those that wait are not all put into the way of a peer that takes them slowly.
#[test]
fn answers_come_as_the_peer_takes_them() {
    let mut connection = greeted();
    let (most, message) = (1000, [b'm'; 4000]);
    hear(&mut connection, &setting(4, 0)).unwrap();
    for at in 0..most {
        hear(&mut connection, &request(2 * at + 1, b"a")).unwrap();
        connection.answer(2 * at + 1, &message);
    }
    assert_eq!(connection.streams.charge(), 1000 * 4005, "what waits is counted");
    sent(&mut connection);
    hear(&mut connection, &[window_update(0, 1 << 30), setting(4, 5000)].concat()).unwrap();
    let mut frames = Vec::new();
    while !connection.out().is_empty() {
        assert!(connection.out().len() < 70_000, "{}", connection.out().len());
        frames.extend(sent_at_once(&mut connection));
    }
    for at in 0..most {
        let (bytes, ended) = received(&frames, 2 * at + 1);
        assert_eq!((bytes.len(), ended), (4005, true));
    }
    assert_eq!((connection.streams.count(), connection.streams.charge()), (0, 0));
}

#[test]
fn answers_take_turns_where_the_connection_has_no_room() {
    let mut connection = greeted();
    let message = vec![b'm'; 40_000];
    let streams = [1, 3, 5];
    for stream in streams {
        hear(&mut connection, &request(stream, b"a")).unwrap();
        connection.answer(stream, &message);
    }
    let mut frames = sent(&mut connection);
    let all = |frames: &[Sent]| streams.map(|stream| received(frames, stream).0.len());
    assert_eq!(all(&frames).iter().sum::<usize>(), 65_535);
    assert!(
        frames.iter().all(|frame| frame.3.len() <= 16_384),
        "no frame is longer than agreed on"
    );
    hear(&mut connection, &window_update(0, 30_000)).unwrap();
    frames.extend(sent(&mut connection));
    assert_eq!(all(&frames).iter().sum::<usize>(), 95_535);
    hear(&mut connection, &window_update(0, 30_000)).unwrap();
    frames.extend(sent(&mut connection));
    for stream in streams {
        let (bytes, ended) = received(&frames, stream);
        assert_eq!((bytes.len(), ended), (40_005, true));
        assert_eq!(bytes[5..], message);
    }
    assert_eq!(connection.streams.count(), 0);
}

#[test]
fn an_answer_that_is_given_up_leaves_its_place() {
    let mut connection = greeted();
    let large = vec![b'm'; 70_000];
    hear(&mut connection, &[setting(4, 1 << 20), request(1, b"a"), request(3, b"b")].concat())
        .unwrap();
    connection.answer(1, &large);
    connection.answer(3, b"small");
    sent(&mut connection);
    let reset = frame(RST_STREAM, 0, 1, &[0; 4]);
    assert_eq!(hear(&mut connection, &reset), Ok(Vec::new()), "nobody is at it any more");
    hear(&mut connection, &window_update(0, 10)).unwrap();
    assert_eq!(received(&sent(&mut connection), 3), (b"\0\0\0\0\x05small".to_vec(), true));
    assert_eq!(connection.streams.count(), 0);
}

#[test]
fn frames_are_as_long_as_the_peer_takes_them() {
    let mut connection = greeted();
    hear(&mut connection, &[setting(5, 20_000), request(1, b"a")].concat()).unwrap();
    connection.answer(1, &[b'm'; 19_990]);
    let lengths = |frames: &[Sent]| -> Vec<usize> {
        frames.iter().filter(|frame| frame.0 == DATA).map(|frame| frame.3.len()).collect()
    };
    assert_eq!(lengths(&sent(&mut connection)), [19_995]);
    hear(&mut connection, &request(3, b"a")).unwrap();
    connection.answer(3, &[b'm'; 20_000]);
    assert_eq!(lengths(&sent(&mut connection)), [20_000, 5]);
}

#[test]
fn bodies_get_new_room_as_they_come() {
    let mut connection = greeted();
    hear(&mut connection, &head(1, END_HEADERS)).unwrap();
    let part = frame(DATA, 0, 1, &[b'x'; 16_384]);
    let (mut stream, mut whole) = (1_i64 << 20, 16_i64 << 20);
    for _ in 0..4000 {
        hear(&mut connection, &part).unwrap();
        stream -= 16_384;
        whole -= 16_384;
        for (kind, _, id, payload) in sent(&mut connection) {
            assert_eq!(kind, WINDOW_UPDATE);
            let increment = i64::from(u32::from_be_bytes(payload.try_into().unwrap()));
            *(if id == 0 { &mut whole } else { &mut stream }) += increment;
        }
        assert!(stream >= 1 << 19 && whole >= 1 << 23, "there is always room for more");
    }
}

#[test]
fn who_sends_more_than_there_is_room_for_is_stopped() {
    let mut connection = greeted();
    hear(&mut connection, &head(1, END_HEADERS)).unwrap();
    connection.streams.get(1).unwrap().receiving = Receiving::new(100);
    hear(&mut connection, &frame(DATA, 0, 1, &[0; 49])).unwrap();
    hear(&mut connection, &frame(DATA, 0, 1, &[0; 52])).unwrap();
    let frames = sent(&mut connection);
    assert_eq!(frames, [(RST_STREAM, 0, 1, (Code::FlowControl as u32).to_be_bytes().to_vec())]);
    connection.receiving = Receiving::new(100);
    assert_eq!(hear(&mut connection, &frame(DATA, 0, 1, &[0; 101])), Err(Code::FlowControl));
}

#[test]
fn a_window_that_settings_make_too_large_ends_the_connection() {
    let mut connection = greeted();
    hear(&mut connection, &head(1, END_HEADERS)).unwrap();
    hear(&mut connection, &window_update(1, 0x7fff_ffff - 65_535)).unwrap();
    assert_eq!(hear(&mut connection, &setting(4, 65_536)), Err(Code::FlowControl));
}
