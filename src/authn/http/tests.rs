//! The client against real servers on loopback, plain and over TLS.

use std::net::SocketAddr;
use std::sync::Mutex;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::dns::Resolve as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;

const LIMITS: Limits = Limits { timeout: Duration::from_secs(5), max_body: 1000 };

/// What the server was asked: method and path, headers, body.
type Asked = Arc<Mutex<Vec<(String, HeaderMap, Vec<u8>)>>>;

fn router() -> (Router, Asked) {
    let asked = Asked::default();
    let router = Router::new().fallback(answer).with_state(Arc::clone(&asked));
    (router, asked)
}

async fn answer(State(asked): State<Asked>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 10_000).await.unwrap().to_vec();
    asked.lock().unwrap().push((format!("{} {}", parts.method, parts.uri), parts.headers, body));
    let path = parts.uri.path().strip_prefix('/').unwrap().to_owned();
    let (what, rest) = path.split_once('/').unwrap_or((&path, ""));
    let to =
        |place: &str| (StatusCode::FOUND, [(header::LOCATION, place.to_owned())]).into_response();
    match what {
        "hops" => match rest.parse::<u32>().unwrap() {
            0 => "there".into_response(),
            left => to(&format!("/hops/{}", left - 1)),
        },
        "to" => to(rest),
        "nowhere" => StatusCode::FOUND.into_response(),
        "status" => StatusCode::from_u16(rest.parse().unwrap()).unwrap().into_response(),
        "long" => "x".repeat(rest.parse().unwrap()).into_response(),
        "endless" => Body::from_stream(futures_util::stream::repeat_with(|| {
            Ok::<_, std::io::Error>("x".repeat(100))
        }))
        .into_response(),
        "stuck" => Body::from_stream(futures_util::stream::pending::<std::io::Result<String>>())
            .into_response(),
        "gzip" => ([(header::CONTENT_ENCODING, "gzip")], "x").into_response(),
        "silence" => std::future::pending().await,
        _ => "hello".into_response(),
    }
}

#[expect(clippy::disallowed_methods, reason = "ends with the runtime of its test")]
async fn plain() -> (SocketAddr, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (router, asked) = router();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, asked)
}

struct TlsListener(TcpListener, TlsAcceptor);

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, peer) = self.0.accept().await.unwrap();
            if let Ok(stream) = self.1.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn leaf(authority: &Authority, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

/// A server of that authority; it demands a certificate of the other one if there is one.
#[expect(clippy::disallowed_methods, reason = "ends with the runtime of its test")]
async fn tls(authority: &Authority, clients: Option<&Authority>) -> (SocketAddr, Asked) {
    use rustls::pki_types::pem::PemObject as _;
    let (chain, key) = leaf(authority, "localhost");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.der().clone()).unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots),
                provider,
            );
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let config = builder
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = TlsListener(listener, TlsAcceptor::from(Arc::new(config)));
    let (router, asked) = router();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, asked)
}

/// A proxy that answers plain questions itself and tunnels others to `target`, whatever name they give.
#[expect(clippy::disallowed_methods, reason = "ends with the runtime of its test")]
async fn proxy(target: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let tunnel = head.starts_with("CONNECT ");
            lines.lock().unwrap().push(head);
            if !tunnel {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nproxy")
                    .await
                    .unwrap();
                continue;
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let mut onward = TcpStream::connect(target).await.unwrap();
            tokio::spawn(async move {
                drop(tokio::io::copy_bidirectional(&mut stream, &mut onward).await);
            });
        }
    });
    (address, seen)
}

fn options() -> HttpOptions {
    HttpOptions { roots: Roots::Given(RootCertStore::empty()), ..HttpOptions::system() }
}

fn client() -> HttpClient {
    HttpClient::new(&options()).unwrap()
}

async fn get(client: &HttpClient, url: &str) -> Result<String, &'static str> {
    let answer = client.get(url, &[], LIMITS).await.map_err(|error| error.code())?;
    assert_eq!(answer.status, 200);
    Ok(String::from_utf8(answer.body).unwrap())
}

#[tokio::test]
async fn an_answer_comes_whole_whatever_its_status() {
    let (address, asked) = plain().await;
    let name = HeaderName::from_static("x-one");
    let headers = [(name, HeaderValue::from_static("1"))];
    let url = format!("http://localhost:{}/status/401?a=b", address.port());
    let answer = client().get(&url, &headers, LIMITS).await;
    assert_eq!(answer.map(|answer| answer.status), Ok(401));
    let (line, headers, _) = asked.lock().unwrap().pop().unwrap();
    assert_eq!(line, "GET /status/401?a=b");
    assert_eq!(headers["x-one"], "1");
    assert_eq!(headers["accept-encoding"], "identity");
    assert_eq!(get(&client(), &format!("http://{address}/")).await.unwrap(), "hello");
}

