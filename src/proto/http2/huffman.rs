//! The Huffman code of HPACK: RFC 7541, section 5.2 and appendix B.
//!
//! The code is canonical: codes of one length are consecutive numbers in the order of their symbols, and each length begins
//! where the one before ends. So the lengths alone say the whole code, and the tables below are made of them.

/// The length of the code of each byte, in bits.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
/// The longest code, which the end-of-string symbol has too. That symbol never stands in a string.
const LONGEST: usize = 30;
/// Codes up to here are found by one look: those of letters, digits and most signs.
const SHORT: usize = 10;

/// The code.
struct Codes {
    /// By the next ten bits: the symbol, and above it the length of its code; zero where the code is longer.
    short: [u16; 1 << SHORT],
    /// By length: the first code of it, and how many there are.
    first: [u32; LONGEST + 1],
    count: [u32; LONGEST + 1],
    /// By length: where its symbols begin in `symbols`.
    begin: [u32; LONGEST + 1],
    symbols: [u8; 256],
}

static CODES: Codes = Codes::new();

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, where a wrong index is an error"
)]
impl Codes {
    const fn new() -> Self {
        let mut codes = Self {
            short: [0; 1 << SHORT],
            first: [0; LONGEST + 1],
            count: [0; LONGEST + 1],
            begin: [0; LONGEST + 1],
            symbols: [0; 256],
        };
        let (mut code, mut placed, mut length) = (0_u32, 0, 1);
        while length <= LONGEST {
            code <<= 1;
            codes.first[length] = code;
            codes.begin[length] = placed;
            let mut symbol = 0;
            while symbol < LENGTHS.len() {
                if LENGTHS[symbol] as usize == length {
                    codes.place(code, length, symbol, placed);
                    code += 1;
                    placed += 1;
                }
                symbol += 1;
            }
            codes.count[length] = code - codes.first[length];
            length += 1;
        }
        codes
    }

    const fn place(&mut self, code: u32, length: usize, symbol: usize, at: u32) {
        self.symbols[at as usize] = symbol as u8;
        if length <= SHORT {
            let spare = SHORT - length;
            let mut behind = 0;
            while behind < 1 << spare {
                self.short[((code as usize) << spare) | behind] = ((length << 8) | symbol) as u16;
                behind += 1;
            }
        }
    }
}

/// Appends what `coded` says. Nothing where it is not a whole string: a code that is none, the end-of-string symbol, or
/// padding other than up to seven ones.
pub(super) fn decode(coded: &[u8], text: &mut Vec<u8>) -> Option<()> {
    text.reserve(coded.len().saturating_mul(8) / 5);
    let mut bytes = coded.iter();
    // The next bits, left-aligned.
    let (mut bits, mut held) = (0_u64, 0_usize);
    loop {
        while held <= 56
            && let Some(byte) = bytes.next()
        {
            bits |= u64::from(*byte) << (56 - held);
            held += 8;
        }
        let short = *CODES.short.get(usize::try_from(bits >> (64 - SHORT)).ok()?)?;
        let [length, symbol] = short.to_be_bytes();
        let (symbol, length) = match usize::from(length) {
            0 => long(bits).filter(|(_, length)| *length <= held).unwrap_or((0, usize::MAX)),
            length => (symbol, length),
        };
        if length > held {
            // What is left is padding.
            let is_padding = held == 0 || (held < 8 && bits >> (64 - held) == (1 << held) - 1);
            return is_padding.then_some(());
        }
        text.push(symbol);
        bits <<= length;
        held -= length;
    }
}

