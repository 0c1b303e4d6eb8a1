//! Peers that want to cost more than they pay.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::proto::http2::room::OWN;

/// Feeds the same bytes until the connection ends, at most so many times.
fn flood(connection: &mut Connection, bytes: &[u8], most: usize) -> Option<(usize, Code)> {
    for count in 1..=most {
        let result = hear(connection, bytes);
        let length = connection.out().len();
        connection.sent(length);
        if let Err(code) = result {
            return Some((count, code));
        }
    }
    None
}

#[test]
fn floods_end_the_connection() {
    let (open, over) = (head(1, END_HEADERS), request(1, b"a"));
    for (why, first, bytes) in [
        ("pings", &over, frame(PING, 0, 0, &[0; 8])),
        ("answers to pings", &over, frame(PING, ACK, 0, &[0; 8])),
        ("settings", &over, setting(4, 1)),
        ("acknowledgements", &over, frame(SETTINGS, ACK, 0, &[])),
        ("priorities", &over, frame(PRIORITY, 0, 1, &[0; 5])),
        ("unknown frames", &over, frame(0x99, 0, 0, &[])),
        ("empty parts", &open, frame(DATA, 0, 1, &[])),
        ("padding alone", &open, frame(DATA, PADDED, 1, &[3, 0, 0, 0])),
        ("farewells", &open, frame(GOAWAY, 0, 0, &[0; 8])),
        ("frames on a stream that is over", &over, frame(DATA, 0, 1, b"a")),
    ] {
        let mut connection = greeted();
        for event in hear(&mut connection, first).unwrap() {
            assert_eq!(event, Heard::Request(1, b"a".to_vec()));
            connection.answer(1, b"yes");
        }
        let (count, code) = flood(&mut connection, &bytes, 20_000).expect(why);
        assert_eq!(code, Code::EnhanceYourCalm, "{why}");
        assert!(count > 500, "{why}: only a flood is one, not {count}");
    }
}

/// Calls that are turned away cost little, but not nothing.
#[test]
fn floods_of_calls_that_are_not_served_end_the_connection() {
    let other = block(&[FIELDS[0], FIELDS[1], (":path", "/a/C")]);
    for (why, block) in [("another method", other), ("no path", block(&FIELDS[..2]))] {
        let mut connection = greeted();
        let mut floods = (1..50_000).step_by(2).map(|stream| frame(HEADERS, WHOLE, stream, &block));
        let ended = floods.find_map(|bytes| flood(&mut connection, &bytes, 1));
        assert_eq!(ended, Some((1, Code::EnhanceYourCalm)), "{why}");
        assert!(connection.last > 10_000, "{why}: only a flood is one");
    }
}

#[test]
fn a_slow_flood_is_none() {
    let mut connection = greeted();
    let begin = Instant::now();
    let pings = |connection: &mut Connection| flood(connection, &frame(PING, 0, 0, &[0; 8]), 9_000);
    for seconds in 1..5 {
        assert_eq!(pings(&mut connection), None);
        connection.tick(begin + Duration::from_secs(seconds));
    }
    assert_eq!(pings(&mut connection), None);
    connection.tick(begin + Duration::from_millis(4_900));
    assert_eq!(pings(&mut connection).unwrap().1, Code::EnhanceYourCalm);
}

/// CVE-2023-44487: requests that are given up at once.
#[test]
fn rapid_resets_end_the_connection() {
    let mut connection = greeted();
    let mut ended = None;
    for stream in (1..50_000).step_by(2) {
        let bytes = [request(stream, b"a"), frame(RST_STREAM, 0, stream, &[0; 4])].concat();
        if let Err(code) = hear(&mut connection, &bytes) {
            ended = Some((stream, code));
            break;
        }
        assert_eq!(connection.streams.count(), 0);
    }
    let (stream, code) = ended.unwrap();
    assert_eq!(code, Code::EnhanceYourCalm);
    assert!(stream > 2 * 8192, "a proxy may give up all that it asked for, twice");
}

