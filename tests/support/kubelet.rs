//! A node without containers: a real API server takes it for a kubelet, and forwards the ports of its pods to it
//! (`pods/portforward`, over WebSocket with the channels of `v4.channel.k8s.io`). Behind each port of a pod is what the test
//! says.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use k8s_openapi::api::core::v1 as core;
use kube::api::{Api, Patch, PatchParams, PostParams};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use super::kube::Namespace;

const PROTOCOL: &str = "v4.channel.k8s.io";

type Ports = Arc<Mutex<HashMap<(String, u16), SocketAddr>>>;

/// A node, in this test's runtime.
pub struct Kubelet {
    pub node: String,
    ports: Ports,
    task: tokio::task::JoinHandle<()>,
}

impl Kubelet {
    /// A node whose name begins with that of the namespace.
    pub async fn start(namespace: &Namespace) -> Self {
        let node = format!("{}-node", namespace.name);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let nodes: Api<core::Node> = Api::all(namespace.client.clone());
        let object = serde_json::from_value(json!({ "metadata": { "name": node } })).unwrap();
        nodes.create(&PostParams::default(), &object).await.unwrap();
        let status = json!({ "status": {
            "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": port } },
        } });
        nodes.patch_status(&node, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        let ports = Ports::default();
        let task = tokio::spawn(accept(listener, acceptor(), Arc::clone(&ports)));
        Self { node, ports, task }
    }

    /// What is behind a port of a pod.
    pub fn forward(&self, pod: &str, port: u16, to: SocketAddr) {
        self.ports.lock().unwrap().insert((pod.to_owned(), port), to);
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// This API server does not verify kubelets.
fn acceptor() -> TlsAcceptor {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[expect(clippy::result_large_err, reason = "the library says what a handshake comes to")]
async fn accept(listener: TcpListener, acceptor: TlsAcceptor, ports: Ports) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let (acceptor, ports) = (acceptor.clone(), Arc::clone(&ports));
        tokio::spawn(async move {
            let Ok(tls) = acceptor.accept(tcp).await else { return };
            let mut path = String::new();
            let socket = tokio_tungstenite::accept_hdr_async(
                tls,
                |request: &Request, mut response: Response| {
                    path = request.uri().to_string();
                    let protocol = PROTOCOL.parse().unwrap();
                    response.headers_mut().insert("sec-websocket-protocol", protocol);
                    Ok(response)
                },
            );
            let Ok(mut socket) = socket.await else { return };
            // /portForward/NAMESPACE/POD?port=PORT
            let (path, query) = path.split_once('?').unwrap();
            let pod = path.rsplit('/').next().unwrap().to_owned();
            let port: u16 = query.rsplit('=').next().unwrap().parse().unwrap();
            let port_bytes = port.to_le_bytes();
            for channel in [0, 1] {
                let first = [&[channel], port_bytes.as_slice()].concat();
                socket.send(Message::Binary(first.into())).await.unwrap();
            }
            let to = ports.lock().unwrap().get(&(pod, port)).copied();
            let stream = match to {
                Some(to) => TcpStream::connect(to).await.map_err(|error| error.to_string()),
                None => Err(format!("nothing listens on port {port} of the pod")),
            };
            let stream = match stream {
                Ok(stream) => stream,
                Err(words) => {
                    let words = [&[1], words.as_bytes()].concat();
                    drop(socket.send(Message::Binary(words.into())).await);
                    drop(socket.close(None).await);
                    return;
                }
            };
            let (mut from_pod, mut to_pod) = stream.into_split();
            let mut buffer = vec![0; 16 * 1024];
            loop {
                tokio::select! {
                    message = socket.next() => match message {
                        Some(Ok(Message::Binary(bytes))) if bytes.first() == Some(&0) => {
                            if to_pod.write_all(&bytes[1..]).await.is_err() { break; }
                        }
                        Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                        Some(Ok(_)) => {}
                    },
                    read = from_pod.read(&mut buffer) => match read {
                        Ok(0) | Err(_) => break,
                        Ok(length) => {
                            let frame = [&[0], &buffer[..length]].concat();
                            if socket.send(Message::Binary(Bytes::from(frame))).await.is_err() { break; }
                        }
                    },
                }
            }
            drop(socket.close(None).await);
        });
    }
}
