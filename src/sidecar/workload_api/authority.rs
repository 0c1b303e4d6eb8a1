//! Callers whose `:authority` is the path of the socket.
//!
//! gRPC's C core (and with it Python, C++, Ruby, PHP) writes the path with `%2F` between its parts, gRPC for Java writes it
//! with slashes. Neither is an authority (RFC 3986, section 3.2), and the HTTP/2 library refuses the request. On a unix
//! socket the field means nothing, so what must not stand in one is replaced on the way in, byte by byte: lengths stay,
//! and with them every frame and the header tables of both ends. Only this field is touched, and only where it is a literal
//! that is not Huffman-coded, which is how these clients send it.

use std::mem;

/// Length of the connection preface (RFC 9113, section 3.4) and of a frame's head (section 4.1).
const PREFACE: u32 = 24;
const FRAME_HEAD: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// `:authority` in the static table (RFC 7541, appendix A), and as it is written out.
const AUTHORITY: u32 = 1;
const NAME: &[u8] = b":authority";

/// Follows the bytes of one connection.
#[derive(Debug)]
pub(super) struct Authorities {
    frame: Frame,
    field: Field,
}

/// Where in a frame the next byte stands.
#[derive(Debug)]
enum Frame {
    /// So many bytes are of no interest.
    Skip(u32),
    Head(Vec<u8>),
    /// The pad length is the next byte; then so many bytes of priority, in a payload of so many bytes.
    PadLength {
        priority: u32,
        left: u32,
    },
    /// So many bytes of priority, so many of header block, so many of padding.
    Block {
        priority: u32,
        left: u32,
        padding: u32,
    },
    /// It is no HTTP/2 that is understood here; the library will say so.
    Lost,
}

/// Where in a header block (RFC 7541, section 6) the next byte stands. It goes on over frames.
#[derive(Debug, Clone, Copy)]
enum Field {
    Start,
    /// An integer goes on (section 5.1).
    Integer {
        value: u32,
        shift: u32,
        of: Integer,
    },
    Length(Text),
    Text {
        left: u32,
        coding: Coding,
        text: Text,
    },
}

/// What an integer says.
#[derive(Debug, Clone, Copy)]
enum Integer {
    /// Nothing that is followed by text.
    Alone,
    /// The name of a literal; zero: it is written out.
    Name,
    Length(Coding, Text),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Plain,
    Huffman,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    /// A name; so many bytes of it are those of `:authority`.
    Name(usize),
    /// A name that is another one.
    OtherName,
    Authority,
    Other,
}

impl Authorities {
    pub(super) fn new() -> Self {
        Self { frame: Frame::Skip(PREFACE), field: Field::Start }
    }

    /// Takes the next bytes, and makes authorities of what should be some.
    pub(super) fn amend(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.frame = match mem::replace(&mut self.frame, Frame::Lost) {
                Frame::Skip(left) => Self::skipped(left.saturating_sub(1)),
                Frame::Head(mut head) => {
                    head.push(*byte);
                    if head.len() < FRAME_HEAD { Frame::Head(head) } else { self.begin(&head) }
                }
                Frame::PadLength { priority, left } => {
                    let (padding, left) = (u32::from(*byte), left.saturating_sub(1));
                    match left.checked_sub(padding).and_then(|left| left.checked_sub(priority)) {
                        Some(left) => Self::block(priority, left, padding),
                        None => Frame::Lost,
                    }
                }
                Frame::Block { priority, left, padding } if priority > 0 => {
                    Self::block(priority - 1, left, padding)
                }
                Frame::Block { priority, left, padding } => match self.field.next(byte) {
                    Some(field) => {
                        self.field = field;
                        Self::block(priority, left.saturating_sub(1), padding)
                    }
                    None => Frame::Lost,
                },
                Frame::Lost => return,
            };
        }
    }

    fn begin(&mut self, head: &[u8]) -> Frame {
        let &[a, b, c, kind, flags, ..] = head else { return Frame::Lost };
        let length = u32::from_be_bytes([0, a, b, c]);
        match kind {
            HEADERS => {
                self.field = Field::Start;
                let priority = if flags & PRIORITY == 0 { 0 } else { 5 };
                if flags & PADDED != 0 {
                    return Frame::PadLength { priority, left: length };
                }
                match length.checked_sub(priority) {
                    Some(left) => Self::block(priority, left, 0),
                    None => Frame::Lost,
                }
            }
            CONTINUATION => Self::block(0, length, 0),
            _ => Self::skipped(length),
        }
    }

    fn skipped(left: u32) -> Frame {
        if left == 0 { Frame::Head(Vec::with_capacity(FRAME_HEAD)) } else { Frame::Skip(left) }
    }

    fn block(priority: u32, left: u32, padding: u32) -> Frame {
        if priority == 0 && left == 0 {
            Self::skipped(padding)
        } else {
            Frame::Block { priority, left, padding }
        }
    }
}

