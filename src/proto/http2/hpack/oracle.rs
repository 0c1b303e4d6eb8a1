//! What the encoder of the `h2` client writes, our decoder reads: two implementations that know nothing of each other.

use h2::client::Builder;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, duplex};

use super::Decoder;
use crate::proto::http2::frame::{END_HEADERS, Frame, HEADERS};

type Fields = Vec<(String, Vec<u8>)>;

/// The header blocks of these requests, as the client sends them one after the other on one connection.
async fn encode(requests: &[HeaderMap]) -> Vec<Vec<u8>> {
    let (ours, mut theirs) = duplex(1 << 20);
    let (mut client, connection) = Builder::new()
        .initial_max_send_streams(requests.len())
        .handshake::<_, bytes::Bytes>(ours)
        .await
        .unwrap();
    let mut answers = Vec::new();
    for headers in requests {
        let mut request = Request::post("http://authz/a/B").body(()).unwrap();
        *request.headers_mut() = headers.clone();
        answers.push(client.send_request(request, true).unwrap());
    }
    let mut bytes = Vec::new();
    let read = async {
        let mut blocks = Vec::new();
        while blocks.len() < requests.len() {
            assert_ne!(theirs.read_buf(&mut bytes).await.unwrap(), 0);
            let mut rest = bytes.get(24..).unwrap_or_default();
            blocks.clear();
            while let Some(frame) = Frame::split(&mut rest).unwrap() {
                if frame.kind == HEADERS {
                    assert!(frame.has(END_HEADERS));
                    blocks.push(frame.payload.to_vec());
                }
            }
        }
        blocks
    };
    tokio::select! {
        blocks = read => blocks,
        ended = connection => panic!("{ended:?}"),
    }
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Fields {
    let mut found = Vec::new();
    let text = |name: &[u8]| String::from_utf8(name.to_vec()).unwrap();
    decoder.decode(block, |name, value| found.push((text(name), value.to_vec()))).unwrap();
    found
}

/// Names that come again, so that the table is used, with values that do and do not.
fn headers() -> impl Strategy<Value = HeaderMap> {
    let name = prop_oneof![
        "(x-request-id|grpc-timeout|accept|cookie|authorization|user-agent|etag)",
        "x-[a-z0-9_-]{1,30}",
        "[a-z!#$%&'*+.^_`|~0-9]{1,8}",
    ];
    let value = prop_oneof![
        Just(b"the same".to_vec()),
        "[ -~]{0,60}".prop_map(|text| text.trim().as_bytes().to_vec()),
        vec(prop_oneof![0x20_u8..0x7f, 0x80_u8..=0xff], 0..40),
        vec(Just(b'v'), 0..3000),
    ];
    vec((name, value, any::<bool>()), 0..12).prop_map(|fields| {
        let mut map = HeaderMap::new();
        for (name, value, is_sensitive) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            // They are about a connection of HTTP/1, and the client sends none.
            let of_http1 = ["te", "connection", "upgrade", "host"].contains(&name.as_str());
            let mut value = HeaderValue::from_bytes(&value).unwrap();
            value.set_sensitive(is_sensitive);
            if !of_http1 {
                map.append(name, value);
            }
        }
        map
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_another_encoder_writes_is_read(requests in vec(headers(), 1..15)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let blocks = runtime.block_on(encode(&requests));
        let mut decoder = Decoder::new(4096);
        for (headers, block) in requests.iter().zip(blocks) {
            let mut found = decode(&mut decoder, &block);
            let mut expected: Fields = headers
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
                .collect();
            let pseudo = [(":method", "POST"), (":scheme", "http"), (":path", "/a/B"), (":authority", "authz")];
            expected.extend(pseudo.map(|(name, value)| (name.to_owned(), value.into())));
            found.sort();
            expected.sort();
            prop_assert_eq!(found, expected);
        }
    }
}
