//! Knocking at a mutual TLS port as strangers do: without a certificate, or with one that a foreign CA signed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::http::exchange;
use crate::identity::{AnyServer, JudgedServer, Leaf, SpiffeId};

const DEADLINE: Duration = Duration::from_secs(5);

/// The stranger's tools failed, or nobody opened the port.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// TLS could not be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// The stranger's certificate was not made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// Nobody listens.
    #[error("cannot connect to {0}")]
    Connect(SocketAddr, #[source] std::io::Error),
    /// It does not speak TLS with us at all.
    #[error("no TLS handshake with {0}")]
    Handshake(SocketAddr, #[source] std::io::Error),
    /// The other side's certificate cannot be read.
    #[error("{0} presented no readable certificate")]
    NoCertificate(SocketAddr),
    /// It took too long.
    #[error("{0} did not answer in time")]
    Silent(SocketAddr),
}

/// What the stranger shows.
pub(crate) enum Shows {
    /// No certificate.
    Nothing,
    /// A certificate that names this workload, signed by a CA that is not the mesh's.
    ForeignCertificate(SpiffeId),
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Knock {
    /// The serial of the certificate that the other side presented, in hexadecimal.
    pub(crate) serial: String,
    /// The bytes that came back for a request, or why the connection ended.
    pub(crate) answer: Result<Vec<u8>, String>,
}

/// Knocks: a TLS handshake, then one HTTP request.
pub(crate) async fn knock(address: SocketAddr, shows: Shows) -> Result<Knock, WireError> {
    let config = config(shows)?;
    let talk = async {
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|error| WireError::Connect(address, error))?;
        let name = ServerName::IpAddress(address.ip().into());
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let stream = stream.map_err(|error| WireError::Handshake(address, error))?;
        let serial = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first())
            .and_then(|leaf| Leaf::parse(leaf).ok())
            .map(|leaf| leaf.serial().to_owned())
            .ok_or(WireError::NoCertificate(address))?;
        let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        let answer = exchange(stream, request.as_bytes()).await.map_err(|e| e.to_string());
        Ok(Knock { serial, answer })
    };
    tokio::time::timeout(DEADLINE, talk).await.map_err(|_| WireError::Silent(address))?
}

fn config(shows: Shows) -> Result<ClientConfig, WireError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    // A stranger trusts any server: what is tried here is whether the server trusts the stranger. It sends no secret.
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(JudgedServer::new(AnyServer));
    Ok(match shows {
        Shows::Nothing => builder.with_no_client_auth(),
        Shows::ForeignCertificate(id) => {
            let key = rcgen::KeyPair::generate()?;
            let mut params = rcgen::CertificateParams::default();
            params.subject_alt_names = vec![rcgen::SanType::URI(id.as_str().try_into()?)];
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
            let certificate = params.self_signed(&key)?;
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            builder.with_client_auth_cert(vec![certificate.der().clone()], key)?
        }
    })
}

#[cfg(test)]
mod tests {
    use rustls::server::WebPkiClientVerifier;
    use rustls::{RootCertStore, ServerConfig};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    const ID: &str = "spiffe://demo.mesh/ns/shop/sa/payments";

    /// A server with a certificate of its own CA, which asks its clients for one of the same CA, or for none.
    fn server(asks: bool) -> ServerConfig {
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::default();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = authority.self_signed(&authority_key).unwrap();
        let issuer = rcgen::Issuer::new(authority, authority_key);

        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = vec![rcgen::SanType::URI(ID.try_into().unwrap())];
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        let leaf = params.signed_by(&key, &issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let verifier = verifier.build().unwrap();
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap();
        let builder = if asks {
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        builder.with_single_cert(vec![leaf.der().clone()], key).unwrap()
    }

    async fn knock_at(asks: bool, shows: Shows) -> Knock {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server(asks)));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let mut request = [0; 4];
                stream.read_exact(&mut request).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        knock(address, shows).await.unwrap()
    }

    #[tokio::test]
    async fn a_server_that_asks_for_a_certificate_turns_strangers_away() {
        let without = knock_at(true, Shows::Nothing).await;
        assert!(without.answer.unwrap_err().contains("CertificateRequired"));
        let foreign = Shows::ForeignCertificate(SpiffeId::parse(ID).unwrap());
        let foreign = knock_at(true, foreign).await;
        assert!(foreign.answer.is_err(), "{foreign:?}");
        assert!(without.serial.len() > 8 && without.serial != foreign.serial);
    }

    /// Else the refusals above could be a fault of ours.
    #[tokio::test]
    async fn a_server_that_asks_for_nothing_lets_strangers_in() {
        let answer = knock_at(false, Shows::Nothing).await.answer.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
}
