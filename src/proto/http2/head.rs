//! What a request says before its message: RFC 9113, sections 8.2 and 8.3.
//!
//! Fields are looked at and forgotten. Only what is needed is kept: whether the call is for the one method that is served,
//! how long its caller waits, and how much it says that it will send.

use std::time::Duration;

/// What a field counts beside its text in the size of a list (section 6.5.2).
const OVERHEAD: usize = 32;

/// The fields of one block.
#[derive(Debug)]
pub(super) struct Head {
    path: &'static [u8],
    room: usize,
    pub(super) is_served: bool,
    pub(super) timeout: Option<Duration>,
    pub(super) content_length: Option<u64>,
    is_malformed: bool,
    /// Which pseudo-header fields there were, and whether there were others: behind those there may be no more of them.
    seen: u8,
}

const METHOD: u8 = 1;
const SCHEME: u8 = 2;
const PATH: u8 = 4;
const AUTHORITY: u8 = 8;
const OTHERS: u8 = 16;

impl Head {
    /// No field yet. Calls to `path` are served; of a list larger than `room`, the fields that find no room are not looked at.
    pub(super) fn new(path: &'static [u8], room: usize) -> Self {
        Self {
            path,
            room,
            is_served: false,
            timeout: None,
            content_length: None,
            is_malformed: false,
            seen: 0,
        }
    }

    /// Takes one field in. One that finds no room is not looked at, so that a short block that refers to long fields again and
    /// again costs little. It is no mistake: it says nothing that is needed here, and clients of a proxy can make it long.
    #[inline]
    pub(super) fn take(&mut self, name: &[u8], value: &[u8]) {
        let Some(room) = self.room.checked_sub(name.len() + value.len() + OVERHEAD) else { return };
        self.room = room;
        let is_good = match name.split_first() {
            Some((b':', name)) => self.pseudo(name, value),
            _ => is_name(name) && self.other(name, value),
        };
        self.is_malformed |= !is_good || !is_value(value);
    }

    /// True for the fields of a request (section 8.3.1).
    pub(super) fn is_request(&self) -> bool {
        let needed = METHOD | SCHEME | PATH;
        !self.is_malformed && self.seen & needed == needed
    }

    /// True for the fields behind a message: none of them is a pseudo-header field (section 8.1).
    pub(super) fn is_trailers(&self) -> bool {
        !self.is_malformed && self.seen & !OTHERS == 0
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> bool {
        let which = match name {
            b"method" => METHOD,
            b"scheme" => SCHEME,
            b"path" => {
                let path = value.split(|b| *b == b'?').next();
                self.is_served = path == Some(self.path);
                PATH
            }
            b"authority" => AUTHORITY,
            _ => return false,
        };
        let is_first = self.seen & (which | OTHERS) == 0;
        self.seen |= which;
        is_first && (which == AUTHORITY || !value.is_empty())
    }

    fn other(&mut self, name: &[u8], value: &[u8]) -> bool {
        self.seen |= OTHERS;
        match name {
            b"grpc-timeout" => self.timeout = timeout(value),
            b"content-length" => {
                // Digits and nothing else: the parser of numbers would take a sign.
                let digits = value.iter().all(u8::is_ascii_digit).then_some(value);
                let text = digits.and_then(|digits| std::str::from_utf8(digits).ok());
                let length = text.and_then(|text| text.parse().ok());
                let is_same = self.content_length.is_none_or(|before| Some(before) == length);
                self.content_length = length;
                return length.is_some() && is_same;
            }
            b"te" => return value == b"trailers",
            // They speak of a connection of HTTP/1 (section 8.2.2).
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding"
            | b"upgrade" => return false,
            _ => {}
        }
        true
    }
}

/// At least one character, all visible ASCII, no capitals and no colon (section 8.2.1).
#[inline]
fn is_name(name: &[u8]) -> bool {
    let bad = |b: u8| b <= 0x20 || b >= 0x7f || b == b':' || b.is_ascii_uppercase();
    !name.is_empty() && !name.iter().fold(false, |any, b| any | bad(*b))
}

/// Nothing that would end a line (section 8.2.1). Blanks at both ends, which that section does not allow either, are let pass:
/// Envoy passes on those of its clients in `tracestate`, and an error instead of a Check's answer is decided by its failure
/// mode.
#[inline]
fn is_value(value: &[u8]) -> bool {
    let bad = |b: u8| b == 0 || b == b'\n' || b == b'\r';
    !value.iter().fold(false, |any, b| any | bad(*b))
}

/// How long a gRPC caller waits: at most eight digits and a unit. Nothing where it says something else.
fn timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(count * 3600)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: [(&str, &str); 3] =
        [(":method", "POST"), (":scheme", "http"), (":path", "/a/B")];

