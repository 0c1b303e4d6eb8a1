//! The chain that a TLS server shows, taken without trusting it.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, Error, ProtocolVersion};
use tokio::net::TcpStream;

use crate::identity::{Judge, JudgedServer};

use super::{Group, GroupKind, Loaded, ReadArgs};

/// Takes every chain and remembers it.
#[derive(Debug, Default)]
struct Onlooker(Mutex<Vec<CertificateDer<'static>>>);

pub(super) async fn ask((host, port): (&str, u16), args: &ReadArgs) -> anyhow::Result<Loaded> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = JudgedServer::new(Onlooker::default());
    let verifier = Arc::clone(&server);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = args.alpn.iter().map(|name| name.clone().into_bytes()).collect();
    let name = args.server_name.as_deref().unwrap_or(host);
    let name = ServerName::try_from(name.to_owned())
        .with_context(|| format!("{name:?} is no server name; give one with --server-name"))?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let shake = async {
        let stream = TcpStream::connect((host, port)).await.context("cannot connect")?;
        anyhow::Ok(connector.connect(name, stream).await)
    };
    let shaken = tokio::time::timeout(args.timeout, shake).await;
    let shaken = shaken.with_context(|| format!("no handshake within {:?}", args.timeout))??;
    let chain =
        std::mem::take(&mut *server.judge().0.lock().unwrap_or_else(PoisonError::into_inner));
    let mut notes = Vec::new();
    match shaken {
        Ok(stream) => {
            let (_, session) = stream.get_ref();
            let version = match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
                Some(_) | None => "TLS 1.2",
            };
            notes.push(format!("{version}; the server proved that it holds the key of the leaf"));
            if let Some(protocol) = session.alpn_protocol() {
                notes.push(format!("it chose {}", String::from_utf8_lossy(protocol)));
            }
        }
        // A server that wants a certificate of ours has shown its own by then.
        Err(error) if !chain.is_empty() => {
            notes.push(format!("the handshake went no further: {error}"));
        }
        Err(error) => return Err(error).context("no TLS handshake"),
    }
    let group = Group::read(None, GroupKind::Chain(None), &chain)?;
    Ok(Loaded { place: String::new(), form: "TLS server", groups: vec![group], notes })
}

impl Judge for Onlooker {
    fn judge(&self, leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Result<(), Error> {
        let shown = std::iter::once(leaf).chain(rest);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            shown.map(|certificate| certificate.clone().into_owned()).collect();
        Ok(())
    }
}
