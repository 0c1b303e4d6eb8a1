//! The application's probes, as the sidecar asks them in the kubelet's place.
//!
//! The kubelet has no certificate, and through the capture a probe by TCP always succeeds. So its probes go to the
//! sidecar, which asks the application itself. Injection writes this table and the sidecar reads it: one type for both.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::pod::OWN_PORTS;

/// A pod has three probes a container, and few containers.
const MOST: usize = 256;
/// Longer than any hook may take.
const LONGEST: Duration = Duration::from_secs(3600);
const KEY: usize = 32;

/// All probes of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawProbes", into = "RawProbes")]
pub struct Probes {
    key: ProbeKey,
    probes: Vec<Probe>,
}

/// The part of a probe's path that only who may read the pod knows. Hooks do things, and whoever reaches the pod's network
/// reaches the sidecar's port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProbeKey(String);

/// One probe, or one hook that is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Probe {
    /// `<container>/<what>`, such as `app/readinessProbe`; unique in the pod.
    pub name: String,
    /// What is asked.
    pub ask: Ask,
    /// How long the answer may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

/// What is asked of the application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum Ask {
    /// `GET`; a status from 200 to 399 is good.
    Http(HttpAsk),
    /// A connection; that it opens is good.
    Tcp {
        /// The application's.
        port: u16,
    },
    /// `grpc.health.v1.Health/Check` in plaintext; `SERVING` is good.
    Grpc {
        /// The application's.
        port: u16,
        /// Which service is asked about.
        #[serde(default)]
        service: String,
    },
}

/// A question by HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HttpAsk {
    /// With TLS or without. The certificate is not verified, as by the kubelet.
    pub scheme: Scheme,
    /// The application's.
    pub port: u16,
    /// With the query, and a slash first.
    pub path: String,
    /// Beside those that the kubelet sends always.
    #[serde(default)]
    pub headers: Vec<Header>,
}

/// With TLS or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheme {
    /// Without.
    #[serde(rename = "HTTP")]
    Http,
    /// With.
    #[serde(rename = "HTTPS")]
    Https,
}

/// One header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Probes that cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProbe {
    /// Too many.
    #[error("{0} probes; at most {MOST} are taken")]
    TooMany(usize),
    /// Not a key.
    #[error("the key of probes must be {KEY} of 0-9 and a-f")]
    Key,
    /// Two with one name, or a name that makes no path.
    #[error("probe {0:?}: names are <container>/<what>, each once")]
    Name(String),
    /// It would ask the gate itself, or nobody.
    #[error("probe {name:?}: port {port} is none of the application's")]
    Port {
        /// Which.
        name: String,
        /// Its port.
        port: u16,
    },
    /// Not a path.
    #[error(
        "probe {name:?}: {path:?} is no path; begin it with a slash and percent-encode what is not ASCII"
    )]
    Path {
        /// Which.
        name: String,
        /// As written.
        path: String,
    },
    /// Not a header.
    #[error("probe {name:?}: {header:?} is no header that can be sent")]
    Header {
        /// Which.
        name: String,
        /// The header's name.
        header: String,
    },
    /// Nothing, or for ever.
    #[error("probe {0:?}: a timeout must be more than nothing and at most an hour")]
    Timeout(String),
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawProbes {
    key: ProbeKey,
    list: Vec<Probe>,
}

impl Probes {
    /// Probes that can be asked.
    ///
    /// # Errors
    /// When one cannot be.
    pub fn new(key: ProbeKey, probes: Vec<Probe>) -> Result<Self, InvalidProbe> {
        if probes.len() > MOST {
            return Err(InvalidProbe::TooMany(probes.len()));
        }
        let mut names = BTreeSet::new();
        for probe in &probes {
            probe.check()?;
            if !names.insert(&probe.name) {
                return Err(InvalidProbe::Name(probe.name.clone()));
            }
        }
        Ok(Self { key, probes })
    }

    /// Each with the path under which the sidecar asks it.
    pub fn by_path(&self) -> impl Iterator<Item = (String, &Probe)> {
        self.probes.iter().map(|probe| (self.key.path(&probe.name), probe))
    }
}

impl ProbeKey {
    /// The path of a probe with this name.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        format!("/probe/{}/{name}", self.0)
    }
}

impl Probe {
    fn check(&self) -> Result<(), InvalidProbe> {
        let name = || self.name.clone();
        let mut parts = self.name.split('/');
        let is_word = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let is_name = parts.next().is_some_and(is_word) && parts.next().is_some_and(is_word);
        if !is_name || parts.next().is_some() {
            return Err(InvalidProbe::Name(name()));
        }
        if self.timeout.is_zero() || self.timeout > LONGEST {
            return Err(InvalidProbe::Timeout(name()));
        }
        let port = self.ask.port();
        if port == 0 || OWN_PORTS.contains(&port) {
            return Err(InvalidProbe::Port { name: name(), port });
        }
        match &self.ask {
            Ask::Http(ask) => ask.check(&self.name),
            Ask::Tcp { port: _ } | Ask::Grpc { port: _, service: _ } => Ok(()),
        }
    }
}

