use super::*;

const TYPICAL: &[u8] = b"tmp%2Fwapi%2Fs.sock";

/// A literal with an indexed name: one byte of index, a length, the value.
fn literal(first: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let length = u8::try_from(value.len()).unwrap();
    if length < 127 {
        bytes.push(length);
    } else {
        bytes.extend([127, length - 127]);
    }
    bytes.extend(value);
    bytes
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags, 0, 0, 0, 1]);
    bytes.extend(payload);
    bytes
}

fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, &[0; 6]));
    bytes.extend(frames.concat());
    bytes
}

/// Amends it in pieces of every size, which must make no difference.
fn amended(bytes: &[u8]) -> Vec<u8> {
    let whole = in_pieces(bytes, bytes.len());
    for size in [1, 2, 3, 7, 10, 64] {
        assert_eq!(in_pieces(bytes, size), whole, "in pieces of {size}");
    }
    whole
}

fn in_pieces(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut authorities = Authorities::new();
    bytes.chunks_mut(size).for_each(|piece| authorities.amend(piece));
    bytes
}

/// A literal whose name is written out, as the C core sends it.
fn written(name: &[u8], value: &[u8]) -> Vec<u8> {
    [literal(0x40, name), literal(0, value)[1..].to_vec()].concat()
}

#[test]
fn a_name_that_is_written_out_is_known_by_its_spelling() {
    let becomes = b"tmp-2Fwapi-2Fs.sock".as_slice();
    for (name, becomes) in [
        (b":authority".as_slice(), becomes),
        (b":authorit", TYPICAL),
        (b":authority2", TYPICAL),
        (b":authoritz", TYPICAL),
        (b"xauthority", TYPICAL),
        (b"", TYPICAL),
    ] {
        let both = |value| [written(name, value), written(b"x", b"%"), block(b"a")].concat();
        let sent = connection(&[frame(1, 4, &both(TYPICAL))]);
        assert_eq!(amended(&sent), connection(&[frame(1, 4, &both(becomes))]));
    }
}

/// Path, authority, method, scheme, one literal with a written name.
fn block(authority: &[u8]) -> Vec<u8> {
    let named = [&[0x40, 2], b"te".as_slice(), &[8], b"a%2Fb/cd"].concat();
    [literal(0x44, b"/A%2F/B"), literal(0x41, authority), vec![0x83, 0x86], named].concat()
}

#[test]
fn the_path_of_a_socket_becomes_an_authority_and_nothing_else_changes() {
    for (sent, becomes) in [
        (TYPICAL, b"tmp-2Fwapi-2Fs.sock".as_slice()),
        (b"/run/app/agent.sock", b"-run-app-agent.sock"),
        (b"localhost", b"localhost"),
        (b"localhost:443", b"localhost-443"),
        (b"", b""),
        (&[b'%'; 200], &[b'-'; 200]),
    ] {
        let data = frame(0, 1, b"\x41\x05a%2Fb");
        let sent = connection(&[frame(1, 4, &block(sent)), data.clone()]);
        let becomes = connection(&[frame(1, 4, &block(becomes)), data]);
        assert_eq!(amended(&sent), becomes);
    }
}

#[test]
fn it_is_found_wherever_it_stands() {
    let (sent, becomes) = (block(TYPICAL), block(b"tmp-2Fwapi-2Fs.sock"));
    for size in 1..sent.len() {
        let split = |block: &[u8]| {
            connection(&[
                frame(1, 0, &block[..size]),
                frame(9, 4, &block[size..]),
                frame(1, 4, block),
            ])
        };
        assert_eq!(amended(&split(&sent)), split(&becomes), "continued after {size} bytes");
    }
    let dressed = |block: &[u8], flags: u8| {
        let mut payload = Vec::new();
        if flags & PADDED != 0 {
            payload.push(3);
        }
        if flags & PRIORITY != 0 {
            payload.extend([0x41, 2, b'%', b'%', 9]);
        }
        payload.extend(block);
        if flags & PADDED != 0 {
            payload.extend([0x41, 1, b'%']);
        }
        connection(&[frame(1, 4 | flags, &payload), frame(1, 4, block)])
    };
    for flags in [PADDED, PRIORITY, PADDED | PRIORITY] {
        assert_eq!(amended(&dressed(&sent, flags)), dressed(&becomes, flags), "flags {flags}");
    }
    for first in [0x01, 0x11] {
        let sent = connection(&[frame(1, 4, &literal(first, TYPICAL))]);
        let becomes = connection(&[frame(1, 4, &literal(first, b"tmp-2Fwapi-2Fs.sock"))]);
        assert_eq!(amended(&sent), becomes, "a literal of another kind");
    }
}

#[test]
fn what_is_not_understood_is_left_as_it_is() {
    let huffman = [&[0x41, 0x83], b"%/%".as_slice()].concat();
    let endless = [&[0x7f], [0xff; 12].as_slice(), &literal(0x41, TYPICAL)].concat();
    let too_padded = frame(1, 4 | PADDED, &[200, 0x41, 1, b'%']);
    let too_short = frame(1, 4 | PRIORITY, &[0, 0]);
    for frames in [vec![frame(1, 4, &huffman)], vec![frame(1, 4, &endless)], vec![too_padded]] {
        let sent = connection(&frames);
        assert_eq!(amended(&sent), sent);
    }
    let sent = connection(&[too_short, frame(1, 4, &block(TYPICAL))]);
    assert_eq!(amended(&sent), sent, "after nonsense nothing is touched");
}
