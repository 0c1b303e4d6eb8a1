//! TLS of the signing server: 1.3 only, client certificates optional but never unverified, no resumption.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use rustls::HandshakeKind;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::certs::time_provider;
use crate::runtime::{Clock, Connection, Listener};

use super::ControlError;
use super::own::OwnCertificate;

const HANDSHAKE: Duration = Duration::from_secs(5);
const MAX_HANDSHAKES: usize = 128;
const MAX_CONNECTIONS: usize = 4096;

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// The certificates that its TLS connection proved, leaf first. `None`: it showed none. They may be of a foreign
    /// authority that is configured as proof: no name in them is to be believed before it is known whose they are.
    pub(super) certificates: Option<Arc<[CertificateDer<'static>]>>,
    /// From where it calls; none by a unix socket.
    pub(super) address: Option<IpAddr>,
}

/// A connection after its handshake.
pub(super) struct Secured {
    stream: TlsStream<Connection>,
    peer: Peer,
    _place: OwnedSemaphorePermit,
}

pub(super) fn acceptor(
    own: Arc<OwnCertificate>,
    verifier: Arc<dyn ClientCertVerifier>,
    clock: &Clock,
) -> Result<TlsAcceptor, ControlError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_details(provider, time_provider(clock))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(ControlError::Tls)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(own);
    // A resumed session would carry a client's certificate past its end.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Connections whose handshake succeeded in time. A failed one is logged and forgotten: it must never end
/// the server. Past the bound of open connections new ones are closed at once.
pub(super) fn incoming(
    listener: Listener,
    acceptor: TlsAcceptor,
) -> impl Stream<Item = io::Result<Secured>> {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    listener
        .incoming()
        .map(move |accepted| handshake(acceptor.clone(), accepted, Arc::clone(&places)))
        .buffer_unordered(MAX_HANDSHAKES)
        .filter_map(|secured| async move { secured.map(Ok) })
}

async fn handshake(
    acceptor: TlsAcceptor,
    accepted: io::Result<Connection>,
    places: Arc<Semaphore>,
) -> Option<Secured> {
    let connection = match accepted {
        Ok(connection) => connection,
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            // Without a pause, a process out of file descriptors would spin.
            tokio::time::sleep(Duration::from_millis(100)).await;
            return None;
        }
    };
    // A connection that has gone already has no address any more; its handshake will fail.
    let address = connection.peer_address().ok().flatten().map(|address| address.ip());
    let Ok(place) = places.try_acquire_owned() else {
        tracing::warn!(limit = MAX_CONNECTIONS, "too many connections, closing a new one");
        return None;
    };
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(connection)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::info!(%error, "TLS handshake refused");
            return None;
        }
        Err(_) => {
            tracing::info!("TLS handshake took too long");
            return None;
        }
    };
    let (_, session) = stream.get_ref();
    if session.handshake_kind() == Some(HandshakeKind::Resumed) {
        return None;
    }
    let certificates = session.peer_certificates();
    let certificates = certificates.map(|c| c.iter().map(|c| c.clone().into_owned()).collect());
    let peer = Peer { certificates, address };
    Some(Secured { stream, peer, _place: place })
}

impl Connected for Secured {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buffer)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