#[test]
fn there_is_an_end_to_streams() {
    let mut connection = greeted();
    let most = settings::MAX_STREAMS;
    for at in 0..most {
        hear(&mut connection, &head(2 * at + 1, END_HEADERS)).unwrap();
    }
    assert_eq!(sent(&mut connection), []);
    hear(&mut connection, &head(2 * most + 1, END_HEADERS)).unwrap();
    let refused =
        (RST_STREAM, 0, 2 * most + 1, (Code::RefusedStream as u32).to_be_bytes().to_vec());
    assert_eq!(sent(&mut connection), [refused]);
    hear(&mut connection, &frame(DATA, END_STREAM, 1, b"a")).unwrap();
    connection.answer(1, b"yes");
    let heard = hear(&mut connection, &request(2 * most + 3, b"b")).unwrap();
    assert_eq!(heard, [Heard::Request(2 * most + 3, b"b".to_vec())]);
}

#[test]
fn header_blocks_have_an_end() {
    let mut connection = greeted();
    hear(&mut connection, &frame(HEADERS, 0, 1, &[])).unwrap();
    let empty = flood(&mut connection, &frame(CONTINUATION, 0, 1, &[]), 100);
    assert_eq!(empty, Some((32, Code::EnhanceYourCalm)));
    let mut connection = greeted();
    hear(&mut connection, &frame(HEADERS, 0, 1, &[])).unwrap();
    let long = flood(&mut connection, &frame(CONTINUATION, 0, 1, &[0; 16_384]), 100);
    assert_eq!(long, Some((17, Code::EnhanceYourCalm)));
}

/// A byte that stands for a long field, again and again: the request is what its first fields say.
#[test]
fn a_short_block_with_a_long_list_is_read_to_where_there_is_room() {
    let mut connection = greeted();
    let long = "v".repeat(120);
    let kept = [&[0x40, 1, b'a', 120][..], long.as_bytes()].concat();
    let bomb = [block(FIELDS), kept, vec![0xbe; 16_000]].concat();
    let body = frame(DATA, END_STREAM, 1, b"a");
    let bytes = [frame(HEADERS, END_HEADERS, 1, &bomb), body, request(3, b"b")].concat();
    let heard = hear(&mut connection, &bytes).unwrap();
    assert_eq!(heard, [(1, b"a"), (3, b"b")].map(|(id, body)| Heard::Request(id, body.to_vec())));
    assert_eq!(sent(&mut connection), []);
}

/// What a proxy passes on of its clients must not end the connection on which it asks.
#[test]
fn a_head_may_have_one_field_of_any_size_that_a_proxy_takes() {
    for length in [20_000_u32, 40_000, 60_000, 200_000] {
        let mut connection = greeted();
        let value = vec![b'~'; usize::try_from(length).unwrap()];
        // A length in the form of an integer of HPACK.
        let rest = length - 127;
        let mut coded = vec![0x40, 10];
        coded.extend_from_slice(b"tracestate");
        coded.extend([
            0x7f,
            (rest & 0x7f | 0x80) as u8,
            (rest >> 7 & 0x7f | 0x80) as u8,
            (rest >> 14) as u8,
        ]);
        let block = [block(FIELDS), coded, value].concat();
        let mut parts = block.chunks(16_384);
        let mut bytes = frame(HEADERS, 0, 1, parts.next().unwrap());
        parts.for_each(|part| bytes.extend(frame(CONTINUATION, 0, 1, part)));
        bytes.extend(frame(CONTINUATION, END_HEADERS, 1, b""));
        bytes.extend(frame(DATA, END_STREAM, 1, b"a"));
        let heard = hear(&mut connection, &bytes).unwrap();
        assert_eq!(heard, [Heard::Request(1, b"a".to_vec())], "{length}");
        assert_eq!(sent(&mut connection), []);
    }
}

