//! What no peer may do.

use super::*;

/// Ends the connection.
fn ends(why: &str, bytes: &[u8], code: Code) {
    let mut connection = greeted();
    let result = hear(&mut connection, &[&request(1, b"a"), bytes].concat());
    assert_eq!(result, Err(code), "{why}");
    let frames = sent(&mut connection);
    let (kind, _, stream, payload) = frames.last().unwrap();
    assert_eq!((*kind, *stream), (GOAWAY, 0), "{why}");
    assert_eq!(payload[..4], 1_u32.to_be_bytes(), "{why}: the last stream that was looked at");
    assert_eq!(payload[4..8], (code as u32).to_be_bytes(), "{why}");
    assert!(connection.is_over());
    assert_eq!(
        connection.next(&mut &request(3, b"b")[..]),
        Ok(None),
        "{why}: nothing more is read"
    );
}

#[test]
fn the_connection_ends() {
    let twice = [setting(4, 0x7fff_ffff), frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])];
    let (protocol, size) = (Code::Protocol, Code::FrameSize);
    for (why, bytes, code) in [
        ("a long frame", vec![0, 0x40, 1, DATA, 0, 0, 0, 0, 1], size),
        ("DATA on no stream", frame(DATA, 0, 0, b"a"), protocol),
        ("DATA on an idle stream", frame(DATA, 0, 3, b"a"), protocol),
        ("DATA on a stream of the server", frame(DATA, 0, 2, b"a"), protocol),
        ("too much padding", frame(DATA, PADDED, 1, &[2, 0]), protocol),
        ("no padding length", frame(DATA, PADDED, 1, &[]), protocol),
        ("HEADERS on no stream", head(0, END_HEADERS), protocol),
        ("HEADERS on a stream of the server", head(2, END_HEADERS), protocol),
        ("half a priority", frame(HEADERS, END_HEADERS | HAS_PRIORITY, 3, &[0; 4]), size),
        ("a bad header block", frame(HEADERS, END_HEADERS, 3, &[0x80]), Code::Compression),
        ("half a header block", frame(HEADERS, END_HEADERS, 3, &[0, 5, b'a']), Code::Compression),
        ("PRIORITY on no stream", frame(PRIORITY, 0, 0, &[0; 5]), protocol),
        ("a short PRIORITY", frame(PRIORITY, 0, 1, &[0; 4]), size),
        ("RST_STREAM on no stream", frame(RST_STREAM, 0, 0, &[0; 4]), protocol),
        ("RST_STREAM on an idle stream", frame(RST_STREAM, 0, 3, &[0; 4]), protocol),
        ("a short RST_STREAM", frame(RST_STREAM, 0, 1, &[0; 3]), size),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, &[]), protocol),
        ("SETTINGS of a bad length", frame(SETTINGS, 0, 0, &[0; 5]), size),
        ("an acknowledgement with content", frame(SETTINGS, ACK, 0, &[0; 6]), size),
        ("ENABLE_PUSH 2", setting(2, 2), protocol),
        ("a window of 2^31", setting(4, 1 << 31), Code::FlowControl),
        ("frames of 16383 bytes", setting(5, 16_383), protocol),
        ("frames of 2^24 bytes", setting(5, 1 << 24), protocol),
        ("PUSH_PROMISE", frame(PUSH_PROMISE, 0, 1, &[0; 4]), protocol),
        ("a short PING", frame(PING, 0, 0, &[0; 7]), size),
        ("PING on a stream", frame(PING, 0, 1, &[0; 8]), protocol),
        ("GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), protocol),
        ("a short GOAWAY", frame(GOAWAY, 0, 0, &[0; 7]), size),
        ("a short WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), size),
        ("a window enlarged by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), protocol),
        ("a window too large", twice.concat(), Code::FlowControl),
        ("a window of an idle stream", frame(WINDOW_UPDATE, 0, 3, &[0, 0, 0, 1]), protocol),
        ("CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, &[]), protocol),
        ("a frame amid a block", [head(3, 0), frame(PING, 0, 0, &[0; 8])].concat(), protocol),
        ("a block of two streams", [head(3, 0), frame(CONTINUATION, 0, 5, &[])].concat(), protocol),
    ] {
        // Of what ends within a block, its stream was not looked at.
        ends(why, &bytes, code);
    }
}

#[test]
fn who_speaks_no_http2_is_turned_away() {
    for (bytes, code) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], Code::Protocol),
        (b"PRI * HTTP/2.0\r\n\r\nSX", Code::Protocol),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x08\x06\0\0\0\0\0\0\0\0\0\0\0\0\0", Code::Protocol),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\x01\0\0\0\0", Code::Protocol),
    ] {
        let mut connection = fresh(METHOD);
        assert_eq!(hear(&mut connection, bytes), Err(code), "{bytes:?}");
        assert_eq!(sent(&mut connection).last().unwrap().0, GOAWAY);
    }
}

