//! What a request brings to prove who is calling, before anything is believed.

use std::net::IpAddr;

use super::place::cookie;
use crate::policy::{HeaderValue, Headers};

/// Everything a request or connection brings.
#[derive(Clone, Copy)]
pub struct Evidence<'a> {
    /// The client certificate.
    pub peer: PeerEvidence<'a>,
    /// The HTTP request; nothing for a bare connection, which can carry no token.
    pub http: Option<HttpEvidence<'a>>,
    /// Where the connection comes from; nothing for a unix socket.
    pub source: Option<IpAddr>,
}

/// What Envoy saw of the client certificate. Both are empty on a connection without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerEvidence<'a> {
    /// `source.principal`.
    pub principal: &'a str,
    /// `source.certificate`: the leaf as URL-encoded PEM.
    pub certificate: &'a str,
}

/// The parts of an HTTP request in which credentials and their proofs stand, exactly as they came.
#[derive(Clone, Copy)]
pub struct HttpEvidence<'a> {
    /// The method.
    pub method: &'a str,
    /// The authority, with its port.
    pub authority: &'a str,
    /// The path without the query.
    pub path: &'a str,
    /// What stands after the question mark.
    pub query: Option<&'a str>,
    /// All header lines, names in lower case.
    pub headers: &'a [(&'a str, &'a [u8])],
}

impl PeerEvidence<'_> {
    /// A connection without a client certificate.
    #[must_use]
    pub fn none() -> Self {
        PeerEvidence { principal: "", certificate: "" }
    }
}

impl<'a> HttpEvidence<'a> {
    /// The lines of this name, which is in lower case.
    pub(super) fn lines(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |(line, _)| *line == name).map(|(_, value)| *value)
    }

    /// Whether there is a cookie of this name.
    #[must_use]
    pub fn has_cookie(&self, name: &str) -> bool {
        !matches!(cookie::read(name, self), Ok(None))
    }

    /// All cookies but those of these names, as one line; nothing when none is left.
    #[must_use]
    pub fn cookies_without(&self, names: &[String]) -> Option<String> {
        cookie::without(names, self)
    }

    /// Exactly one line of this name, as text.
    pub(super) fn one_line(&self, name: &str) -> Option<&'a str> {
        let mut lines = self.lines(name);
        let one = lines.next()?;
        if lines.next().is_some() {
            return None;
        }
        std::str::from_utf8(one).ok()
    }
}

impl Headers for HttpEvidence<'_> {
    fn value(&self, name: &str) -> HeaderValue<'_> {
        let mut lines = self.lines(name);
        match (lines.next(), lines.next()) {
            (None, _) => HeaderValue::Absent,
            (Some(one), None) => HeaderValue::One(one),
            (Some(_), Some(_)) => HeaderValue::Many,
        }
    }
}

/// Shows neither credentials nor paths, which may hold them.
impl std::fmt::Debug for Evidence<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evidence").field("peer", &self.peer.principal).finish_non_exhaustive()
    }
}

/// Shows nothing but the method.
impl std::fmt::Debug for HttpEvidence<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpEvidence").field("method", &self.method).finish_non_exhaustive()
    }
}
