//! A signing server with a good certificate, and answers of the test's making.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hopgate::certs;
use hopgate::proto::istio::istio_certificate_service_server::{
    IstioCertificateService, IstioCertificateServiceServer,
};
use hopgate::proto::istio::{IstioCertificateRequest, IstioCertificateResponse};
use hopgate::runtime::Clock;
use rustls::pki_types::{CertificateSigningRequestDer, PrivateKeyDer, pem::PemObject as _};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

use crate::support::pki;

/// What a caller asks, as the server sees it.
pub struct Asked {
    /// The key to be certified.
    pub key: rcgen::SubjectPublicKeyInfo,
    /// Every `authorization` header.
    pub authorization: Vec<String>,
    /// Whether the connection proved a client certificate.
    pub certificate: bool,
}

pub type Answer = Result<Vec<String>, tonic::Status>;
type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;
type Answers = Box<dyn Fn(Asked) -> Answering + Send + Sync>;

/// A running server; ended on drop.
pub struct Impostor {
    pub port: u16,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

struct Service {
    answers: Answers,
    asked: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl IstioCertificateService for Service {
    async fn create_certificate(
        &self,
        request: tonic::Request<IstioCertificateRequest>,
    ) -> Result<tonic::Response<IstioCertificateResponse>, tonic::Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let authorization = request.metadata().get_all("authorization").iter();
        let authorization = authorization.map(|value| value.to_str().unwrap().to_owned()).collect();
        let certificate = request.extensions().get::<Shown>().is_some_and(|shown| shown.0);
        let csr = request.into_inner().csr;
        let asked = Asked { key: key_of(&csr), authorization, certificate };
        let cert_chain = (self.answers)(asked).await?;
        Ok(tonic::Response::new(IstioCertificateResponse { cert_chain }))
    }
}

/// Whether a client certificate was shown on the connection.
#[derive(Clone)]
struct Shown(bool);

struct Secured(tokio_rustls::server::TlsStream<tokio::net::TcpStream>);

impl Impostor {
    /// Serves as `localhost`, with a certificate of `ca`. Client certificates are taken from `ca` only.
    pub async fn start<F>(
        ca: &pki::Ca,
        clock: &Clock,
        answers: impl Fn(Asked) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let own = ca.leaf_with(|params| {
            let name = rcgen::string::Ia5String::try_from("localhost").unwrap();
            params.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
            params.not_after += time::Duration::days(3650);
        });
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca.root()).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&provider),
        )
        .allow_unauthenticated()
        .build()
        .unwrap();
        let key = PrivateKeyDer::try_from(own.key.serialize_der()).unwrap();
        let mut config =
            rustls::ServerConfig::builder_with_details(provider, certs::time_provider(clock))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_client_cert_verifier(verifier)
                .with_single_cert(vec![own.certificate, ca.root()], key)
                .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let answers: Answers = Box::new(move |asked| Box::pin(answers(asked)));
        let service = Service { answers, asked: Arc::clone(&asked) };
        let (sender, accepted) = tokio::sync::mpsc::channel(4);
        let task = tokio::spawn(async move {
            let accept = async {
                loop {
                    let (tcp, _) = listener.accept().await.unwrap();
                    if let Ok(tls) = acceptor.accept(tcp).await {
                        sender.send(Ok::<_, std::io::Error>(Secured(tls))).await.unwrap();
                    }
                }
            };
            let incoming = tokio_stream::wrappers::ReceiverStream::new(accepted);
            let serve = tonic::transport::Server::builder()
                .add_service(IstioCertificateServiceServer::new(service))
                .serve_with_incoming(incoming);
            tokio::select! { () = accept => {}, _ = serve => {} }
        });
        Self { port, asked, task }
    }

    /// How many requests came.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub fn server(&self) -> String {
        format!("https://localhost:{}", self.port)
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn key_of(csr: &str) -> rcgen::SubjectPublicKeyInfo {
    let der = CertificateSigningRequestDer::from_pem_slice(csr.as_bytes()).unwrap();
    let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
    request.verify_signature().unwrap();
    rcgen::SubjectPublicKeyInfo::from_der(request.certification_request_info.subject_pki.raw)
        .unwrap()
}

impl tonic::transport::server::Connected for Secured {
    type ConnectInfo = Shown;

    fn connect_info(&self) -> Shown {
        Shown(self.0.get_ref().1.peer_certificates().is_some())
    }
}

impl tokio::io::AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl tokio::io::AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffer: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buffer)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
