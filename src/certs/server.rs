//! The address of a control plane, and a verified connection to it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::identity::{TrustBundle, WorkloadIdentity};
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
        let config = client_config(bundle, current, clock).map_err(ConnectError::Tls)?;
        let connector = TlsConnector::from(Arc::new(config));
        let Self { host, port, name } = self.clone();
        // tonic adds TLS of its own to an https address; ours is in the connector.
        let authority = if host.contains(':') {
            format!("http://[{host}]:{port}")
        } else {
            format!("http://{host}:{port}")
        };
        let connect = tower::service_fn(move |_: http::Uri| {
            let (host, name, connector) = (host.clone(), name.clone(), connector.clone());
            async move {
                let tcp = TcpStream::connect((host.as_str(), port)).await?;
                tcp.set_nodelay(true)?;
                let tls = connector.connect(name, tcp).await?;
                Ok::<_, io::Error>(TokioIo::new(tls))
            }
        });
        let endpoint = Endpoint::from_shared(authority)
            .map_err(ConnectError::Connect)?
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_ANSWER);
        endpoint.connect_with_connector(connect).await.map_err(ConnectError::Connect)
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
