//! Asks Envoy, in either way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use http::Method;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::InUseConfig;
use super::judge::InUse;
use crate::identity::{AnyServer, JudgedServer, Leaf, WorkloadIdentity};
use crate::mesh::Endpoint;
use crate::sidecar::envoy_admin::{DEADLINE, Failed, ask};

/// Looks everywhere. The first place where the certificate is not in use decides.
pub(super) async fn look(places: &InUseConfig, identity: &WorkloadIdentity) -> InUse {
    if let Some(admin) = &places.admin {
        let seen = match ask(admin, Method::GET, "/certs").await {
            Ok(page) => read(&page, identity.svid.leaf()),
            Err(error) => unknown(format!("its admin page {}: {error}", shown(admin))),
        };
        if seen != InUse::Current {
            return seen;
        }
    }
    for listener in &places.listeners {
        let seen = match tokio::time::timeout(DEADLINE, handshake(*listener, identity)).await {
            Ok(Ok(seen)) => seen,
            Ok(Err(error)) => unknown(format!("its listener {listener}: {error}")),
            Err(_) => unknown(format!("its listener {listener}: no answer")),
        };
        if seen != InUse::Current {
            return seen;
        }
    }
    InUse::Current
}

fn unknown(problem: String) -> InUse {
    InUse::Unknown { problem }
}

fn shown(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Tcp(address) => address.to_string(),
        Endpoint::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// `envoy.admin.v3.Certificates`, as far as it matters. There is one element for each TLS context in force.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    certificates: Vec<Context>,
}

#[derive(Deserialize)]
struct Context {
    #[serde(default)]
    cert_chain: Vec<Certificate>,
}

#[derive(Deserialize)]
struct Certificate {
    #[serde(default)]
    serial_number: String,
    #[serde(default)]
    subject_alt_names: Vec<Name>,
}

#[derive(Deserialize)]
struct Name {
    #[serde(default)]
    uri: String,
}

/// Whether every TLS context that shows this workload shows this very certificate.
fn read(page: &[u8], leaf: &Leaf) -> InUse {
    let page: Page = match serde_json::from_slice(page) {
        Ok(page) => page,
        Err(error) => return unknown(format!("its admin page /certs: {error}")),
    };
    let is_ours = |certificate: &&Certificate| {
        certificate.subject_alt_names.iter().any(|name| name.uri == leaf.id().as_str())
    };
    let chains = page.certificates.iter().flat_map(|context| &context.cert_chain);
    let mut serials = chains.filter(is_ours).map(|found| number(&found.serial_number)).peekable();
    if serials.peek().is_none() {
        return InUse::Nowhere;
    }
    let served = number(leaf.serial());
    match serials.find(|serial| *serial != served) {
        None => InUse::Current,
        Some(seen) => InUse::Other { seen: seen.to_owned(), served: served.to_owned() },
    }
}

/// A serial number is written with leading zeros by some.
fn number(serial: &str) -> &str {
    serial.trim_start_matches('0')
}

/// The certificate that a listener shows, with proof that it has the key: it is compared with the one that is known, byte by
/// byte, and nothing is sent.
async fn handshake(listener: SocketAddr, identity: &WorkloadIdentity) -> Result<InUse, Failed> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let svid = &identity.svid;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(JudgedServer::new(AnyServer))
        .with_client_auth_cert(svid.chain().to_vec(), svid.key().to_rustls())?;
    config.resumption = rustls::client::Resumption::disabled();
    let stream = TcpStream::connect(reachable(listener)).await?;
    let name = ServerName::IpAddress(reachable(listener).ip().into());
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let shown = shown.ok_or("it showed no certificate")?;
    if svid.chain().first() == Some(shown) {
        return Ok(InUse::Current);
    }
    let seen = Leaf::parse(shown)
        .map_or_else(|refused| refused.to_string(), |leaf| number(leaf.serial()).to_owned());
    Ok(InUse::Other { seen, served: number(svid.leaf().serial()).to_owned() })
}

/// Where a listener on every address is reached from here.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}
