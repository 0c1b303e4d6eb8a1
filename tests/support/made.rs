//! Authorities made up by a test, and a TLS server that answers whatever a test wants.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use hopgate::identity::{JwtBundle, SpiffeBundle, TrustBundle, TrustDomain};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn domain(name: &str) -> TrustDomain {
    TrustDomain::parse(name).unwrap()
}

/// An authority made up by a test.
pub struct Authority {
    pub der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A leaf with its key.
pub struct Leaf {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: KeyPair,
}

impl Leaf {
    /// The certificates as PEM.
    pub fn pem(&self) -> String {
        self.chain.iter().map(|der| super::pki::pem(der)).collect()
    }
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { der, issuer: Issuer::new(params, key) }
    }

    pub fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            rcgen::ExtendedKeyUsagePurpose::ServerAuth,
            rcgen::ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Leaf { chain: vec![der], key }
    }

    pub fn svid(&self, id: &str) -> Leaf {
        self.leaf(|params| {
            params.subject_alt_names = vec![rcgen::SanType::URI(id.try_into().unwrap())];
        })
    }

    pub fn web(&self, name: &str) -> Leaf {
        self.leaf(|params| {
            params.subject_alt_names = vec![rcgen::SanType::DnsName(name.try_into().unwrap())];
        })
    }

    pub fn pem(&self) -> String {
        TrustBundle::new(domain("any"), vec![self.der.clone()]).unwrap().to_pem()
    }

    /// As a bundle of a trust domain.
    pub fn bundle(&self, name: &str) -> SpiffeBundle {
        let x509 = TrustBundle::new(domain(name), vec![self.der.clone()]).unwrap();
        SpiffeBundle::new(x509, &JwtBundle::empty(domain(name))).unwrap()
    }
}

/// A TLS server that answers every request with the same bytes, which a test may change.
pub struct Server {
    pub port: u16,
    answer: Arc<Mutex<Vec<u8>>>,
    asked: Arc<AtomicU32>,
}

impl Server {
    pub async fn start(leaf: Leaf) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf.key.serialize_der()));
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(leaf.chain, key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answer, asked) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU32::new(0)));
        let shared = (Arc::clone(&answer), Arc::clone(&asked));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, (answer, asked)) = (acceptor.clone(), shared.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut head = [0; 4096];
                    if stream.read(&mut head).await.is_err() {
                        return;
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                    let answer = answer.lock().unwrap().clone();
                    drop(stream.write_all(&answer).await);
                    drop(stream.shutdown().await);
                });
            }
        });
        Self { port, answer, asked }
    }

    pub fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }

    pub fn says(&self, head: &str, body: &str) {
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        *self.answer.lock().unwrap() = text.into_bytes();
    }

    pub fn serves(&self, bundle: &SpiffeBundle) {
        self.says("200 OK\r\ncontent-type: application/json", &bundle.to_json());
    }
}
