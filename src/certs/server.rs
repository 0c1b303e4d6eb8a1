//! The address of a control plane, and a verified connection to it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::identity::{Leaf, SpiffeId, TrustBundle, WorkloadIdentity};
use crate::runtime::Clock;

use super::tls::client_config;

/// A peer that is gone is noticed after these two.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(10);

/// A text is no address of a control plane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no control plane; write https://host:port")]
pub struct InvalidServer(String);

/// No connection to the control plane.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The TLS configuration is refused.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// The control plane cannot be reached, or its certificate is not trusted.
    #[error("the control plane cannot be reached")]
    Connect(#[source] tonic::transport::Error),
}

/// A connection, and who is at its other end.
#[derive(Debug)]
pub struct Connected {
    /// The connection.
    pub channel: Channel,
    /// Whom the server's certificate names; nothing where it names no workload.
    pub server: Option<SpiffeId>,
}

/// A control plane.
#[derive(Debug, Clone)]
pub struct ControlServer {
    host: String,
    port: u16,
    name: ServerName<'static>,
}

impl ControlServer {
    /// Reads `https://host:port`.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn parse(server: &str) -> Result<Self, InvalidServer> {
        let invalid = || InvalidServer(server.to_owned());
        let uri: http::Uri = server.parse().map_err(|_| invalid())?;
        let bare = uri.path() == "/" && uri.query().is_none();
        if uri.scheme_str() != Some("https") || !bare || server.contains('@') {
            return Err(invalid());
        }
        let host = uri.host().map(|host| host.trim_start_matches('[').trim_end_matches(']'));
        let host = host.ok_or_else(invalid)?.to_owned();
        let port = uri.port_u16().ok_or_else(invalid)?;
        let name = ServerName::try_from(host.clone()).map_err(|_| invalid())?;
        Ok(Self { host, port, name })
    }

    /// Connects: the server's certificate must name the host and chain to `bundle`; `current` is shown, if there is one.
    ///
    /// # Errors
    /// When the server cannot be reached or is not trusted.
    pub async fn connect(
        &self,
        current: Option<&WorkloadIdentity>,
        bundle: &TrustBundle,
        clock: &Clock,
    ) -> Result<Channel, ConnectError> {
        Ok(self.connect_to(current, bundle, clock).await?.channel)
    }

    /// The same, and whom the server's certificate names.
    ///
    /// # Errors
    /// As [`ControlServer::connect`].
    pub async fn connect_to(
        &self,
        current: Option<&WorkloadIdentity>,
        bundle: &TrustBundle,
        clock: &Clock,
    ) -> Result<Connected, ConnectError> {
        let config = client_config(bundle, current, clock).map_err(ConnectError::Tls)?;
        let connector = TlsConnector::from(Arc::new(config));
        let Self { host, port, name } = self.clone();
        // tonic adds TLS of its own to an https address; ours is in the connector.
        let authority = if host.contains(':') {
            format!("http://[{host}]:{port}")
        } else {
            format!("http://{host}:{port}")
        };
        let seen: Arc<Mutex<Option<SpiffeId>>> = Arc::default();
        let see = Arc::clone(&seen);
        let connect = tower::service_fn(move |_: http::Uri| {
            let (host, name, connector) = (host.clone(), name.clone(), connector.clone());
            let see = Arc::clone(&see);
            async move {
                let tcp = TcpStream::connect((host.as_str(), port)).await?;
                tcp.set_nodelay(true)?;
                let tls = connector.connect(name, tcp).await?;
                let certificates = tls.get_ref().1.peer_certificates().unwrap_or_default();
                let leaf = certificates.first().and_then(|first| Leaf::parse(first).ok());
                *see.lock().unwrap_or_else(PoisonError::into_inner) =
                    leaf.map(|leaf| leaf.id().clone());
                Ok::<_, io::Error>(TokioIo::new(tls))
            }
        });
        let endpoint = Endpoint::from_shared(authority)
            .map_err(ConnectError::Connect)?
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_ANSWER);
        let channel =
            endpoint.connect_with_connector(connect).await.map_err(ConnectError::Connect)?;
        let server = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Connected { channel, server })
    }
}

impl Connected {
    /// True for hopgate's own control plane. Others, such as istiod, speak the same signing contract and tell nothing of
    /// what hopgate's tells.
    #[must_use]
    pub fn is_hopgate(&self) -> bool {
        self.server.as_ref().is_some_and(SpiffeId::is_control_plane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_https_address_is_taken() {
        for good in ["https://localhost:15012", "https://127.0.0.1:1/", "https://[::1]:15012"] {
            assert!(ControlServer::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "localhost:15012",
            "http://localhost:15012",
            "https://localhost",
            "https://localhost:1/path",
            "https://localhost:1/?q",
            "https://user@localhost:1",
            "https://:1",
        ] {
            assert!(ControlServer::parse(bad).is_err(), "{bad}");
        }
    }
}