    fn head(fields: &[(&str, &str)]) -> Head {
        let mut head = Head::new(b"/a/B", 1000);
        fields.iter().for_each(|(name, value)| head.take(name.as_bytes(), value.as_bytes()));
        head
    }

    fn with(name: &str, value: &str) -> Head {
        head(&[&REQUEST[..], &[(name, value)]].concat())
    }

    #[test]
    fn a_request_has_its_pseudo_header_fields_once_and_first() {
        assert!(head(&REQUEST).is_request());
        assert!(head(&[(":authority", ""), REQUEST[0], REQUEST[1], REQUEST[2]]).is_request());
        for field in REQUEST {
            let mut fields = REQUEST.to_vec();
            fields.retain(|other| *other != field);
            assert!(!head(&fields).is_request());
            fields.push(("x-a", "b"));
            fields.push(field);
            assert!(!head(&fields).is_request(), "behind another field");
            assert!(!head(&[&REQUEST[..], &[field]].concat()).is_request(), "twice");
        }
        for (name, value) in [(":status", "200"), (":protocol", "websocket"), (":", "a")] {
            assert!(!with(name, value).is_request(), "{name}");
        }
        assert!(!head(&[REQUEST[0], REQUEST[1], (":path", "")]).is_request());
    }

    #[test]
    fn fields_that_no_request_has_are_refused() {
        for (name, value) in [
            ("X-a", "b"),
            ("", "b"),
            ("a b", "c"),
            ("a:b", "c"),
            ("a\u{e4}", "c"),
            ("a", "b\nc"),
            ("a", "b\rc"),
            ("a", "b\0c"),
            ("te", "gzip"),
            ("connection", "close"),
            ("upgrade", "h2c"),
            ("transfer-encoding", "chunked"),
            ("keep-alive", "a"),
            ("proxy-connection", "a"),
            ("content-length", "-1"),
            ("content-length", "+1"),
            ("content-length", "99999999999999999999"),
            ("content-length", ""),
        ] {
            assert!(!with(name, value).is_request(), "{name}: {value:?}");
        }
        for (name, value) in
            [("te", "trailers"), ("a", ""), ("a-b_c", " \td \t e "), ("content-length", "7")]
        {
            assert!(with(name, value).is_request(), "{name}: {value:?}");
        }
        let twice = [("content-length", "7"), ("content-length", "8")];
        assert!(!head(&[&REQUEST[..], &twice].concat()).is_request());
        assert!(head(&[("grpc-status", "0")]).is_trailers());
        assert!(!head(&[(":path", "/")]).is_trailers());
    }

    #[test]
    fn only_one_path_is_served() {
        for (path, served) in
            [("/a/B", true), ("/a/B?c", true), ("/a/b", false), ("/a/B/", false), ("/", false)]
        {
            assert_eq!(head(&[(":path", path)]).is_served, served, "{path}");
        }
    }

    #[test]
    fn timeouts_are_read_or_left() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("200m", Some(Duration::from_millis(200))),
            ("5u", Some(Duration::from_micros(5))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("100000000n", None),
            ("1", None),
            ("m", None),
            ("", None),
            ("+1m", None),
            ("-1m", None),
            ("1s", None),
        ] {
            assert_eq!(with("grpc-timeout", text).timeout, expected, "{text}");
        }
    }

    #[test]
    fn what_finds_no_room_is_not_looked_at() {
        for (length, is_read) in [(840, true), (841, false)] {
            // A list is counted as the RFC does: 160 bytes beside this field.
            let mut head = head(&REQUEST);
            head.take(b"x", &vec![b'b'; length - 33]);
            head.take(b"X", b"");
            assert_eq!(head.is_request(), !is_read, "{length}");
        }
        let mut head = head(&REQUEST);
        head.take(b"x", &[b'b'; 1000]);
        head.take(b"grpc-timeout", b"1S");
        assert_eq!(head.timeout, Some(Duration::from_secs(1)), "shorter ones still find some");
    }
}