/// Bodies that never end, on all streams at once: what is kept is bounded, and what is dropped is told.
#[test]
fn bodies_together_have_an_end() {
    let mut connection = fresh(Method { max_request: 1 << 20, ..METHOD });
    hear(&mut connection, &[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).unwrap();
    let room = ROOM / 2 + OWN;
    let part = vec![b'x'; 16_384];
    let streams = (1..400).step_by(2);
    for stream in streams.clone() {
        hear(&mut connection, &head(stream, END_HEADERS)).unwrap();
    }
    for _ in 0..40 {
        for stream in streams.clone() {
            hear(&mut connection, &frame(DATA, 0, stream, &part)).unwrap();
        }
        assert!(connection.streams.charge() <= room);
        let length = connection.out().len();
        connection.sent(length);
    }
    let mut cut = 0;
    for stream in streams {
        match &hear(&mut connection, &frame(DATA, END_STREAM, stream, b"x")).unwrap()[..] {
            [Heard::Cut(id)] if *id == stream => cut += 1,
            [Heard::Request(id, body)] if *id == stream => assert_eq!(body.len(), 40 * 16_384 + 1),
            other => panic!("{other:?}"),
        }
        connection.answer(stream, b"no");
    }
    assert!(cut > 50 && cut < 150, "{cut}");
    assert_eq!(connection.streams.charge(), 0, "all is given back");
}

/// Bodies in one piece are borrowed, but one who needs time to answer keeps them.
#[test]
fn bodies_that_are_judged_count_too() {
    let mut connection = greeted();
    let (body, most) = (vec![b'x'; 16_384], 10);
    connection.streams = Streams::new(Room::new(2 * (10 * body.len() - OWN)));
    for at in 0..most {
        let heard = hear(&mut connection, &request(2 * at + 1, &body)).unwrap();
        assert!(matches!(heard[..], [Heard::Request(..)]));
    }
    assert_eq!(connection.streams.charge(), 10 * body.len());
    let next = 2 * most + 1;
    let heard = hear(&mut connection, &request(next, &body)).unwrap();
    assert_eq!(heard, [Heard::Cut(next)]);
    connection.answer(1, b"yes");
    let heard = hear(&mut connection, &request(next + 2, &body)).unwrap();
    assert_eq!(heard, [Heard::Request(next + 2, body)], "room again");
    for stream in (3..=next + 2).step_by(2) {
        connection.answer(stream, b"yes");
    }
    assert_eq!(connection.streams.charge(), 0, "all is given back");
}

/// Whoever keeps all that is shared keeps nobody from asking usual questions.
#[test]
fn bodies_on_all_connections_together_have_an_end() {
    let room = Room::new(1 << 20);
    let mut all = [(); 4].map(|()| {
        let mut connection = Connection::new(METHOD, room.clone(), Instant::now());
        hear(&mut connection, &[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).unwrap();
        connection
    });
    let part = vec![b'x'; 16_384];
    for connection in &mut all[..3] {
        for stream in (1..100).step_by(2) {
            let parts = [head(stream, END_HEADERS), frame(DATA, 0, stream, &part).repeat(6)];
            assert_eq!(hear(connection, &parts.concat()), Ok(Vec::new()));
        }
    }
    let kept: usize = all.iter().map(|connection| connection.streams.charge()).sum();
    assert!(kept > 900_000 && kept <= (1 << 20) + 3 * OWN, "{kept}");
    let large = |stream| {
        let parts = [head(stream, END_HEADERS), frame(DATA, 0, stream, &part).repeat(3)];
        [parts.concat(), frame(DATA, END_STREAM, stream, b"x")].concat()
    };
    let [first, .., last] = &mut all;
    let heard = hear(last, &[request(1, &part), large(3)].concat()).unwrap();
    assert!(matches!(heard[..], [Heard::Request(1, _), Heard::Cut(3)]));
    last.answer(1, b"yes");
    last.answer(3, b"no");
    *first = fresh(METHOD);
    let heard = hear(last, &large(5)).unwrap();
    assert!(matches!(heard[..], [Heard::Request(5, _)]), "what was kept is given back");
}

/// Frames that are nearly right.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let stream = prop_oneof![0_u32..12, any::<u32>()];
    let payload = prop_oneof![
        vec(any::<u8>(), 0..40),
        Just(block(FIELDS)),
        Just(block(&[("grpc-status", "0")])),
        any::<u32>().prop_map(|number| number.to_be_bytes().to_vec()),
        (1_u32..100_000).prop_map(|number| number.to_be_bytes().to_vec()),
        (1_u16..7, any::<u32>()).prop_map(|(name, value)| [
            &name.to_be_bytes()[..],
            &value.to_be_bytes()
        ]
        .concat()),
        (1_u16..7, 0_u32..100_000).prop_map(|(name, value)| [
            &name.to_be_bytes()[..],
            &value.to_be_bytes()
        ]
        .concat()),
        Just(vec![0; 8]),
        Just(vec![b'x'; 16_000]),
    ];
    let flags = prop_oneof![Just(0), Just(1), Just(4), Just(5), any::<u8>()];
    vec((0_u8..11, flags, stream, payload), 0..60).prop_map(|frames| {
        frames
            .iter()
            .flat_map(|(kind, flags, stream, payload)| frame(*kind, *flags, *stream, payload))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Whatever comes, in whatever steps: there is no panic, what is held stays bounded, the same bytes mean the same, and a
    /// mistake ends in GOAWAY.
    #[test]
    fn whatever_comes_is_taken_or_refused(
        bytes in prop_oneof![frames(), vec(any::<u8>(), 0..400)],
        (step, greets, lazy) in (1_usize..600, prop::bool::weighted(0.95), any::<bool>()),
    ) {
        let bytes = if greets { [PREFACE, &frame(SETTINGS, 0, 0, &[]), &bytes].concat() } else { bytes };
        let mut outs = Vec::new();
        for step in [step, bytes.len().max(1)] {
            let mut connection = fresh(METHOD);
            let (mut held, mut out, mut late, mut fault) = (Vec::new(), Vec::new(), Vec::new(), None);
            'all: for piece in bytes.chunks(step) {
                held.extend_from_slice(piece);
                let mut rest = &held[..];
                loop {
                    match connection.next(&mut rest) {
                        Ok(Some(Event::Request(request))) => {
                            prop_assert!(request.body.len() <= METHOD.max_request);
                            if lazy { late.push(request.stream) } else { connection.answer(request.stream, &[7; 90]) }
                        }
                        Ok(Some(Event::GivenUp(stream))) => {
                            prop_assert!(late.contains(&stream), "only what was asked is given up");
                            late.retain(|other| *other != stream);
                        }
                        Ok(None) => break,
                        Err(broken) => { fault = Some(broken); break 'all }
                    }
                }
                held = rest.to_vec();
                prop_assert!(held.len() < frame::HEAD + frame::MAX_PAYLOAD);
                prop_assert!(connection.streams.charge() <= ROOM / 2 + OWN);
            }
            let over = connection.is_over();
            prop_assert!(fault.is_none() || over);
            late.iter().for_each(|stream| connection.answer(*stream, &[7; 90]));
            prop_assert!(connection.out().len() <= 100 + 4 * bytes.len() + 60 * 300);
            out.extend_from_slice(connection.out());
            let goaways = sent(&mut connection).iter().filter(|frame| frame.0 == GOAWAY).count();
            prop_assert_eq!(goaways, usize::from(fault.is_some()));
            outs.push(out);
        }
        prop_assert_eq!(&outs[0], &outs[1]);
    }

    /// Header blocks of any bytes.
    #[test]
    fn any_block_is_decoded_or_refused(blocks in vec(vec(any::<u8>(), 0..200), 1..10)) {
        let mut decoder = Decoder::new(settings::TABLE);
        for block in blocks {
            let mut size = 0;
            if decoder.decode(&block, |name, value| size += name.len() + value.len()).is_none() {
                break;
            }
            prop_assert!(size <= block.len() * settings::TABLE);
        }
    }
}