#[tokio::test]
async fn forms_and_json_are_sent_and_never_led_on() {
    let (address, asked) = plain().await;
    let form = [("token", "a+b/c= d&é"), ("hint", "access_token")];
    let url = format!("http://{address}/");
    client().post_form(&url, &form, &[], LIMITS).await.unwrap();
    let (line, headers, body) = asked.lock().unwrap().pop().unwrap();
    assert_eq!(line, "POST /");
    assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(body, b"token=a%2Bb%2Fc%3D%20d%26%C3%A9&hint=access_token");

    let json = serde_json::json!({ "spec": { "token": "t" } });
    client().post_json(&url, &json, &[], LIMITS).await.unwrap();
    let (_, headers, body) = asked.lock().unwrap().pop().unwrap();
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(body, br#"{"spec":{"token":"t"}}"#);

    let url = format!("http://{address}/hops/1");
    assert_eq!(client().post_form(&url, &form, &[], LIMITS).await.unwrap().status, 302);
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_redirect_is_judged_like_a_url() {
    let (address, asked) = plain().await;
    let (other, _) = plain().await;
    let url = |path: &str| format!("http://{address}/{path}");
    let ask = async |path: &str| get(&client(), &url(path)).await;
    assert_eq!(ask("hops/3").await.unwrap(), "there");
    assert_eq!(ask("hops/4").await, Err("redirect"));
    assert_eq!(ask("nowhere").await, Err("redirect"));
    assert_eq!(ask(&format!("to/http://{other}/")).await.unwrap(), "hello");
    for (place, code) in [
        ("http://169.254.169.254/latest", "forbidden_address"),
        ("http://[::ffff:169.254.169.254]/", "forbidden_address"),
        ("//2852039166/", "forbidden_address"),
        ("http://0.0.0.0/", "forbidden_address"),
        ("http://sso.example/", "insecure_uri"),
        ("http://user:password@127.0.0.1/", "invalid_uri"),
        ("https://127.0.0.1/", "redirect"),
        ("file:///etc/passwd", "redirect"),
    ] {
        assert_eq!(ask(&format!("to/{place}")).await, Err(code), "{place}");
    }

    // A credential stays with the origin it was meant for.
    let headers = [(header::AUTHORIZATION, HeaderValue::from_static("Bearer t"))];
    let answer = client().get(&url("hops/1"), &headers, LIMITS).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(asked.lock().unwrap().pop().unwrap().1["authorization"], "Bearer t");
    let elsewhere = url(&format!("to/http://{other}/"));
    let refused = client().get(&elsewhere, &headers, LIMITS).await.map(|answer| answer.status);
    assert_eq!(refused.unwrap_err().code(), "redirect");
}

#[tokio::test]
async fn every_answer_is_bounded() {
    let (address, _) = plain().await;
    let url = |path: &str| format!("http://{address}/{path}");
    assert_eq!(get(&client(), &url("long/1000")).await.unwrap().len(), 1000);
    assert_eq!(get(&client(), &url("long/1001")).await, Err("too_large"));
    assert_eq!(get(&client(), &url("endless")).await, Err("too_large"));
    assert_eq!(get(&client(), &url("gzip")).await, Err("encoded"));
    let limits = Limits { timeout: Duration::from_millis(100), max_body: 1000 };
    for path in ["silence", "stuck", "to//silence"] {
        let error = client().get(&url(path), &[], limits).await.map(|a| a.status).unwrap_err();
        assert_eq!(error, HttpError::Timeout(limits.timeout), "{path}");
    }
}

#[tokio::test]
async fn https_is_believed_only_under_the_given_roots() {
    let ours = authority("ours");
    let (address, _) = tls(&ours, None).await;
    let url = format!("https://localhost:{}/", address.port());
    let with = |ca: &Authority| HttpOptions { ca_pem: Some(ca.pem().into_bytes()), ..options() };
    let client = HttpClient::new(&with(&ours)).unwrap();
    assert_eq!(get(&client, &url).await.unwrap(), "hello");
    // Another name than the certificate's.
    let by_address = format!("https://{address}/");
    assert_eq!(get(&client, &by_address).await, Err("unreachable"));

    // Given certificates replace all other roots.
    let mut store = RootCertStore::empty();
    store.add(ours.der().clone()).unwrap();
    let roots = Roots::Given(store);
    let client = HttpClient::new(&HttpOptions { roots: roots.clone(), ..options() }).unwrap();
    assert_eq!(get(&client, &url).await.unwrap(), "hello");
    let theirs = HttpOptions { roots, ..with(&authority("theirs")) };
    for refused in [options(), HttpOptions::system(), theirs] {
        let client = HttpClient::new(&refused).unwrap();
        assert!(matches!(get(&client, &url).await, Err("unreachable" | "no_roots")));
    }
    for pem in ["", "text", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let broken = HttpOptions { ca_pem: Some(pem.into()), ..options() };
        assert_eq!(HttpClient::new(&broken).map(drop).unwrap_err().code(), "invalid_ca", "{pem}");
    }
}

#[tokio::test]
async fn a_client_certificate_is_presented() {
    let (servers, clients) = (authority("servers"), authority("clients"));
    let (address, _) = tls(&servers, Some(&clients)).await;
    let url = format!("https://localhost:{}/", address.port());
    let options = HttpOptions { ca_pem: Some(servers.pem().into_bytes()), ..options() };
    assert_eq!(get(&HttpClient::new(&options).unwrap(), &url).await, Err("unreachable"));
    let (chain, key) = leaf(&clients, "us");
    let identity = |key: &str| {
        let key_pem = Zeroizing::new(key.as_bytes().to_vec());
        Some(ClientIdentity { chain_pem: chain.clone().into_bytes(), key_pem })
    };
    let known = HttpOptions { identity: identity(&key), ..options.clone() };
    assert_eq!(get(&HttpClient::new(&known).unwrap(), &url).await.unwrap(), "hello");
    for wrong in ["", &leaf(&clients, "other").1] {
        let broken = HttpOptions { identity: identity(wrong), ..options.clone() };
        let error = HttpClient::new(&broken).map(drop).unwrap_err();
        assert_eq!(error.code(), "invalid_identity");
    }
}

#[tokio::test]
async fn everything_but_loopback_goes_through_the_proxy() {
    let ours = authority("ours");
    let (secure, _) = tls(&ours, None).await;
    let (local, _) = plain().await;
    let (proxy, seen) = proxy(secure).await;
    let options = HttpOptions {
        ca_pem: Some(ours.pem().into_bytes()),
        proxy: Some(format!("http://us:hunter2@{proxy}")),
        plaintext_hosts: vec!["sso.invalid".to_owned()],
        ..options()
    };
    let client = HttpClient::new(&options).unwrap();
    assert_eq!(get(&client, "http://sso.invalid/keys").await.unwrap(), "proxy");
    let head = seen.lock().unwrap().pop().unwrap().to_ascii_lowercase();
    assert!(head.starts_with("get http://sso.invalid/keys "), "{head}");
    assert!(head.contains("proxy-authorization: basic dxm6ahvudgvymg=="), "{head}");

    // The tunnel leads to a server of another name, whose certificate is not believed.
    let url = "https://sso.invalid/keys";
    assert_eq!(get(&client, url).await, Err("unreachable"));
    let head = seen.lock().unwrap().pop().unwrap();
    assert!(head.starts_with("CONNECT sso.invalid:443 "), "{head}");

    assert_eq!(get(&client, &format!("http://{local}/")).await.unwrap(), "hello");
    assert_eq!(get(&client, "https://169.254.169.254/").await, Err("forbidden_address"));
    assert!(seen.lock().unwrap().is_empty());

    // A proxy that is not there, whose password is not told either.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let away = Some(format!("http://us:hunter2@{free}"));
    let client = HttpClient::new(&HttpOptions { proxy: away, ..options.clone() }).unwrap();
    for url in ["http://sso.invalid/keys?hunter2", "https://sso.invalid/keys?hunter2"] {
        let error = client.get(url, &[], LIMITS).await.map(|answer| answer.status).unwrap_err();
        assert_eq!(error.code(), "unreachable");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }

    for (proxy, code) in [
        ("socks5://127.0.0.1:1", "invalid_proxy"),
        ("user:hunter2@proxy", "invalid_proxy"),
        ("", "invalid_proxy"),
        ("http://169.254.169.254:80", "forbidden_address"),
    ] {
        let broken = HttpOptions { proxy: Some(proxy.to_owned()), ..options.clone() };
        let error = HttpClient::new(&broken).map(drop).unwrap_err();
        assert_eq!(error.code(), code, "{proxy}");
        assert!(!error.to_string().contains("hunter2"));
    }
}

#[tokio::test]
async fn a_name_is_judged_by_what_it_resolved_to() {
    let strict = Guard::new(&[], &[]);
    for forbidden in ["169.254.169.254", "0.0.0.0", "100.100.100.200"] {
        let Err(error) = strict.resolve(forbidden.parse().unwrap()).await else {
            panic!("{forbidden} is dialled")
        };
        assert!(error.is::<ForbiddenName>(), "{error}");
    }
    let found = strict.resolve("10.0.0.1".parse().unwrap()).await;
    assert_eq!(found.map_err(|e| e.to_string()).unwrap().count(), 1);
    let listed = Guard::new(&["169.254.0.0/16".parse().unwrap()], &[]);
    let found = listed.resolve("169.254.169.254".parse().unwrap()).await;
    assert_eq!(found.map_err(|e| e.to_string()).unwrap().count(), 1);
}
