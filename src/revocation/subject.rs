//! Who or what is revoked.

use std::borrow::Borrow;
use std::fmt;

use crate::identity::SpiffeId;

/// The longest serial number of a certificate, in bytes (RFC 5280, section 4.1.2.2).
const MAX_SERIAL: usize = 20;

/// Who or what is revoked. A list holds at most one revocation of each.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A workload, or one certificate of it.
    Workload(RevokedWorkload),
}

/// A workload, or one certificate of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RevokedWorkload {
    /// Who.
    pub id: SpiffeId,
    /// Only the certificate with this serial number; nothing for every certificate it has or will have.
    pub serial: Option<Serial>,
}

/// The serial number of a certificate: lower-case hexadecimal without leading zeros.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(Box<str>);

/// A text is no serial number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no serial number of a certificate (expected 1 to 20 bytes in hexadecimal, such as 0a1b2c or 0A:1B:2C)"
)]
pub struct InvalidSerial(String);

impl Serial {
    /// Reads what tools print: hexadecimal in any case, with or without colons, `0x` and leading zeros.
    ///
    /// # Errors
    /// When it is none, is zero, or is longer than 20 bytes.
    pub fn parse(text: &str) -> Result<Self, InvalidSerial> {
        let refused = || InvalidSerial(text.chars().take(80).collect());
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        let digits: String = if digits.contains(':') {
            let bytes: Vec<&str> = digits.split(':').collect();
            if bytes.iter().any(|byte| byte.len() != 2) {
                return Err(refused());
            }
            bytes.concat()
        } else {
            digits.to_owned()
        };
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(refused());
        }
        let digits = digits.to_ascii_lowercase();
        let plain = Self::plain(&digits);
        if plain.is_empty() || plain.len() > 2 * MAX_SERIAL {
            return Err(refused());
        }
        Ok(Self(plain.into()))
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Lower-case hexadecimal as it is compared. DER puts a zero byte before a number whose first bit is set, and other
    /// tools leave it out.
    pub(super) fn plain(digits: &str) -> &str {
        digits.trim_start_matches('0')
    }
}

/// Looks up without making a [`Serial`]. Its hash and equality are those of its digits.
impl Borrow<str> for Serial {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(workload) => workload.fmt(f),
        }
    }
}

impl fmt::Display for RevokedWorkload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.serial {
            None => self.id.fmt(f),
            Some(serial) => write!(f, "certificate {serial} of {}", self.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_serial_has_many_spellings() {
        for text in ["00ab01", "AB01", "ab01", "0xab01", "AB:01", "00:ab:01"] {
            assert_eq!(Serial::parse(text).unwrap().as_str(), "ab01", "{text}");
        }
        assert_eq!(Serial::parse(&format!("00{}", "f".repeat(40))).unwrap().as_str().len(), 40);
    }

    #[test]
    fn what_is_no_serial_is_refused() {
        let long = "f".repeat(41);
        for text in ["", "0", "0000", "0x", "xyz", "ab 01", "a:b", "ab:", "-1", "é", long.as_str()]
        {
            assert!(Serial::parse(text).is_err(), "{text}");
        }
    }
}
