//! The vectors of RFC 7541, appendix C, and what no encoder sends.

use super::*;
use crate::proto::http2::huffman::tests::encode;

type Fields = Vec<(String, String)>;

fn fields(list: &[(&str, &str)]) -> Fields {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Option<Fields> {
    let mut found = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    decoder.decode(block, |name, value| found.push((text(name), text(value))))?;
    Some(found)
}

/// A block, the fields in it, and the size and content of the table behind it.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], usize, &'a [(&'a str, &'a str)]);

fn check(table: usize, rows: &[Row<'_>]) {
    let mut decoder = Decoder::new(table);
    for (block, expected, size, content) in rows {
        assert_eq!(decode(&mut decoder, &hex(block)).unwrap(), fields(expected));
        assert_eq!(decoder.table.content(), (*size, fields(content)));
    }
}

#[test]
fn c1_integers() {
    for (bytes, prefix, number) in
        [(&[0x0a][..], 5, 10), (&[0x1f, 0x9a, 0x0a], 5, 1337), (&[0x2a], 8, 42)]
    {
        let mut rest = bytes;
        assert_eq!(integer(&mut rest, prefix), Some(number));
        assert!(rest.is_empty());
    }
}

#[test]
fn c2_single_fields() {
    let custom = [("custom-key", "custom-header")];
    check(
        4096,
        &[(
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            &custom,
            55,
            &custom,
        )],
    );
    check(4096, &[("040c 2f73 616d 706c 652f 7061 7468", &[(":path", "/sample/path")], 0, &[])]);
    check(
        4096,
        &[("1008 7061 7373 776f 7264 0673 6563 7265 74", &[("password", "secret")], 0, &[])],
    );
    check(4096, &[("82", &[(":method", "GET")], 0, &[])]);
}

const FIRST: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
const SECOND: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "www.example.com"),
    ("cache-control", "no-cache"),
];
const THIRD: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/index.html"),
    (":authority", "www.example.com"),
    ("custom-key", "custom-value"),
];
const AUTHORITY: (&str, &str) = (":authority", "www.example.com");
const NO_CACHE: (&str, &str) = ("cache-control", "no-cache");
const CUSTOM: (&str, &str) = ("custom-key", "custom-value");

#[test]
fn c3_and_c4_requests_plain_and_coded() {
    for blocks in [
        [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ],
        [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ],
    ] {
        check(
            4096,
            &[
                (blocks[0], FIRST, 57, &[AUTHORITY]),
                (blocks[1], SECOND, 110, &[NO_CACHE, AUTHORITY]),
                (blocks[2], THIRD, 164, &[CUSTOM, NO_CACHE, AUTHORITY]),
            ],
        );
    }
}

#[test]
fn c5_and_c6_responses_with_evictions() {
    let private = ("cache-control", "private");
    let date = ("date", "Mon, 21 Oct 2013 20:13:21 GMT");
    let later = ("date", "Mon, 21 Oct 2013 20:13:22 GMT");
    let location = ("location", "https://www.example.com");
    let gzip = ("content-encoding", "gzip");
    let cookie = ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1");
    let (found, moved, ok) = ((":status", "302"), (":status", "307"), (":status", "200"));
    for blocks in [
        [
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 \
             3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "4803 3330 37c1 c0bf",
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 \
             7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 \
             6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
        ],
        [
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad \
             1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 \
             e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        ],
    ] {
        check(
            256,
            &[
                (
                    blocks[0],
                    &[found, private, date, location],
                    222,
                    &[location, date, private, found],
                ),
                (
                    blocks[1],
                    &[moved, private, date, location],
                    222,
                    &[moved, location, date, private],
                ),
                (
                    blocks[2],
                    &[ok, private, later, location, gzip, cookie],
                    215,
                    &[cookie, gzip, later],
                ),
            ],
        );
    }
}

