//! Where a proof says that it goes (`htu`), against where the request went.
//!
//! Both are compared as RFC 3986 says equal addresses may differ (section 6.2.2): scheme and host without case, a
//! default port written or not, an empty path or `/`, an unreserved character written plainly or as an escape, escapes
//! in either case. Dot segments are not resolved: a path that has any is not let in anyway. Query and fragment of the
//! proof are ignored, as RFC 9449 wants.

use super::ProofInput;

/// How a client reached us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// TLS.
    Https,
}

/// A scheme and an authority, as a client sees them from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    host: Box<str>,
    port: u16,
}

/// A text that is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no origin, such as https://api.example or https://api.example:8443")]
pub struct InvalidOrigin(String);

/// The parts of an address that count.
#[derive(Clone, Copy)]
struct Target<'a> {
    scheme: Scheme,
    host: &'a str,
    port: u16,
    path: &'a str,
}

impl Scheme {
    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Origin {
    /// Reads `https://api.example` or `http://localhost:8080`; a path, a query or a user is a mistake.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidOrigin> {
        let bare = text.split_once("://").filter(|(_, rest)| !rest.contains(['/', '?', '#']));
        let target = bare.and_then(|_| Target::parse(text));
        let Some(Target { scheme, host, port, path: _ }) = target else {
            return Err(InvalidOrigin(text.to_owned()));
        };
        Ok(Self { scheme, host: host.to_ascii_lowercase().into(), port })
    }

    fn is_that_of(&self, target: &Target<'_>) -> bool {
        self.scheme == target.scheme
            && self.port == target.port
            && self.host.eq_ignore_ascii_case(target.host)
    }
}

/// Does the proof go where the request went? What cannot be read goes nowhere.
pub(super) fn matches(htu: &str, request: &ProofInput<'_>, origins: &[Origin]) -> bool {
    let Some(target) = Target::parse(htu) else { return false };
    let at_home = if origins.is_empty() {
        request.schemes.contains(&target.scheme) && is_authority(request.host, &target)
    } else {
        origins.iter().any(|origin| origin.is_that_of(&target))
    };
    at_home && same_path(target.path, request.path)
}

fn is_authority(authority: &str, target: &Target<'_>) -> bool {
    split_authority(authority).is_some_and(|(host, port)| {
        host.eq_ignore_ascii_case(target.host)
            && port.unwrap_or(target.scheme.default_port()) == target.port
    })
}

impl<'a> Target<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = if scheme.eq_ignore_ascii_case("https") {
            Scheme::Https
        } else if scheme.eq_ignore_ascii_case("http") {
            Scheme::Http
        } else {
            return None;
        };
        let rest = rest.split(['?', '#']).next()?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = split_authority(authority)?;
        let path = if path.is_empty() { "/" } else { path };
        Some(Self { scheme, host, port: port.unwrap_or(scheme.default_port()), path })
    }
}

/// Host and port. An address with a user in it, an escape or anything else odd has neither.
fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.rsplit_once(':') {
        // The last colon of `[::1]` is not that of a port.
        Some((host, port)) if !port.ends_with(']') => (host, port),
        Some(_) | None => (authority, ""),
    };
    let port = match port {
        "" => None,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|port| *port != 0)?)
        }
        _ => return None,
    };
    let is_host = match host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        }
    };
    is_host.then_some((host, port))
}

/// One character of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Plain(u8),
    /// An escape that means something else than the character itself, such as `%2F`.
    Escaped(u8),
    /// A percent sign without two hexadecimal digits: equal to nothing.
    Broken,
}

/// Compares without building either normal form.
fn same_path(left: &str, right: &str) -> bool {
    left.starts_with('/')
        && units(left).all(|unit| unit != Unit::Broken)
        && units(left).eq(units(right))
}

