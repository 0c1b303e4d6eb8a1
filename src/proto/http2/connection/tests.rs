//! A connection as calls: what a peer may do, and what it may not.

mod faults;
mod flow;
mod hostile;
mod leaving;
mod unfinished;

use super::*;
use crate::proto::http2::frame::{
    CONTINUATION, DATA, GOAWAY, HAS_PRIORITY, HEADERS, PADDED, PING, PRIORITY, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, put,
};

const METHOD: Method = Method { path: "/a/B", only: "only /a/B", max_request: 100_000 };
const FIELDS: &[(&str, &str)] = &[(":method", "POST"), (":scheme", "http"), (":path", "/a/B")];
const WHOLE: u8 = END_HEADERS | END_STREAM;

/// A frame that was sent: type, flags, stream, payload.
type Sent = (u8, u8, u32, Vec<u8>);
/// A request: stream and body. Or a stream that was given up.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Request(u32, Vec<u8>),
    Cut(u32),
    GivenUp(u32),
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, (kind, flags), stream, payload);
    bytes
}

/// Literals without Huffman code.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

fn head(stream: u32, flags: u8) -> Vec<u8> {
    frame(HEADERS, flags, stream, &block(FIELDS))
}

/// A whole request.
fn request(stream: u32, body: &[u8]) -> Vec<u8> {
    [head(stream, END_HEADERS), frame(DATA, END_STREAM, stream, body)].concat()
}

fn setting(name: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

const ROOM: usize = 128 * 1024 * 1024;

/// A connection with room of its own on which nothing was said.
fn fresh(method: Method) -> Connection {
    Connection::new(method, Room::new(ROOM), Instant::now())
}

/// A connection whose peer has said hello; what was sent until then is gone.
fn greeted() -> Connection {
    let mut connection = fresh(METHOD);
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    assert_eq!(hear(&mut connection, &hello), Ok(Vec::new()));
    sent(&mut connection);
    connection
}

/// All events of some bytes, which end with a whole frame.
fn hear(connection: &mut Connection, bytes: &[u8]) -> Result<Vec<Heard>, Code> {
    let (mut rest, mut heard) = (bytes, Vec::new());
    while let Some(event) = connection.next(&mut rest).map_err(|fault| fault.code)? {
        heard.push(match event {
            Event::GivenUp(stream) => Heard::GivenUp(stream),
            Event::Request(request) if request.is_cut => Heard::Cut(request.stream),
            Event::Request(request) => Heard::Request(request.stream, request.body.into_owned()),
        });
    }
    assert_eq!(rest, b"", "all whole frames are taken");
    Ok(heard)
}

/// Takes all that is to be sent, as frames.
fn sent(connection: &mut Connection) -> Vec<Sent> {
    let mut frames = Vec::new();
    while !connection.out().is_empty() {
        frames.extend(sent_at_once(connection));
    }
    frames
}

/// Takes what is to be sent at once, as frames.
fn sent_at_once(connection: &mut Connection) -> Vec<Sent> {
    let mut frames = Vec::new();
    let mut rest = connection.out();
    while let Some((head, behind)) = rest.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let (payload, behind) = behind.split_at(length);
        frames.push((head[3], head[4], stream, payload.to_vec()));
        rest = behind;
    }
    assert_eq!(rest, b"");
    let length = connection.out().len();
    connection.sent(length);
    frames
}

/// The type and stream of each frame.
fn kinds(frames: &[Sent]) -> Vec<(u8, u32)> {
    frames.iter().map(|(kind, _, stream, _)| (*kind, *stream)).collect()
}

/// What a whole answer consists of.
const ANSWER: [u8; 3] = [HEADERS, DATA, HEADERS];

