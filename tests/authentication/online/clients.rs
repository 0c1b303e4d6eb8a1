//! How we prove who asks: each way with a server that refuses everybody else.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hopgate::authn::{Providers, Verifier};
use hopgate::policy::{Algorithm, Audience, Keys};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ED25519, PKCS_RSA_SHA256,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::parts::{Named, Process, Question, Server, active, json as says};
use crate::authentication::mint::{NOW, at, compile, provider};

/// Answers only those who `knows` knows.
fn guarded(knows: impl Fn(&Question) -> bool + Send + 'static) -> Server {
    Server::new(move |question| {
        if knows(question) {
            says(200, &active())
        } else {
            says(401, &json!({ "error": "invalid_client" }))
        }
    })
}

fn spec(base: &str, auth: &str) -> String {
    format!("introspection: {{ url: {base}/introspect, auth: {auth} }}")
}

async fn code(base: &str, auth: &str, files: &[Named<'_>]) -> &'static str {
    Process::new(&spec(base, auth), files).code("t").await
}

#[tokio::test]
async fn by_a_secret_in_the_header() {
    let server = guarded(|question| {
        let value = STANDARD.encode("gate%3A1:p%3Aw%C3%B6%26");
        !question.form().contains_key("client_id")
            && question.header("authorization") == format!("Basic {value}")
    });
    let base = server.plain().await;
    let auth = "{ basic: { clientId: 'gate:1', secretFile: s } }";
    for secret in ["p:wö&", "p:wö&\n", "p:wö&\r\n"] {
        assert_eq!(code(&base, auth, &[("s", secret.as_bytes())]).await, "allow");
    }
    for secret in ["wrong", " p:wö&"] {
        assert_eq!(code(&base, auth, &[("s", secret.as_bytes())]).await, "server_refuses_us");
    }
    assert_eq!(code(&base, "none", &[]).await, "server_refuses_us");
}

#[tokio::test]
async fn by_a_secret_in_the_form() {
    let server = guarded(|question| {
        let form = question.form();
        let says = |name: &str| form.get(name).map_or("", String::as_str);
        question.header("authorization").is_empty()
            && (says("client_id"), says("client_secret"), says("token")) == ("gate", "a&b=c", "t")
    });
    let base = server.plain().await;
    let auth = "{ post: { clientId: gate, secretFile: s } }";
    assert_eq!(code(&base, auth, &[("s", b"a&b=c")]).await, "allow");
    assert_eq!(code(&base, auth, &[("s", b"a")]).await, "server_refuses_us");
}

/// Judges assertions as a careful authorization server does, with what judges tokens here.
struct Assertions {
    providers: Providers,
    seen: Mutex<HashSet<String>>,
}

impl Assertions {
    fn new(algorithm: Algorithm, key: &KeyPair, audience: &str) -> Arc<Self> {
        let mut client = provider("client", &[algorithm], Keys::Pem(key.public_key_pem()));
        client.spec.tokens.as_mut().unwrap().issuers = vec!["gate".into()];
        let audience = vec![audience.to_owned()];
        client.spec.rules.audience =
            Audience::AnyOf { audiences: audience, claims: vec!["aud".into()] };
        let providers = compile(&[client]).unwrap();
        Arc::new(Self { providers, seen: Mutex::default() })
    }

    fn knows(&self, question: &Question) -> bool {
        let form = question.form();
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let Some(assertion) = form.get("client_assertion") else { return false };
        let judge = |now| Verifier::new(1).unwrap().user(assertion, &self.providers, at(now));
        let Ok(user) = judge(NOW) else { return false };
        // A minute, and the leeway of who judges.
        assert!(judge(NOW + 89).is_ok() && judge(NOW + 90).is_err());
        let id = user.facts().claims()["jti"].as_str().unwrap().to_owned();
        question.header("authorization").is_empty()
            && form["client_assertion_type"] == kind
            && form["client_id"] == "gate"
            && user.facts().subject() == "gate"
            && self.seen.lock().unwrap().insert(id)
    }
}

fn header(assertion: &str) -> serde_json::Value {
    let first = assertion.split('.').next().unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(first).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn by_a_signed_assertion() {
    let algorithms = [
        ("ES256", Algorithm::ES256, &PKCS_ECDSA_P256_SHA256),
        ("RS256", Algorithm::RS256, &PKCS_RSA_SHA256),
        ("EdDSA", Algorithm::EdDSA, &PKCS_ED25519),
    ];
    for (name, algorithm, kind) in algorithms {
        let (key, other) =
            (KeyPair::generate_for(kind).unwrap(), KeyPair::generate_for(kind).unwrap());
        let server = guarded(|_| false);
        let base = server.plain().await;
        let judge = Assertions::new(algorithm, &key, &format!("{base}/introspect"));
        server.judges(move |question| {
            let assertion = &question.form()["client_assertion"];
            assert_eq!(
                (&header(assertion)["alg"], &header(assertion)["kid"]),
                (&json!(name), &json!("k1"))
            );
            match judge.knows(question) {
                true => says(200, &active()),
                false => says(401, &json!({})),
            }
        });
        let auth = format!(
            "{{ privateKeyJwt: {{ clientId: gate, keyFile: k, algorithm: {name}, keyId: k1 }} }}"
        );
        let pem = key.serialize_pem();
        let process = Process::new(&spec(&base, &auth), &[("k", pem.as_bytes())]);
        // Each question has an assertion of its own.
        for token in ["t1", "t2", "t3"] {
            assert_eq!(process.code(token).await, "allow", "{name}");
        }
        let pem = other.serialize_pem();
        assert_eq!(
            code(&base, &auth, &[("k", pem.as_bytes())]).await,
            "server_refuses_us",
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_assertion_is_for_the_audience_that_is_written() {
    let key = KeyPair::generate().unwrap();
    let judge = Assertions::new(Algorithm::ES256, &key, "https://sso.example");
    let server = guarded(move |question| judge.knows(question));
    let base = server.plain().await;
    let pem = key.serialize_pem();
    let auth = |more: &str| {
        format!("{{ privateKeyJwt: {{ clientId: gate, keyFile: k, algorithm: ES256{more} }} }}")
    };
    let files: [Named<'_>; 1] = [("k", pem.as_bytes())];
    let written = auth(", audience: 'https://sso.example'");
    assert_eq!(code(&base, &written, &files).await, "allow");
    assert_eq!(code(&base, &auth(""), &files).await, "server_refuses_us");
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn leaf(authority: &Authority, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

struct TlsListener(TcpListener, TlsAcceptor);

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = self.0.accept().await.unwrap();
            if let Ok(stream) = self.1.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// Serves over TLS to those with a certificate of `clients`, and nobody else.
async fn serve(server: &Server, authority: &Authority, clients: &Authority) -> String {
    let (chain, key) = leaf(authority, "localhost");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(clients.der().clone()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::clone(&provider),
    );
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (listener, routes) =
        (TlsListener(listener, TlsAcceptor::from(Arc::new(config))), server.routes());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    format!("https://localhost:{port}")
}

#[tokio::test]
async fn by_a_certificate_that_the_server_demands() {
    let (servers, clients, strangers) = (authority(), authority(), authority());
    let server =
        guarded(|question| question.form().get("client_id").is_some_and(|id| id == "gate"));
    let base = serve(&server, &servers, &clients).await;
    let (ca, (cert, key)) = (servers.pem(), leaf(&clients, "gate"));
    let (other_cert, other_key) = leaf(&strangers, "gate");
    let with = |auth: &str| spec(&base, auth) + "\nhttp: { caFile: ca }";
    let mtls = with("{ mtls: { clientId: gate, certFile: c, keyFile: k } }");
    let files = |cert: &'static str, key: &'static str| {
        [("ca", ca.as_bytes()), ("c", cert.as_bytes()), ("k", key.as_bytes())]
    };
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let (cert, key) = (leak(cert), leak(key));
    assert_eq!(Process::new(&mtls, &files(cert, key)).code("t").await, "allow");
    let strange = files(leak(other_cert), leak(other_key));
    assert_eq!(Process::new(&mtls, &strange).code("t").await, "server_unreachable");
    let bare = Process::new(&with("none"), &[("ca", ca.as_bytes())]);
    assert_eq!(bare.code("t").await, "server_unreachable");
    // The server is judged too.
    let fake = strangers.pem();
    let files = [("ca", fake.as_bytes()), ("c", cert.as_bytes()), ("k", key.as_bytes())];
    assert_eq!(Process::new(&mtls, &files).code("t").await, "server_unreachable");
    assert_eq!(server.asked(), 1, "nobody else came through");
}