#[test]
fn what_no_encoder_sends_is_refused() {
    for (why, block) in [
        ("index 0", "80"),
        ("an index behind both tables", "be"),
        ("a name behind both tables", "7e 01 61"),
        ("half an integer", "ff"),
        ("half an integer, more of it", "ff ff"),
        ("an integer that is too large", "ff ff ff ff ff 7f"),
        ("an integer of endless zeros", "ff 80 80 80 80 80 80 80 00"),
        ("a string longer than the block", "00 05 61 62"),
        ("no value", "00 01 61"),
        ("no name", "00"),
        ("a string in a bad code", "00 81 00 01 61"),
        ("a string with the end-of-string symbol", "00 84 ff ff ff ff 01 61"),
        ("a size that was not offered", "3f e2 1f"),
        ("a size behind a field", "82 20"),
    ] {
        assert_eq!(decode(&mut Decoder::new(4096), &hex(block)), None, "{why}");
    }
    let mut decoder = Decoder::new(4096);
    assert!(decode(&mut decoder, &hex("20 3f e1 1f 82")).is_some(), "down and up again");
}

/// Two bytes that put four thousand into the table, again and again.
#[test]
fn a_block_copies_only_so_much_within_the_table() {
    let name = vec![b'n'; 4000];
    let first = [&[0x40, 0x7f, 0xa1, 0x1e][..], &name, &[0]].concat();
    for (times, is_read) in [(16, true), (17, false)] {
        let mut decoder = Decoder::new(4096);
        let block = [&first[..], &[0x7e, 0].repeat(times)].concat();
        assert_eq!(decode(&mut decoder, &block).is_some(), is_read, "{times}");
    }
    let mut decoder = Decoder::new(4096);
    for _ in 0..100 {
        assert!(decode(&mut decoder, &first).is_some(), "each block anew");
    }
}

/// Long texts, each before a short one: no entry keeps the room of one that was too large for the table.
#[test]
fn entries_take_about_as_much_as_they_say() {
    let mut decoder = Decoder::new(4096);
    let coded = encode(&vec![b'a'; 50_000]);
    // A value of so many bytes, its length as an integer.
    let rest = coded.len() - 127;
    let length =
        [0xff, (rest & 0x7f | 0x80) as u8, (rest >> 7 & 0x7f | 0x80) as u8, (rest >> 14) as u8];
    let long = [&[0x40, 1, b'l'][..], &length, &coded].concat();
    for at in 0..200_u8 {
        assert!(decode(&mut decoder, &long).is_some());
        for entry in 0..100 {
            assert!(decode(&mut decoder, &[0x40, 1, b's', 2, at, entry]).is_some());
        }
        let taken = decoder.table.taken();
        assert!(taken <= 3 * 4096, "{taken}");
        let scratch = decoder.name.capacity() + decoder.value.capacity();
        assert!(scratch <= 2 * USUAL_TEXT, "{scratch}");
    }
}

#[test]
fn the_table_is_bounded_and_names_outlive_their_entries() {
    let mut decoder = Decoder::new(100);
    let block = |name: &[u8], value: &[u8]| {
        let length = |text: &[u8]| u8::try_from(text.len()).unwrap();
        [&[0x40, length(name)], name, &[length(value)], value].concat()
    };
    decode(&mut decoder, &block(b"some-name", &[b'a'; 50])).unwrap();
    assert_eq!(decoder.table.content().0, 91);
    // The name of an entry that leaves the table for this one (section 4.4).
    let again = [&[0x7e, 59][..], &[b'b'; 59]].concat();
    let found = decode(&mut decoder, &again).unwrap();
    assert_eq!(found, [("some-name".to_owned(), "b".repeat(59))]);
    assert_eq!(decoder.table.content(), (100, found));
    decode(&mut decoder, &block(b"x", &[b'c'; 100])).unwrap();
    assert_eq!(decoder.table.content(), (0, Vec::new()), "too large for the table");
    let coded = encode(b"a-value-in-code");
    let literal =
        [&[0x40, 1, b'n', 0x80 | u8::try_from(coded.len()).unwrap()], &coded[..]].concat();
    assert_eq!(decode(&mut decoder, &literal).unwrap(), fields(&[("n", "a-value-in-code")]));
    assert_eq!(decode(&mut decoder, &[0x20]).unwrap(), []);
    assert_eq!(decoder.table.content().0, 0);
}