#[test]
fn a_request_is_answered_with_head_message_and_status() {
    let mut connection = fresh(METHOD);
    let bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &request(1, b"question")].concat();
    let heard = hear(&mut connection, &bytes).unwrap();
    assert_eq!(heard, [Heard::Request(1, b"question".to_vec())]);
    connection.answer(1, b"yes");
    let frames = sent(&mut connection);
    assert_eq!(kinds(&frames[..3]), [(SETTINGS, 0), (WINDOW_UPDATE, 0), (SETTINGS, 0)]);
    assert_eq!((frames[0].1, frames[2].1), (0, ACK));
    assert_eq!(frames[3].1, END_HEADERS);
    assert_eq!(fields_of(&frames[3].3), [(":status", "200"), ("content-type", "application/grpc")]);
    assert_eq!(frames[4], (DATA, 0, 1, b"\0\0\0\0\x03yes".to_vec()));
    assert_eq!(frames[5].1, WHOLE);
    assert_eq!(fields_of(&frames[5].3), [("grpc-status", "0")]);
    connection.answer(1, b"again");
    assert_eq!(sent(&mut connection), [], "there is one answer to each");
}

/// The fields of a block that uses no dynamic table.
fn fields_of(block: &[u8]) -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    let text = |bytes: &[u8]| &*String::from_utf8(bytes.to_vec()).unwrap().leak();
    Decoder::new(0).decode(block, |name, value| found.push((text(name), text(value)))).unwrap();
    found
}

#[test]
fn however_the_bytes_come_the_requests_are_the_same() {
    let bytes = [
        PREFACE,
        &frame(SETTINGS, 0, 0, &[]),
        &request(1, b"one"),
        &head(3, END_HEADERS),
        &frame(DATA, 0, 3, b"tw"),
        &request(5, b"three"),
        &frame(DATA, 0, 3, b""),
        &frame(DATA, END_STREAM, 3, b"o"),
        &head(7, WHOLE),
    ]
    .concat();
    let expected = [(1, &b"one"[..]), (5, b"three"), (3, b"two"), (7, b"")]
        .map(|(stream, body)| Heard::Request(stream, body.to_vec()));
    for step in 1..bytes.len() {
        let mut connection = fresh(METHOD);
        let (mut held, mut heard) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(step) {
            held.extend_from_slice(piece);
            let mut rest = &held[..];
            while let Some(event) = connection.next(&mut rest).unwrap() {
                let Event::Request(request) = event else { panic!("{event:?}") };
                heard.push(Heard::Request(request.stream, request.body.into_owned()));
            }
            held = rest.to_vec();
        }
        assert_eq!(heard, expected, "in steps of {step}");
    }
}

#[test]
fn a_body_in_one_piece_is_borrowed() {
    let mut connection = greeted();
    let bytes = request(1, b"question");
    let event = connection.next(&mut &bytes[..]).unwrap();
    let Some(Event::Request(request)) = event else { panic!("{event:?}") };
    assert!(matches!(request.body, Cow::Borrowed(b"question")));
}

#[test]
fn padding_priorities_trailers_and_unknown_frames_do_not_matter() {
    let mut connection = greeted();
    let padded = |content: &[u8]| [&[3][..], content, &[0; 3]].concat();
    let fields = block(FIELDS);
    let with_priority = [&[0x80, 0, 0, 0, 16][..], &fields].concat();
    let (first, second) = fields.split_at(10);
    let bytes = [
        frame(HEADERS, END_HEADERS | PADDED | HAS_PRIORITY, 1, &padded(&with_priority)),
        frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 16]),
        frame(PRIORITY, 0, 99, &[0, 0, 0, 3, 16]),
        frame(DATA, PADDED, 1, &padded(b"a")),
        frame(0x77, 0xff, 1, b"unknown"),
        frame(0x77, 0xff, 0, b"unknown"),
        frame(DATA, PADDED | END_STREAM, 1, &padded(b"b")),
        // A head in parts, and trailers.
        frame(HEADERS, 0, 3, first),
        frame(CONTINUATION, 0, 3, b""),
        frame(CONTINUATION, END_HEADERS, 3, second),
        frame(DATA, 0, 3, b"c"),
        frame(HEADERS, WHOLE, 3, &block(&[("x-checksum", "7")])),
        frame(HEADERS, END_STREAM, 5, first),
        frame(CONTINUATION, END_HEADERS, 5, second),
    ];
    let heard = hear(&mut connection, &bytes.concat()).unwrap();
    let expected = [(1, &b"ab"[..]), (3, b"c"), (5, b"")];
    assert_eq!(heard, expected.map(|(stream, body)| Heard::Request(stream, body.to_vec())));
    assert_eq!(sent(&mut connection), []);
}