/// Ends one stream, and no other.
#[test]
fn the_stream_ends() {
    let with =
        |name, value| frame(HEADERS, END_HEADERS, 1, &block(&[FIELDS, &[(name, value)]].concat()));
    let data = |flags, payload: &[u8]| frame(DATA, flags, 1, payload);
    let trailers = |flags, fields: &[_]| frame(HEADERS, END_HEADERS | flags, 1, &block(fields));
    let open = || head(1, END_HEADERS);
    let (protocol, closed) = (Code::Protocol, Code::StreamClosed);
    for (why, bytes, code, given_up) in [
        ("no path", vec![frame(HEADERS, WHOLE, 1, &block(&FIELDS[..2]))], protocol, false),
        ("a capital", vec![with("X-A", "b")], protocol, false),
        ("a field of HTTP/1", vec![with("connection", "close")], protocol, false),
        ("a line break", vec![with("x-a", "b\r\nc: d")], protocol, false),
        ("more than was said", vec![with("content-length", "1"), data(0, b"ab")], protocol, false),
        ("less", vec![with("content-length", "2"), data(END_STREAM, b"a")], protocol, false),
        (
            "less, and trailers",
            vec![with("content-length", "1"), trailers(END_STREAM, &[])],
            protocol,
            false,
        ),
        (
            "nothing",
            vec![frame(HEADERS, WHOLE, 1, &block(&[FIELDS, &[("content-length", "1")]].concat()))],
            protocol,
            false,
        ),
        ("trailers that do not end", vec![open(), trailers(0, &[("a", "b")])], protocol, false),
        (
            "a path in trailers",
            vec![open(), trailers(END_STREAM, &[(":path", "/")])],
            protocol,
            false,
        ),
        ("DATA behind the end", vec![open(), data(END_STREAM, b"a"), data(0, b"b")], closed, true),
        ("HEADERS behind the end", vec![open(), data(END_STREAM, b"a"), open()], closed, true),
        (
            "a window enlarged by nothing",
            vec![open(), frame(WINDOW_UPDATE, 0, 1, &[0; 4])],
            protocol,
            false,
        ),
        (
            "a window too large",
            vec![open(), frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff])],
            Code::FlowControl,
            false,
        ),
    ] {
        let mut connection = greeted();
        let mut heard = hear(&mut connection, &bytes.concat()).unwrap();
        heard.retain(|heard| !matches!(heard, Heard::Request(..)));
        assert_eq!(heard == [Heard::GivenUp(1)], given_up, "{why}");
        let expected = (RST_STREAM, 0, 1, (code as u32).to_be_bytes().to_vec());
        assert_eq!(sent(&mut connection), [expected], "{why}");
        assert_eq!(connection.streams.count(), 0, "{why}");
        let heard = hear(&mut connection, &request(3, b"b")).unwrap();
        assert_eq!(heard, [Heard::Request(3, b"b".to_vec())], "{why}: others go on");
    }
}

/// What arrives on a stream that is over does no harm.
#[test]
fn a_stream_that_is_over_stays_so() {
    let mut connection = greeted();
    hear(&mut connection, &request(5, b"a")).unwrap();
    connection.answer(5, b"b");
    sent(&mut connection);
    let closed = (Code::StreamClosed as u32).to_be_bytes().to_vec();
    for stream in [3, 5] {
        assert_eq!(hear(&mut connection, &frame(DATA, 0, stream, b"c")), Ok(Vec::new()));
        assert_eq!(sent(&mut connection), [(RST_STREAM, 0, stream, closed.clone())]);
    }
    for late in [frame(RST_STREAM, 0, 5, &[0; 4]), frame(WINDOW_UPDATE, 0, 5, &[0, 0, 0, 1])] {
        assert_eq!(hear(&mut connection, &late), Ok(Vec::new()));
        assert_eq!(sent(&mut connection), []);
    }
    let heard = hear(&mut connection, &request(7, b"d")).unwrap();
    assert_eq!(heard, [Heard::Request(7, b"d".to_vec())]);
}

#[test]
fn streams_are_opened_in_order_and_once() {
    for stream in [1, 3, 5] {
        let mut connection = greeted();
        hear(&mut connection, &[request(1, b"a"), request(5, b"b")].concat()).unwrap();
        connection.answer(1, b"yes");
        connection.answer(5, b"yes");
        assert_eq!(hear(&mut connection, &head(stream, END_HEADERS)), Err(Code::Protocol));
    }
}

/// Trailers that were on their way to a stream when it was ended are no mistake, and their fields are decoded: later ones refer
/// to them.
#[test]
fn a_stream_that_is_ended_from_here_may_hear_more() {
    let mut connection = greeted();
    hear(&mut connection, &[head(1, END_HEADERS), request(3, b"a")].concat()).unwrap();
    let malformed = frame(HEADERS, END_HEADERS, 5, &block(&FIELDS[..2]));
    assert_eq!(hear(&mut connection, &malformed), Ok(Vec::new()));
    sent(&mut connection);
    let kept = [&[0x40, 5][..], b":path", &[4], b"/a/B"].concat();
    let trailers = [frame(DATA, 0, 5, b"b"), frame(HEADERS, WHOLE, 5, &kept)].concat();
    assert_eq!(hear(&mut connection, &trailers), Ok(Vec::new()));
    assert_eq!(kinds(&sent(&mut connection)), [(RST_STREAM, 5), (RST_STREAM, 5)]);
    let used = [block(&FIELDS[..2]), vec![0xbe]].concat();
    let heard = hear(&mut connection, &frame(HEADERS, WHOLE, 7, &used)).unwrap();
    assert_eq!(heard, [Heard::Request(7, Vec::new())]);
}
