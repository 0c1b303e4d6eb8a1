//! Header blocks: RFC 7541.
//!
//! Fields are handed out as they are decoded and borrowed from where they stand, so a block that refers a thousand times to
//! one long field costs no memory. Of the state that a block leaves behind, the dynamic table, the size is bounded.

use super::huffman;
use super::table::Table;

/// Integers beyond this are not read: no length or index of ours comes near (section 5.1).
const LARGEST: usize = 1 << 24;
/// How many bytes of names one block may take out of the tables to put them there anew: two bytes can name a long entry.
const MOST_COPIED: usize = 64 * 1024;
/// Longer texts are rare: the room that undoing their code took is given back.
const USUAL_TEXT: usize = 16 * 1024;

/// Decodes the header blocks of one connection, in their order.
#[derive(Debug)]
pub(super) struct Decoder {
    table: Table,
    name: Vec<u8>,
    value: Vec<u8>,
    /// Bytes of names that the block copied within the table.
    copied: usize,
}

/// Where a text stands.
enum Text<'a> {
    Here(&'a [u8]),
    /// In the scratch buffer, where its Huffman code was undone.
    Decoded,
}

impl Decoder {
    /// A decoder whose dynamic table has at most this size, which is what the peer was told.
    pub(super) fn new(table: usize) -> Self {
        Self { table: Table::new(table), name: Vec::new(), value: Vec::new(), copied: 0 }
    }

    /// Hands out the fields of one whole block. After nothing, the table is not the peer's any more, and the connection
    /// cannot go on (section 2.2).
    pub(super) fn decode(
        &mut self,
        mut block: &[u8],
        mut field: impl FnMut(&[u8], &[u8]),
    ) -> Option<()> {
        let mut may_resize = true;
        self.copied = 0;
        while let Some(first) = block.first().copied() {
            match first {
                0x80.. => {
                    let (name, value) = self.table.get(integer(&mut block, 7)?)?;
                    field(name, value);
                }
                0x40.. => self.literal(&mut block, (6, true), &mut field)?,
                // A change of the table's size stands before all fields (section 4.2).
                0x20.. => {
                    let room = integer(&mut block, 5)?;
                    may_resize.then_some(())?;
                    self.table.resize(room)?;
                    continue;
                }
                // Never indexed, or not now: the same to one who passes nothing on.
                _ => self.literal(&mut block, (4, false), &mut field)?,
            }
            may_resize = false;
        }
        for text in [&mut self.name, &mut self.value] {
            if text.capacity() > USUAL_TEXT {
                *text = Vec::new();
            }
        }
        Some(())
    }

    fn literal(
        &mut self,
        block: &mut &[u8],
        (prefix, keep): (u32, bool),
        field: &mut impl FnMut(&[u8], &[u8]),
    ) -> Option<()> {
        let index = integer(block, prefix)?;
        let name = if index == 0 { Some(string(block, &mut self.name)?) } else { None };
        let value = string(block, &mut self.value)?;
        // Of a field that is kept, the text is put together before others leave the table: its name may be theirs.
        let mut kept = if keep { self.table.blank() } else { Vec::new() };
        let name = match name {
            None => {
                let name = self.table.get(index)?.0;
                if keep {
                    self.copied += name.len();
                    (self.copied <= MOST_COPIED).then_some(())?;
                }
                name
            }
            Some(Text::Here(text)) => text,
            Some(Text::Decoded) => &self.name,
        };
        let value = match value {
            Text::Here(text) => text,
            Text::Decoded => &self.value,
        };
        field(name, value);
        if keep && self.table.takes(name.len() + value.len()) {
            kept.extend_from_slice(name);
            kept.extend_from_slice(value);
            let length = name.len();
            self.table.insert(kept, length);
        } else if keep {
            // One that is larger than the table leaves it empty (section 4.4).
            self.table.clear();
        }
        Some(())
    }
}

/// An integer behind a prefix of some bits (section 5.1).
#[inline]
fn integer(block: &mut &[u8], prefix: u32) -> Option<usize> {
    let (first, mut rest) = block.split_first()?;
    let full = (1_usize << prefix) - 1;
    let mut number = usize::from(*first) & full;
    if number == full {
        let mut shift = 0;
        loop {
            let (byte, behind) = rest.split_first()?;
            rest = behind;
            number += usize::from(byte & 0x7f) << shift;
            if number > LARGEST {
                return None;
            }
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
            // Zeros could go on for ever.
            if shift > 28 {
                return None;
            }
        }
    }
    *block = rest;
    Some(number)
}

/// A string (section 5.2).
#[inline]
fn string<'a>(block: &mut &'a [u8], scratch: &mut Vec<u8>) -> Option<Text<'a>> {
    let coded = block.first()? & 0x80 != 0;
    let length = integer(block, 7)?;
    let (text, rest) = block.split_at_checked(length)?;
    *block = rest;
    if !coded {
        return Some(Text::Here(text));
    }
    scratch.clear();
    huffman::decode(text, scratch)?;
    Some(Text::Decoded)
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
