//! `multipart/form-data` (RFC 7578), in the one spelling that every reader splits in the same way.
//!
//! Readers differ on text before the first boundary, bare line feeds, blanks behind a boundary, folded headers, escapes in
//! quoted names, `filename*`, and which of two headers counts. None of it is sent by browsers and common libraries, and all
//! of it is refused, so that a field is not one thing here and another in the application.

use serde_json::{Value, json};

use super::form::Fields;
use super::media::Parameterised;

/// The longest boundary (RFC 2046, section 5.1.1).
const MAX_BOUNDARY: usize = 70;
/// The longest head of a part, in bytes.
const MAX_HEAD: usize = 8 * 1024;

const SHAPE: &str = "the form is not divided as its boundary says";

/// Text fields by name, files as their `filename` and `size` in bytes.
pub(super) fn read(bytes: &[u8], media: &Parameterised<'_>) -> Result<Value, &'static str> {
    let boundary = media.parameter("boundary").filter(|text| is_boundary(text));
    let boundary = boundary.ok_or("the form names no usable boundary")?;
    let mut fields = Fields::default();
    for part in parts(bytes, boundary)? {
        let (name, value) = part_of(part)?;
        fields.add(name, value)?;
    }
    Ok(fields.into_value())
}

fn is_boundary(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&b);
    !text.is_empty() && text.len() <= MAX_BOUNDARY && text.bytes().all(allowed)
}

/// What stands between boundaries. Wherever the boundary stands, it must divide.
fn parts<'a>(bytes: &'a [u8], boundary: &str) -> Result<Vec<&'a [u8]>, &'static str> {
    let marker = format!("--{boundary}");
    let found: Vec<usize> = memchr::memmem::find_iter(bytes, marker.as_bytes()).collect();
    if found.first() != Some(&0) {
        return Err(SHAPE);
    }
    let mut parts = Vec::with_capacity(found.len());
    let mut ends = found.iter().skip(1);
    for start in &found {
        let after = bytes.get(start + marker.len()..).unwrap_or_default();
        let Some(end) = ends.next() else {
            // The last one ends the form.
            return match after {
                b"--" | b"--\r\n" => Ok(parts),
                _ => Err(SHAPE),
            };
        };
        let whole = bytes.get(start + marker.len()..*end).ok_or(SHAPE)?;
        let part = whole.strip_prefix(b"\r\n").and_then(|part| part.strip_suffix(b"\r\n"));
        parts.push(part.ok_or(SHAPE)?);
    }
    Err(SHAPE)
}

fn part_of(part: &[u8]) -> Result<(String, Value), &'static str> {
    let split = memchr::memmem::find(part, b"\r\n\r\n").filter(|at| *at <= MAX_HEAD);
    let at = split.ok_or("a part of the form has no head of header lines")?;
    let (head, content) = (part.get(..at), part.get(at + 4..));
    let (head, content) = (head.unwrap_or_default(), content.unwrap_or_default());
    let Head { name, filename, is_text } = Head::read(head)?;
    let value = match filename {
        // To some readers this is a field.
        Some(filename) if filename.is_empty() && !content.is_empty() => {
            return Err("a part of the form is a file without a name");
        }
        Some(filename) => json!({ "filename": filename, "size": content.len() }),
        None if is_text == Text::Utf8 => {
            let text = std::str::from_utf8(content);
            Value::String(text.map_err(|_| "a field of the form is not UTF-8")?.to_owned())
        }
        None => return Err("a field of the form is no text"),
    };
    Ok((name, value))
}

/// Whether the content of a part is what it looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    Utf8,
    Other,
}

/// The head of a part.
struct Head {
    name: String,
    filename: Option<String>,
    is_text: Text,
}

impl Head {
    fn read(head: &[u8]) -> Result<Self, &'static str> {
        let fault = "a part of the form has a head that programs read differently";
        let (mut disposition, mut media) = (None, None);
        for line in memchr_lines(head) {
            if line.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
                return Err(fault);
            }
            let at = memchr::memchr(b':', line).ok_or(fault)?;
            let (name, value) = (line.get(..at).unwrap_or_default(), line.get(at + 1..));
            let value = value.unwrap_or_default();
            let before = match name.to_ascii_lowercase().as_slice() {
                b"content-disposition" => disposition.replace(value),
                b"content-type" => media.replace(value),
                // Of no meaning (RFC 7578, section 4.7), but some obey it.
                b"content-transfer-encoding" => {
                    match value.trim_ascii().to_ascii_lowercase().as_slice() {
                        b"7bit" | b"8bit" | b"binary" => None,
                        _ => return Err("a part of the form is encoded"),
                    }
                }
                b"content-length" => None,
                _ => return Err(fault),
            };
            if before.is_some() {
                return Err(fault);
            }
        }
        let disposition = disposition.and_then(Parameterised::parse).ok_or(fault)?;
        let known = disposition.names().all(|name| matches!(name, "name" | "filename"));
        if disposition.value != "form-data" || !known {
            return Err(fault);
        }
        let name = disposition.parameter("name").ok_or("a part of the form has no name")?;
        let is_text = match media {
            None => Text::Utf8,
            Some(media) => {
                let media = Parameterised::parse(media).ok_or(fault)?;
                if media.value == "text/plain" && media.is_utf8() {
                    Text::Utf8
                } else {
                    Text::Other
                }
            }
        };
        let filename = disposition.parameter("filename").map(str::to_owned);
        Ok(Self { name: name.to_owned(), filename, is_text })
    }
}