#[test]
fn pings_and_settings_are_acknowledged() {
    let mut connection = greeted();
    let bytes = [
        frame(PING, 0, 0, b"12345678"),
        frame(PING, ACK, 0, b"87654321"),
        setting(1, 0),
        setting(0xffff, 7),
        frame(SETTINGS, ACK, 0, &[]),
    ];
    assert_eq!(hear(&mut connection, &bytes.concat()), Ok(Vec::new()));
    let expected = [
        (PING, ACK, 0, b"12345678".to_vec()),
        (SETTINGS, ACK, 0, Vec::new()),
        (SETTINGS, ACK, 0, Vec::new()),
    ];
    assert_eq!(sent(&mut connection), expected);
}

#[test]
fn another_method_is_not_served() {
    let mut connection = greeted();
    let other = block(&[FIELDS[0], FIELDS[1], (":path", "/a/C")]);
    assert_eq!(hear(&mut connection, &frame(HEADERS, WHOLE, 1, &other)), Ok(Vec::new()));
    let frames = sent(&mut connection);
    assert_eq!(kinds(&frames), [(HEADERS, 1)]);
    assert_eq!(frames[0].1, WHOLE);
    let status = [("grpc-status", "12"), ("grpc-message", "only /a/B")];
    assert_eq!(fields_of(&frames[0].3)[2..], status);
    assert_eq!(hear(&mut connection, &frame(HEADERS, END_HEADERS, 3, &other)), Ok(Vec::new()));
    let frames = sent(&mut connection);
    assert_eq!(kinds(&frames), [(HEADERS, 3), (RST_STREAM, 3)], "its message is not waited for");
    assert_eq!(frames[1].3, [0; 4], "which is no error");
}

#[test]
fn a_timeout_is_told() {
    let mut connection = greeted();
    let fields = [FIELDS, &[("grpc-timeout", "200m")]].concat();
    for (stream, data) in [(1, vec![b"a"]), (3, vec![b"a", b"b"])] {
        let mut bytes = frame(HEADERS, END_HEADERS, stream, &block(&fields));
        for (at, part) in data.iter().enumerate() {
            let flags = if at + 1 == data.len() { END_STREAM } else { 0 };
            bytes.extend(frame(DATA, flags, stream, *part));
        }
        let Ok(Some(Event::Request(request))) = connection.next(&mut &bytes[..]) else { panic!() };
        assert_eq!(request.timeout, Some(Duration::from_millis(200)));
    }
}

#[test]
fn what_is_given_up_is_told_only_while_it_is_asked() {
    let mut connection = greeted();
    let reset = |stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    assert_eq!(hear(&mut connection, &[head(1, END_HEADERS), reset(1)].concat()), Ok(Vec::new()));
    let heard = hear(&mut connection, &[request(3, b"a"), reset(3), reset(3)].concat()).unwrap();
    assert_eq!(heard, [Heard::Request(3, b"a".to_vec()), Heard::GivenUp(3)]);
    connection.answer(3, b"late");
    connection.answer(5, b"nobody asked");
    assert_eq!(sent(&mut connection), []);
    assert_eq!(connection.streams.count(), 0);
}

#[test]
fn a_body_is_cut_where_it_is_too_large() {
    let mut connection = fresh(Method { max_request: 10, ..METHOD });
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    hear(&mut connection, &hello).unwrap();
    let kept = |stream| [Heard::Request(stream, vec![b'x'; 10])];
    assert_eq!(hear(&mut connection, &request(1, &[b'x'; 11])).unwrap(), kept(1));
    let parts = [head(3, END_HEADERS), frame(DATA, 0, 3, &[b'x'; 7])].concat();
    assert_eq!(hear(&mut connection, &parts).unwrap(), []);
    for _ in 0..10 {
        assert_eq!(hear(&mut connection, &frame(DATA, 0, 3, &[b'x'; 7])).unwrap(), []);
    }
    assert_eq!(hear(&mut connection, &frame(DATA, END_STREAM, 3, &[b'x'; 7])).unwrap(), kept(3));
    assert_eq!(hear(&mut connection, &request(5, &[b'x'; 10])).unwrap(), kept(5));
}
