//! Sessions are not resumed: a ticket would let a certificate in past its end.

use std::sync::Arc;

use hopgate::identity::{AnyServer, JudgedServer};
use rustls::HandshakeKind;
use rustls::client::Resumption;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::service::Service;
use super::workload::{ORDERS, SERVER, WEB, Workload, get};
use crate::support::pki;

/// A client that would resume with any ticket it was ever given, whatever its certificate has come to.
fn connector(leaf: &pki::Leaf, tickets: &Resumption) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(leaf.key.serialize_der()).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(JudgedServer::new(AnyServer))
        .with_client_auth_cert(vec![leaf.certificate.clone()], key)
        .unwrap();
    config.resumption = tickets.clone();
    TlsConnector::from(Arc::new(config))
}

/// How a connection was made, and what an open path says on it.
async fn visit(
    http: std::net::SocketAddr,
    connector: &TlsConnector,
) -> std::io::Result<(HandshakeKind, u16)> {
    let name = ServerName::try_from("http.hopgate.internal").unwrap();
    let mut stream = connector.connect(name, TcpStream::connect(http).await?).await?;
    let status = get(&mut stream, "/open").await?.0;
    Ok((stream.get_ref().1.handshake_kind().unwrap(), status))
}

#[tokio::test]
async fn an_expired_certificate_does_not_come_back_by_a_ticket() {
    let ca = pki::ca();
    let sds = Service::start(Some(ca.identity(ORDERS))).await;
    let server = Workload::start(ORDERS, SERVER, sds.socket()).await;
    server.envoy.live().await;
    let http = server.envoy.listener("inbound|http").await;
    // The same Envoy with resumption left on, to see that the attack is one.
    let open = |bootstrap: serde_json::Value| {
        let off = r#""disable_stateless_session_resumption":true"#;
        let text = bootstrap.to_string();
        assert!(text.contains(off));
        serde_json::from_str(&text.replace(off, &off.replace("true", "false"))).unwrap()
    };
    let weak = Workload::start_changed(ORDERS, SERVER, sds.socket(), open).await;
    weak.envoy.live().await;
    let weak = weak.envoy.listener("inbound|http").await;

    let (now, second) = (std::time::SystemTime::now(), std::time::Duration::from_secs(1));
    let leaf = ca.leaf_between(WEB, now - 3600 * second, now + 8 * second);
    for (address, resumes) in [(weak, true), (http, false)] {
        let tickets = Resumption::in_memory_sessions(16);
        let client = connector(&leaf, &tickets);
        let first = visit(address, &client).await.unwrap();
        assert!(first.0 != HandshakeKind::Resumed && first.1 == 200, "{first:?}");
        let again = visit(address, &client).await.unwrap();
        assert_eq!(again.0 == HandshakeKind::Resumed, resumes, "{again:?}");
        if !resumes {
            // The certificate ends, by the clock that Envoy goes by.
            let left = (now + 9 * second).duration_since(std::time::SystemTime::now());
            tokio::time::sleep(left.unwrap_or_default()).await;
            assert!(visit(address, &client).await.is_err(), "an expired certificate came in");
        }
    }
}

/// A client Envoy offers no session either.
#[tokio::test]
async fn an_envoy_that_calls_resumes_nothing() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let ca = pki::ca();
    let sds = Service::start(Some(ca.identity(WEB))).await;
    let leaf = ca.leaf(ORDERS);
    let key = PrivateKeyDer::try_from(leaf.key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    // A server that gives tickets to whoever takes them.
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.certificate.clone()], key)
        .unwrap();
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let (sender, mut kinds) = tokio::sync::mpsc::channel(16);
    let serving = tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(mut tls) = acceptor.accept(tcp).await else { continue };
            sender.send(tls.get_ref().1.handshake_kind().unwrap()).await.unwrap();
            let mut request = [0; 2048];
            drop(tls.read(&mut request).await);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            drop(tls.write_all(answer).await);
            drop(tls.shutdown().await);
        }
    });
    let section = format!(
        r#"
admin: "unix:DIRECTORY/admin.sock"
outbound:
  - {{ name: orders, listen: "127.0.0.1:0", upstream: ["{upstream}"], identities: [ns/shop/sa/orders] }}
"#
    );
    let client = Workload::start(WEB, &section, sds.socket()).await;
    client.envoy.live().await;
    let door = client.envoy.listener("outbound|orders").await;
    for _ in 0..3 {
        let mut stream = TcpStream::connect(door).await.unwrap();
        assert_eq!(get(&mut stream, "/").await.unwrap().0, 200);
        assert_eq!(kinds.recv().await, Some(HandshakeKind::Full));
    }
    serving.abort();
}