/// Lines that end in CRLF; a lone one of the two stays in its line.
fn memchr_lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(head);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = memchr::memmem::find(text, b"\r\n");
        rest = end.and_then(|at| text.get(at + 2..));
        Some(end.and_then(|at| text.get(..at)).unwrap_or(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(body: &str) -> Result<Value, &'static str> {
        let media = Parameterised::parse(b"multipart/form-data; boundary=XX").unwrap();
        read(body.as_bytes(), &media)
    }

    #[test]
    fn text_fields_are_read_and_files_are_named() {
        let body = "--XX\r\nContent-Disposition: form-data; name=\"amount\"\r\n\r\n12\r\n\
                    --XX\r\ncontent-disposition: form-data; name=\"note\"\r\nContent-Type: text/plain; charset=UTF-8\r\n\r\na\r\nb\r\n\
                    --XX\r\nContent-Disposition: form-data; name=\"scan\"; filename=\"a b.pdf\"\r\nContent-Type: application/pdf\r\n\r\n%PDF\0\r\n\r\n\r\n\
                    --XX\r\nContent-Disposition: form-data; name=\"amount\"\r\n\r\n\r\n--XX--\r\n";
        let expected = json!({
            "amount": ["12", ""], "note": "a\r\nb", "scan": { "filename": "a b.pdf", "size": 9 },
        });
        assert_eq!(form(body), Ok(expected));
        assert_eq!(form("--XX--"), Ok(json!({})));
    }

    #[test]
    fn what_readers_split_differently_is_unreadable() {
        let part = |head: &str| format!("--XX\r\n{head}\r\n\r\n1\r\n--XX--\r\n");
        let named = "Content-Disposition: form-data; name=\"a\"";
        assert!(form(&part(named)).is_ok());
        for bad in [
            String::new(),
            format!("preamble\r\n{}", part(named)),
            format!("\r\n{}", part(named)),
            format!("{}epilogue", part(named)),
            part(named).replace("--XX--\r\n", ""),
            part(named).replace("\r\n--XX--", "\n--XX--"),
            part(named).replace("--XX\r\n", "--XX \r\n"),
            part(named).replace("--XX\r\n", "--XX\n"),
            part(named).replace("1\r\n", "1 --XX 2\r\n"),
            part(named).replace("1\r\n", "1\r\n--XXY\r\n"),
            part(named).replace("1\r\n", "1\r\n--XX--\r\n"),
            part(named).replace("\r\n\r\n1", "\n\n1"),
            part(&format!("{named}\r\n{named}")),
            part(&format!("{named}\r\n folded: 1")),
            part(&format!("{named}\r\nX-Other: 1")),
            part(&format!("{named}\r\nContent-Transfer-Encoding: base64")),
            part(&format!("{named}\r\nContent-Type: application/json")),
            part(&format!("{named}\r\nContent-Type: text/plain; charset=utf-7")),
            part(&format!("{named}\nContent-Type: text/plain")),
            part(&format!("{named}; filename*=utf-8''b")),
            part(&format!("{named}; name=\"b\"")),
            part("Content-Disposition: form-data; name=\"a\\\"b\""),
            part("Content-Disposition: attachment; name=\"a\""),
            part("Content-Disposition: form-data"),
            part("Content-Disposition : form-data; name=\"a\""),
            part("Content-Type: text/plain"),
            "--XX\r\n\r\n1\r\n--XX--".to_owned(),
            part(named).replace("\r\n1\r\n", "\r\n\u{0}").replace("--XX--", "--XX-"),
        ] {
            assert!(form(&bad).is_err(), "{bad:?}");
        }
        for media in [
            "multipart/form-data",
            "multipart/form-data; boundary=\"a b\"",
            "multipart/form-data; boundary=\"\"",
        ] {
            let media = Parameterised::parse(media.as_bytes()).unwrap();
            assert!(read(part(named).as_bytes(), &media).is_err());
        }
        let long = format!("multipart/form-data; boundary={}", "a".repeat(71));
        assert!(read(b"", &Parameterised::parse(long.as_bytes()).unwrap()).is_err());
    }
}