fn units(path: &str) -> impl Iterator<Item = Unit> {
    let mut bytes = path.bytes();
    std::iter::from_fn(move || {
        let byte = bytes.next()?;
        if byte != b'%' {
            return Some(Unit::Plain(byte));
        }
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
        let escaped = digit().zip(digit()).map(|(high, low)| u8::try_from(high * 16 + low));
        Some(match escaped {
            Some(Ok(byte)) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                Unit::Plain(byte)
            }
            Some(Ok(byte)) => Unit::Escaped(byte),
            Some(Err(_)) | None => Unit::Broken,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &[Scheme] = &[Scheme::Http, Scheme::Https];

    fn goes(htu: &str, schemes: &[Scheme], host: &str, path: &str, origins: &[&str]) -> bool {
        let origins: Vec<Origin> =
            origins.iter().map(|text| Origin::parse(text).unwrap()).collect();
        let request = ProofInput {
            values: &[],
            method: "GET",
            schemes,
            host,
            path,
            access_token: "",
            jkt: "",
        };
        matches(htu, &request, &origins)
    }

    #[test]
    fn equal_addresses_may_be_written_differently() {
        for (htu, host, path) in [
            ("https://api.example/a", "api.example", "/a"),
            ("http://api.example/a", "api.example", "/a"),
            ("HTTPS://API.Example/a", "api.EXAMPLE", "/a"),
            ("https://api.example:443/a", "api.example", "/a"),
            ("https://api.example/a", "api.example:443", "/a"),
            ("https://api.example:/a", "api.example", "/a"),
            ("http://api.example:80/a", "api.example", "/a"),
            ("http://api.example/a", "api.example:80", "/a"),
            ("https://api.example:8443/a", "api.example:8443", "/a"),
            ("https://api.example", "api.example", "/"),
            ("https://api.example/", "api.example", "/"),
            ("https://api.example?x=1", "api.example", "/"),
            ("https://api.example/a?x=/b#c", "api.example", "/a"),
            ("https://api.example/a#c?d", "api.example", "/a"),
            ("https://api.example/%7euser/%61", "api.example", "/~user/a"),
            ("https://api.example/~user/a", "api.example", "/%7Euser/%61"),
            ("https://api.example/caf%c3%a9", "api.example", "/caf%C3%A9"),
            ("https://[2001:db8::1]:8443/a", "[2001:DB8::1]:8443", "/a"),
            ("http://[::1]/a", "[::1]:80", "/a"),
        ] {
            assert!(goes(htu, BOTH, host, path, &[]), "{htu} {host} {path}");
        }
    }

    #[test]
    fn other_addresses_and_unreadable_ones_are_not_equal() {
        for (htu, host, path) in [
            ("https://api.example/b", "api.example", "/a"),
            ("https://api.example/A", "api.example", "/a"),
            ("https://api.example/a/", "api.example", "/a"),
            ("https://api.example/a", "api.example", "/a/"),
            ("https://api.example/a", "api.example", "/ab"),
            ("https://api.example", "api.example", ""),
            ("https://api.example/a%2Fb", "api.example", "/a/b"),
            ("https://api.example/a%25", "api.example", "/a%"),
            ("https://api.example/a%", "api.example", "/a%"),
            ("https://api.example/a%zz", "api.example", "/a%zz"),
            ("https://api.example/x/../a", "api.example", "/a"),
            ("https://api.example/x/%2e%2e/a", "api.example", "/a"),
            ("https://evil.example/a", "api.example", "/a"),
            ("https://api.example.evil/a", "api.example", "/a"),
            ("https://api.example./a", "api.example", "/a"),
            ("https://api.example:8443/a", "api.example", "/a"),
            ("https://api.example/a", "api.example:8443", "/a"),
            ("https://api.example:80/a", "api.example", "/a"),
            ("http://api.example/a", "api.example:443", "/a"),
            ("https://api.example:+443/a", "api.example", "/a"),
            ("https://api.example:65979/a", "api.example", "/a"),
            ("https://api.example:0/a", "api.example:0", "/a"),
            ("https://api.example@evil.example/a", "api.example", "/a"),
            ("https://user@api.example/a", "api.example", "/a"),
            ("https://user@api.example/a", "user@api.example", "/a"),
            ("https://%61pi.example/a", "api.example", "/a"),
            ("https://api.example\\a", "api.example", "/a"),
            ("https:///a", "", "/a"),
            ("https://:443/a", ":443", "/a"),
            ("https://[::1/a", "[::1", "/a"),
            ("https://[x]/a", "[x]", "/a"),
            ("ftp://api.example/a", "api.example", "/a"),
            ("//api.example/a", "api.example", "/a"),
            ("/a", "api.example", "/a"),
            ("api.example/a", "api.example", "/a"),
            (" https://api.example/a", "api.example", "/a"),
            ("https://api.example/a ", "api.example", "/a"),
            ("", "", ""),
        ] {
            assert!(!goes(htu, BOTH, host, path, &[]), "{htu} {host} {path}");
        }
        // The scheme is known.
        assert!(!goes("http://api.example/a", &[Scheme::Https], "api.example", "/a", &[]));
        assert!(goes("https://api.example/a", &[Scheme::Https], "api.example", "/a", &[]));
        assert!(!goes("https://api.example/a", &[], "api.example", "/a", &[]));
    }

    #[test]
    fn named_origins_stand_in_place_of_the_request_s_authority() {
        let ours = &["https://api.example", "http://localhost:8080"];
        for (htu, good) in [
            ("https://api.example/a", true),
            ("https://API.example:443/a", true),
            ("http://localhost:8080/a", true),
            ("http://api.example/a", false),
            ("https://localhost:8080/a", false),
            ("https://inner.svc/a", false),
            ("https://api.example/b", false),
        ] {
            assert_eq!(goes(htu, BOTH, "inner.svc", "/a", ours), good, "{htu}");
        }
    }

    #[test]
    fn an_origin_is_a_scheme_and_an_authority() {
        for good in ["https://api.example", "http://LOCALHOST:8080", "https://[::1]:8443"] {
            assert!(Origin::parse(good).is_ok(), "{good}");
        }
        assert_eq!(Origin::parse("https://A.example"), Origin::parse("https://a.example:443"));
        for wrong in [
            "",
            "*",
            "null",
            "api.example",
            "https://",
            "https://api.example/",
            "https://api.example/v1",
            "https://api.example?",
            "https://api.example#x",
            "https://*.example",
            "https://user@api.example",
            "ftp://api.example",
        ] {
            assert!(Origin::parse(wrong).is_err(), "{wrong}");
        }
    }
}
