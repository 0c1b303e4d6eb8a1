//! Protobuf wire format: fields out of borrowed bytes, fields into a buffer.
//!
//! <https://protobuf.dev/programming-guides/encoding/>

/// Bytes that are no protobuf message of the expected shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ends inside a field.
    #[error("the message ends inside a field")]
    Truncated,
    /// A varint is longer than ten bytes or does not fit.
    #[error("a varint is too long")]
    Varint,
    /// A field number or wire type that does not exist, or a group.
    #[error("a field has an impossible tag")]
    Tag,
    /// A known field has another wire type than its definition says.
    #[error("field {0} has the wrong wire type")]
    Type(u32),
    /// A string field is not UTF-8.
    #[error("field {0} is not UTF-8")]
    Text(u32),
}

/// One field's value, borrowed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64,
    Bytes(&'a [u8]),
    Fixed32,
}

/// One field: its number and its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    value: Value<'a>,
}

/// The fields of one message, in wire order.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The next field; `None` at the end.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, WireError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = u32::try_from(self.varint()?).map_err(|_| WireError::Tag)?;
        let number = tag >> 3;
        if number == 0 {
            return Err(WireError::Tag);
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Fixed64
            }
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated)?;
                Value::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Value::Fixed32
            }
            _ => return Err(WireError::Tag),
        };
        Ok(Some(Field { number, value }))
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, WireError> {
        let (&first, rest) = self.0.split_first().ok_or(WireError::Truncated)?;
        self.0 = rest;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        self.long_varint(first)
    }

    fn long_varint(&mut self, first: u8) -> Result<u64, WireError> {
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(WireError::Truncated)?;
            self.0 = rest;
            // The tenth byte holds one bit.
            if shift == 63 && byte > 1 {
                return Err(WireError::Varint);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::Varint)
    }
}

impl<'a> Field<'a> {
    #[inline]
    pub(super) fn bytes(self) -> Result<&'a [u8], WireError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Varint(_) | Value::Fixed64 | Value::Fixed32 => Err(WireError::Type(self.number)),
        }
    }

    #[inline]
    pub(super) fn text(self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::Text(self.number))
    }

    #[inline]
    pub(super) fn varint(self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            Value::Bytes(_) | Value::Fixed64 | Value::Fixed32 => Err(WireError::Type(self.number)),
        }
    }
}

/// Bytes that a varint takes.
pub(super) fn varint_length(value: usize) -> usize {
    let bits = usize::BITS - (value | 1).leading_zeros();
    usize::try_from(bits.div_ceil(7)).unwrap_or(10)
}

/// Bytes that a length-delimited field takes with a one-byte tag.
pub(super) fn field_length(content: usize) -> usize {
    1 + varint_length(content) + content
}

/// Appends a varint.
pub(super) fn put_varint(into: &mut Vec<u8>, mut value: usize) {
    loop {
        let [low, ..] = value.to_le_bytes();
        if value < 0x80 {
            into.push(low);
            return;
        }
        into.push(low | 0x80);
        value >>= 7;
    }
}

/// Appends the tag and length of a length-delimited field; its content must follow.
pub(super) fn put_header(into: &mut Vec<u8>, number: u8, length: usize) {
    into.push(number << 3 | 2);
    put_varint(into, length);
}

/// Appends a whole length-delimited field.
pub(super) fn put_bytes(into: &mut Vec<u8>, number: u8, content: &[u8]) {
    put_header(into, number, content.len());
    into.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_go_both_ways() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, 1 << 35, usize::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(bytes.len(), varint_length(value), "{value}");
            assert_eq!(Fields(&bytes).varint(), Ok(u64::try_from(value).unwrap()));
        }
    }

    #[test]
    fn impossible_bytes_are_named() {
        let first = |bytes: &'static [u8]| Fields::of(bytes).next().map(|_| ());
        assert_eq!(first(&[0x0a, 0x05, 1]), Err(WireError::Truncated));
        assert_eq!(first(&[0x80]), Err(WireError::Truncated));
        assert_eq!(first(&[0x00, 0x00]), Err(WireError::Tag));
        assert_eq!(first(&[0x0b]), Err(WireError::Tag));
        assert_eq!(
            first(&[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2]),
            Err(WireError::Varint)
        );
    }
}