impl Ask {
    /// The application's port.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self {
            Self::Http(HttpAsk { port, .. })
            | Self::Tcp { port }
            | Self::Grpc { port, service: _ } => *port,
        }
    }
}

impl HttpAsk {
    fn check(&self, name: &str) -> Result<(), InvalidProbe> {
        let path = PathAndQuery::try_from(self.path.as_str()).ok();
        // What would be cut off is not sent in silence.
        if !self.path.starts_with('/') || path.is_none_or(|path| path.as_str() != self.path) {
            let (name, path) = (name.to_owned(), self.path.clone());
            return Err(InvalidProbe::Path { name, path });
        }
        for header in &self.headers {
            let sound = HeaderName::try_from(header.name.as_str()).is_ok()
                && HeaderValue::try_from(header.value.as_str()).is_ok();
            if !sound {
                let (name, header) = (name.to_owned(), header.name.clone());
                return Err(InvalidProbe::Header { name, header });
            }
        }
        Ok(())
    }
}

impl TryFrom<RawProbes> for Probes {
    type Error = InvalidProbe;

    fn try_from(raw: RawProbes) -> Result<Self, Self::Error> {
        let RawProbes { key, list } = raw;
        Self::new(key, list)
    }
}

impl From<Probes> for RawProbes {
    fn from(probes: Probes) -> Self {
        let Probes { key, probes } = probes;
        Self { key, list: probes }
    }
}

impl TryFrom<String> for ProbeKey {
    type Error = InvalidProbe;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == KEY && text.bytes().all(is_hex) {
            Ok(Self(text))
        } else {
            Err(InvalidProbe::Key)
        }
    }
}

impl From<ProbeKey> for String {
    fn from(key: ProbeKey) -> Self {
        key.0
    }
}

impl From<[u8; 16]> for ProbeKey {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"key":"00112233445566778899aabbccddeeff","list":[
        {"name":"app/livenessProbe","ask":{"http":{"scheme":"HTTPS","port":8443,"path":"/live?a=b","headers":[{"name":"X-A","value":"b"}]}},"timeout":"1s"},
        {"name":"app/readinessProbe","ask":{"tcp":{"port":8080}},"timeout":"2s"},
        {"name":"app/startupProbe","ask":{"grpc":{"port":9000,"service":"orders"}},"timeout":"500ms"}]}"#;

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let probes: Probes = serde_json::from_str(GOOD).unwrap();
        let written = serde_json::to_string(&probes).unwrap();
        assert_eq!(serde_json::from_str::<Probes>(&written).unwrap(), probes);
        let (path, probe) = probes.by_path().next().unwrap();
        assert_eq!(path, "/probe/00112233445566778899aabbccddeeff/app/livenessProbe");
        assert_eq!(probe.ask.port(), 8443);
        assert_eq!(String::from(ProbeKey::from([0xab; 16])), "ab".repeat(16));
    }

    #[test]
    fn what_cannot_be_asked_is_an_error() {
        for (good, bad) in [
            ("00112233445566778899aabbccddeeff", "00112233445566778899AABBCCDDEEFF"),
            ("00112233445566778899aabbccddeeff", ""),
            ("app/readinessProbe", "app/livenessProbe"),
            ("app/readinessProbe", "../readinessProbe"),
            ("app/readinessProbe", "app"),
            ("app/readinessProbe", "app/a/b"),
            (r#""port":8080"#, r#""port":0"#),
            (r#""port":8080"#, r#""port":15020"#),
            (r#""port":8080"#, r#""port":65536"#),
            ("/live?a=b", "live"),
            ("/live?a=b", "/a b"),
            ("/live?a=b", "/a#b"),
            ("X-A", "X A"),
            (r#""value":"b""#, r#""value":"b\r\nc: d""#),
            ("HTTPS", "https"),
            ("500ms", "0s"),
            ("500ms", "2h"),
            (r#""service""#, r#""services""#),
            (r#"{"tcp":"#, r#"{"udp":"#),
        ] {
            assert!(GOOD.contains(good), "{good}");
            let text = GOOD.replace(good, bad);
            assert!(serde_json::from_str::<Probes>(&text).is_err(), "{good} -> {bad}");
        }
        let probe = |n: usize| Probe {
            name: format!("app/p{n}"),
            ask: Ask::Tcp { port: 80 },
            timeout: Duration::from_secs(1),
        };
        let key = ProbeKey::from([0; 16]);
        assert!(Probes::new(key.clone(), (0..256).map(probe).collect()).is_ok());
        assert_eq!(
            Probes::new(key, (0..257).map(probe).collect()),
            Err(InvalidProbe::TooMany(257))
        );
    }
}