/// The symbol whose code leads `bits`, and its length, for one that is longer than [`SHORT`].
#[cold]
fn long(bits: u64) -> Option<(u8, usize)> {
    for length in SHORT + 1..=LONGEST {
        let code = u32::try_from(bits >> (64 - length)).ok()?;
        let offset = code.checked_sub(*CODES.first.get(length)?)?;
        if offset < *CODES.count.get(length)? {
            let at = CODES.begin.get(length)?.checked_add(offset)?;
            return Some((*CODES.symbols.get(usize::try_from(at).ok()?)?, length));
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The coded text, by the same lengths: what it says is held against the vectors of the RFC in `hpack`.
    pub(in super::super) fn encode(text: &[u8]) -> Vec<u8> {
        let (mut coded, mut bits, mut held) = (Vec::new(), 0_u64, 0_usize);
        for byte in text {
            let length = usize::from(LENGTHS[usize::from(*byte)]);
            let (begin, count) = (CODES.begin[length] as usize, CODES.count[length] as usize);
            let among = &CODES.symbols[begin..begin + count];
            let offset = among.iter().position(|symbol| symbol == byte).unwrap();
            bits = (bits << length) | (u64::from(CODES.first[length]) + offset as u64);
            held += length;
            while held >= 8 {
                held -= 8;
                coded.push((bits >> held) as u8);
            }
        }
        if held > 0 {
            coded.push(((bits << (8 - held)) | (0xff >> held)) as u8);
        }
        coded
    }

    #[test]
    fn every_byte_has_its_code_and_padding_is_ones() {
        let all: Vec<u8> = (0..=255).collect();
        for text in [&all[..], b"", b"a", b"www.example.com", b"\xff\x00\n"] {
            let mut decoded = Vec::new();
            assert_eq!(decode(&encode(text), &mut decoded), Some(()));
            assert_eq!(decoded, text);
        }
        let refused = |coded: &[u8]| assert_eq!(decode(coded, &mut Vec::new()), None, "{coded:x?}");
        refused(&[0xff]); // eight bits of padding
        refused(&[0b0001_1110]); // padding with a zero
        for length in 4..20 {
            refused(&vec![0xff; length]); // end of string
        }
        refused(&[0xff, 0xff, 0xff, 0xfc]); // the same, spelled out, and padded
        refused(&[0xff, 0xff, 0xff]); // half a code
        assert_eq!(decode(&[0b0001_1111], &mut Vec::new()), Some(()));
    }

    /// Appendix B, some rows of each length.
    #[test]
    fn codes_are_those_of_the_rfc() {
        for (symbol, code, length) in [
            (b'0', 0x0, 5),
            (b'a', 0x3, 5),
            (b't', 0x9, 5),
            (b' ', 0x14, 6),
            (b'u', 0x2d, 6),
            (b':', 0x5c, 7),
            (b'z', 0x7b, 7),
            (b'&', 0xf8, 8),
            (b'Z', 0xfd, 8),
            (b'!', 0x3f8, 10),
            (b'?', 0x3fc, 10),
            (b'\'', 0x7fa, 11),
            (b'|', 0x7fc, 11),
            (b'#', 0xffa, 12),
            (0, 0x1ff8, 13),
            (b'~', 0x1ffd, 13),
            (b'^', 0x3ffc, 14),
            (b'<', 0x7ffc, 15),
            (b'\\', 0x7fff0, 19),
            (128, 0xfffe6, 20),
            (153, 0x1fffdc, 21),
            (129, 0x3fffd2, 22),
            (1, 0x7fffd8, 23),
            (9, 0xffffea, 24),
            (199, 0x1ffffec, 25),
            (192, 0x3ffffe0, 26),
            (203, 0x7ffffde, 27),
            (2, 0xfffffe2, 28),
            (249, 0xffffffe, 28),
            (10, 0x3ffffffc, 30),
            (22, 0x3ffffffe, 30),
        ] {
            let mut padded = u64::from(code as u32) << (64 - length);
            padded |= u64::MAX >> length;
            let bytes = padded.to_be_bytes();
            let mut text = Vec::new();
            assert_eq!(decode(&bytes[..(length as usize).div_ceil(8)], &mut text), Some(()));
            assert_eq!(text, [symbol], "{symbol}");
        }
    }
}
