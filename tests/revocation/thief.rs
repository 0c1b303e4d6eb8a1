//! Whoever has the key and certificate of a workload, and no sidecar beside it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hopgate::identity::{AnyServer, JudgedServer, PrivateKey, X509Svid};
use hopgate::proto::istio::IstioCertificateRequest;
use hopgate::proto::istio::istio_certificate_service_client::IstioCertificateServiceClient;
use hopgate::runtime::Clock;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::parts::{Plane, get};

pub struct Thief {
    svid: X509Svid,
}

impl Thief {
    /// A certificate as the workload itself would get one.
    pub async fn with_certificate_of(plane: &Plane, workload: &str) -> Self {
        let token = plane.token(workload);
        let (key, chain) = ask(plane, None, Some(&token)).await.unwrap();
        let svid = X509Svid::new(chain, key, &plane.bundle, Clock::system().now()).unwrap();
        Self { svid }
    }

    pub fn serial(&self) -> &str {
        self.svid.leaf().serial()
    }

    /// Asks for another certificate by this one.
    pub async fn renew(&self, plane: &Plane) -> Result<(), tonic::Status> {
        ask(plane, Some(&self.svid), None).await.map(drop)
    }

    /// A connection of its own to the listener of an Envoy.
    pub async fn dial(&self, to: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("http.hopgate.internal").unwrap();
        let stream = TcpStream::connect(to).await?;
        self.connector().connect(name, stream).await
    }

    /// Whether a second connection goes on with the session of the first, so that no certificate is shown.
    pub async fn resumes(&self, to: SocketAddr) -> bool {
        let connector = self.connector();
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let name = ServerName::try_from("http.hopgate.internal").unwrap();
            let stream = TcpStream::connect(to).await.unwrap();
            let mut stream = connector.connect(name, stream).await.unwrap();
            // A ticket would come with the first answer.
            get(&mut stream, "/").await.unwrap();
            kinds.push(stream.get_ref().1.handshake_kind());
        }
        kinds[1] == Some(rustls::HandshakeKind::Resumed)
    }

    /// Remembers sessions, as clients do.
    fn connector(&self) -> TlsConnector {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(JudgedServer::new(AnyServer))
            .with_client_auth_cert(self.svid.chain().to_vec(), self.svid.key().to_rustls())
            .unwrap();
        TlsConnector::from(Arc::new(config))
    }

    /// Whether a new TCP connection reaches the application.
    pub async fn echoes(&self, to: SocketAddr) -> bool {
        let Ok(mut stream) = self.dial(to).await else { return false };
        if stream.write_all(b"hello").await.is_err() {
            return false;
        }
        let mut answer = [0; 12];
        let read = tokio::time::timeout(Duration::from_secs(2), stream.read_exact(&mut answer));
        matches!(read.await, Ok(Ok(_))) && &answer == b"welcomehello"
    }
}

type Answer = (PrivateKey, Vec<CertificateDer<'static>>);

async fn ask(
    plane: &Plane,
    by: Option<&X509Svid>,
    token: Option<&str>,
) -> Result<Answer, tonic::Status> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(plane.bundle.to_root_store());
    let mut config = match by {
        None => builder.with_no_client_auth(),
        Some(svid) => {
            let key = svid.key().to_rustls();
            builder.with_client_auth_cert(svid.chain().to_vec(), key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (connector, port) = (TlsConnector::from(Arc::new(config)), plane.port);
    let connect = tower::service_fn(move |_: http::Uri| {
        let connector = connector.clone();
        async move {
            let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
            let name = ServerName::try_from("localhost").unwrap();
            Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, tcp).await?))
        }
    });
    let channel = tonic::transport::Endpoint::from_static("http://localhost")
        .connect_with_connector(connect)
        .await
        .map_err(|error| tonic::Status::unavailable(format!("{error:?}")))?;
    let key = PrivateKey::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let csr = params.serialize_request(&key.to_key_pair().unwrap()).unwrap().pem().unwrap();
    let message = IstioCertificateRequest { csr, validity_duration: 0, metadata: None };
    let mut request = tonic::Request::new(message);
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    let answer = IstioCertificateServiceClient::new(channel).create_certificate(request).await?;
    let chain = answer.into_inner().cert_chain;
    let der = |pem: &String| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    Ok((key, chain[..2].iter().map(der).collect()))
}