impl Field {
    /// What comes after this byte, which may be changed.
    fn next(self, byte: &mut u8) -> Option<Self> {
        match self {
            Self::Start => {
                let (bits, of) = match *byte {
                    first if first & 0x80 != 0 => (7, Integer::Alone),
                    first if first & 0x40 != 0 => (6, Integer::Name),
                    first if first & 0x20 != 0 => (5, Integer::Alone),
                    _ => (4, Integer::Name),
                };
                Self::integer(*byte, bits, of)
            }
            Self::Integer { value, shift, of } => {
                let more = u32::from(*byte & 0x7f).checked_shl(shift).filter(|_| shift <= 21)?;
                let value = value.checked_add(more)?;
                if *byte & 0x80 == 0 {
                    Some(Self::after(value, of))
                } else {
                    Some(Self::Integer { value, shift: shift + 7, of })
                }
            }
            Self::Length(text) => {
                let coding = if *byte & 0x80 == 0 { Coding::Plain } else { Coding::Huffman };
                Self::integer(*byte, 7, Integer::Length(coding, text))
            }
            Self::Text { left, coding, text: Text::Name(same) } => {
                let goes_on = coding == Coding::Plain && NAME.get(same) == Some(byte);
                let text = if goes_on { Text::Name(same + 1) } else { Text::OtherName };
                Some(Self::text(left.saturating_sub(1), coding, text))
            }
            Self::Text { left, coding, text } => {
                let odd = !(byte.is_ascii_alphanumeric() || matches!(*byte, b'.' | b'-'));
                if text == Text::Authority && coding == Coding::Plain && odd {
                    *byte = b'-';
                }
                Some(Self::text(left.saturating_sub(1), coding, text))
            }
        }
    }

    /// The first byte of an integer whose prefix has so many bits.
    fn integer(byte: u8, bits: u32, of: Integer) -> Option<Self> {
        let mask = u8::try_from((1_u32 << bits) - 1).ok()?;
        let value = byte & mask;
        if value < mask {
            Some(Self::after(value.into(), of))
        } else {
            Some(Self::Integer { value: value.into(), shift: 0, of })
        }
    }

    fn after(value: u32, of: Integer) -> Self {
        match (of, value) {
            (Integer::Alone, _) => Self::Start,
            (Integer::Name, 0) => Self::Length(Text::Name(0)),
            (Integer::Name, AUTHORITY) => Self::Length(Text::Authority),
            (Integer::Name, _) => Self::Length(Text::Other),
            (Integer::Length(coding, text), left) => Self::text(left, coding, text),
        }
    }

    fn text(left: u32, coding: Coding, text: Text) -> Self {
        match (left, text) {
            (0, Text::Name(same)) if same == NAME.len() => Self::Length(Text::Authority),
            (0, Text::Name(_) | Text::OtherName) => Self::Length(Text::Other),
            (0, Text::Authority | Text::Other) => Self::Start,
            _ => Self::Text { left, coding, text },
        }
    }
}

#[cfg(test)]
mod tests;
