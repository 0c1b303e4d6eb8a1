//! Where certificates come from: files, sockets, servers, a running sidecar.

mod admin;
mod file;
mod sds;
mod server;
mod workload_api;

use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use rustls::pki_types::CertificateDer;

use super::facts::Facts;
use crate::identity::TrustDomain;
use crate::runtime::Address;

pub(in crate::cli) use admin::trusted;

/// How certificates are asked for.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct ReadArgs {
    /// What is spoken on a unix socket
    #[arg(long, value_enum, default_value_t = Protocol::Sds)]
    protocol: Protocol,
    /// Names of secrets to ask for over SDS
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_values = ["default", "ROOTCA"])]
    secret: Vec<String>,
    /// The server name (SNI) to send to HOST:PORT [default: HOST]
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// The application protocols (ALPN) to offer to HOST:PORT
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    alpn: Vec<String>,
    /// How long an answer may take
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = super::duration)]
    timeout: Duration,
}

/// What is spoken on a unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Protocol {
    /// Envoy's secret discovery
    Sds,
    /// The admin pages of a sidecar
    Admin,
    /// The SPIFFE Workload API
    WorkloadApi,
}

/// Where certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Place {
    /// `-`
    Stdin,
    File(PathBuf),
    /// `unix:/path`, or the path of a socket.
    Socket(PathBuf),
    /// `HOST:PORT`
    Server(String, u16),
    /// `admin:ADDRESS`
    Admin(Address),
}

/// What was found at one place.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Loaded {
    /// The place, as it was written.
    pub(in crate::cli) place: String,
    /// What it turned out to be.
    pub(in crate::cli) form: &'static str,
    pub(in crate::cli) groups: Vec<Group>,
    /// What else there is to say about it.
    pub(in crate::cli) notes: Vec<String>,
}

/// Certificates that belong together.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Group {
    /// What it is called there; nothing where there is only one.
    pub(in crate::cli) title: Option<String>,
    pub(in crate::cli) kind: GroupKind,
    pub(in crate::cli) certificates: Vec<Facts>,
}

/// What certificates are good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum GroupKind {
    /// A leaf and what leads to its root; and when its renewal is planned, where that is known.
    Chain(Option<SystemTime>),
    /// Roots, and of which trust domain, where that is known.
    Bundle(Option<TrustDomain>),
}

impl Place {
    /// Reads an argument. What exists as a file is one, whatever its name.
    pub(in crate::cli) fn parse(text: &str) -> Result<Self, String> {
        if text == "-" {
            return Ok(Self::Stdin);
        }
        if let Some(address) = text.strip_prefix("admin:") {
            return address.parse().map(Self::Admin).map_err(|error| format!("{error}"));
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Socket(PathBuf::from(path)));
        }
        let path = PathBuf::from(text);
        if let Ok(metadata) = std::fs::metadata(&path) {
            return Ok(if metadata.file_type().is_socket() {
                Self::Socket(path)
            } else {
                Self::File(path)
            });
        }
        let server =
            text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        match server {
            Some((host, port)) if !host.is_empty() && !host.contains('/') => {
                let host = host.trim_start_matches('[').trim_end_matches(']');
                Ok(Self::Server(host.to_owned(), port))
            }
            Some(_) | None => Err(
                "there is no such file; write a FILE, - for stdin, HOST:PORT, unix:SOCKET or admin:ADDRESS"
                    .to_owned(),
            ),
        }
    }
}

/// Reads what is at a place.
///
/// # Errors
/// When it cannot be read, or holds no certificate.
pub(in crate::cli) fn load(text: &str, args: &ReadArgs) -> anyhow::Result<Loaded> {
    let place = Place::parse(text).map_err(anyhow::Error::msg).with_context(|| text.to_owned())?;
    let found = match &place {
        Place::Stdin => file::stdin(),
        Place::File(path) => file::read(path),
        Place::Server(host, port) => wait(server::ask((host, *port), args)),
        Place::Admin(address) => wait(admin::ask(address, args.timeout)),
        Place::Socket(path) => match args.protocol {
            Protocol::Sds => wait(sds::ask(path, args)),
            Protocol::WorkloadApi => wait(workload_api::ask(path, args)),
            Protocol::Admin => wait(admin::ask(&Address::Unix(path.clone()), args.timeout)),
        },
    };
    let mut loaded = found.with_context(|| text.to_owned())?;
    loaded.place = text.to_owned();
    anyhow::ensure!(!loaded.groups.is_empty(), "{text}: holds no certificate");
    Ok(loaded)
}

fn wait<T>(answer: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(answer)
}

impl Group {
    /// Takes certificates; all must be readable.
    fn read(
        title: Option<&str>,
        kind: GroupKind,
        certificates: &[CertificateDer<'static>],
    ) -> anyhow::Result<Self> {
        let facts = certificates.iter().enumerate().map(|(index, der)| {
            Facts::read(der).with_context(|| format!("certificate {} cannot be read", index + 1))
        });
        let certificates = facts.collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self { title: title.map(str::to_owned), kind, certificates })
    }

    /// The leaf and what it came with; nothing for a bundle.
    pub(in crate::cli) fn chain(&self) -> Option<(&Facts, &[Facts])> {
        match self.kind {
            GroupKind::Chain(_) => self.certificates.split_first(),
            GroupKind::Bundle(_) => None,
        }
    }

    /// When the renewal of its leaf is planned, where that is known.
    pub(in crate::cli) fn renewal(&self) -> Option<SystemTime> {
        match self.kind {
            GroupKind::Chain(renewal) => renewal,
            GroupKind::Bundle(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_known_by_its_form() {
        assert_eq!(Place::parse("-"), Ok(Place::Stdin));
        assert_eq!(Place::parse("orders:8443"), Ok(Place::Server("orders".to_owned(), 8443)));
        assert_eq!(Place::parse("[::1]:443"), Ok(Place::Server("::1".to_owned(), 443)));
        assert_eq!(Place::parse("unix:/run/x"), Ok(Place::Socket("/run/x".into())));
        assert_eq!(
            Place::parse("admin:127.0.0.1:1"),
            Ok(Place::Admin(Address::Tcp("127.0.0.1:1".parse().unwrap())))
        );
        assert_eq!(Place::parse("Cargo.toml"), Ok(Place::File("Cargo.toml".into())));
        for wrong in ["nowhere.pem", "host:port", ":443", "a/b:443", "admin:x"] {
            assert!(Place::parse(wrong).is_err(), "{wrong}");
        }
    }
}
