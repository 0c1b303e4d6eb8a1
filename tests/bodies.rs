//! Bodies of each kind through a real Envoy, judged by rules that ask about them.

use std::net::SocketAddr;

use hopgate::identity::SpiffeId;
use hopgate::mesh::{self, Endpoint, ForwardedCertificates};
use hopgate::runtime::Address;
use http_body_util::StreamBody;
use hyper::body::Frame;
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    MethodDescriptorProto, ServiceDescriptorProto,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::Scratch;
use crate::support::ask::Sidecar;
use crate::support::envoy::Envoy;

const POLICY: &str = r#"
apiVersion: hopgate.dev/v1alpha1
kind: AccessPolicy
metadata: { name: orders, namespace: shop }
spec:
  rules:
    - name: small-orders
      allow:
        requests: [{ methods: [POST], paths: ["/json"] }]
        when: request.body.amount < 100
    - name: form
      allow:
        requests: [{ methods: [POST], paths: ["/form"] }]
        when: request.body.amount == "5"
    - name: upload
      allow:
        requests: [{ methods: [POST], paths: ["/upload"] }]
        when: request.body.note == "ok" && request.body.scan.size < 10
    - name: small-orders-by-grpc
      allow:
        requests: [{ methods: [POST], paths: ["/shop.Orders/Place"] }]
        when: request.body.amount < 100
"#;

const MAX_BYTES: usize = 4096;

/// Two doors to one application: one hands bodies to the gate, the other does not.
struct Doors {
    reads: SocketAddr,
    blind: SocketAddr,
    envoy: Envoy,
    sidecar: Sidecar,
    _descriptors: Scratch,
    _tasks: JoinSet<()>,
}

fn descriptors() -> Vec<u8> {
    let amount = FieldDescriptorProto {
        name: Some("amount".to_owned()),
        number: Some(1),
        r#type: Some(Type::Int64.into()),
        label: Some(Label::Optional.into()),
        ..FieldDescriptorProto::default()
    };
    let method = MethodDescriptorProto {
        name: Some("Place".to_owned()),
        input_type: Some(".shop.Order".to_owned()),
        output_type: Some(".shop.Order".to_owned()),
        ..MethodDescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("shop.proto".to_owned()),
        package: Some("shop".to_owned()),
        syntax: Some("proto3".to_owned()),
        message_type: vec![DescriptorProto {
            name: Some("Order".to_owned()),
            field: vec![amount],
            ..DescriptorProto::default()
        }],
        service: vec![ServiceDescriptorProto {
            name: Some("Orders".to_owned()),
            method: vec![method],
            ..ServiceDescriptorProto::default()
        }],
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}

impl Doors {
    async fn start(larger: &str) -> Self {
        let held = Scratch::new("bodies-descriptors");
        let file = held.path().join("shop.pb");
        std::fs::write(&file, descriptors()).unwrap();
        let name = format!("bodies-{larger}");
        let extra = format!(", grpcDescriptors: {}", file.display());
        let sidecar = Sidecar::start_with(&name, &[("policy.yaml", POLICY)], &extra).await;
        let Address::Unix(authz) = &sidecar.authz else { panic!("not a unix socket") };
        let mut tasks = JoinSet::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app = listener.local_addr().unwrap();
        let router = axum::Router::new().fallback(|body: bytes::Bytes| async move {
            axum::Json(json!({ "received": body.len() }))
        });
        tasks.spawn(async { axum::serve(listener, router).await.unwrap() });
        let directory = sidecar.scratch.path();
        let body = json!({ "maxBytes": MAX_BYTES, "larger": larger });
        let config = json!({
            "admin": format!("unix:{}", directory.join("admin.sock").display()),
            "edge": [
                { "name": "reads", "listen": "127.0.0.1:0", "app": app, "requestBody": body },
                { "name": "blind", "listen": "127.0.0.1:0", "app": app },
            ],
        });
        let mesh = mesh::Mesh::new(
            serde_saphyr::from_str(&config.to_string()).unwrap(),
            mesh::Sidecar {
                identity: SpiffeId::parse("spiffe://test.mesh/ns/shop/sa/orders").unwrap(),
                // Nobody listens there: these listeners need no certificate.
                sds: Endpoint::Unix(directory.join("sds.sock")),
                authz: Endpoint::Unix(authz.clone()),
                tokens: None,
                forwarded: ForwardedCertificates::Replaced,
                aliases: Vec::new(),
            },
        );
        let envoy = Envoy::start(directory, &mesh::bootstrap(&mesh.unwrap()));
        let reads = envoy.listener("edge|reads").await;
        let blind = envoy.listener("edge|blind").await;
        Self { reads, blind, envoy, sidecar, _descriptors: held, _tasks: tasks }
    }

    /// The status, and how many bytes the application received.
    async fn post(
        &self,
        door: SocketAddr,
        (path, headers): (&str, &[(&str, &str)]),
        body: impl Into<reqwest::Body>,
    ) -> (u16, Option<u64>) {
        let client = if path.starts_with("/shop.Orders") {
            reqwest::Client::builder().http2_prior_knowledge().build().unwrap()
        } else {
            reqwest::Client::new()
        };
        let mut request = client.post(format!("http://{door}{path}")).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap_or_else(|error| {
            panic!("Envoy does not answer: {error}\n{}", self.envoy.log());
        });
        let status = answer.status().as_u16();
        let denied = answer.headers().contains_key("grpc-status");
        let received = answer.json::<Value>().await.ok().and_then(|v| v["received"].as_u64());
        (if denied { 403 } else { status }, received)
    }

    /// The reasons in the decision log, in the order of the requests; `-` for a request that passed.
    async fn reasons(self) -> Vec<String> {
        let log = self.sidecar.stop().await;
        let read = |line| -> Value { serde_json::from_str(line).unwrap() };
        log.lines().map(|line| read(line)["reason"].as_str().unwrap_or("-").to_owned()).collect()
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const GRPC: (&str, &str) = ("content-type", "application/grpc");

/// Path, headers, body and the status that comes back.
type Case = (&'static str, Vec<(&'static str, &'static str)>, Vec<u8>, u16);

fn multipart(note: &str, file: &[u8]) -> Vec<u8> {
    let mut body = format!(
        "--B\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\n{note}\r\n\
         --B\r\nContent-Disposition: form-data; name=\"scan\"; filename=\"a.bin\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(file);
    body.extend_from_slice(b"\r\n--B--\r\n");
    body
}

fn order(compressed: u8, amount: u8) -> Vec<u8> {
    vec![compressed, 0, 0, 0, 2, 0x08, amount]
}

#[tokio::test]
async fn rules_read_bodies_of_every_kind() {
    let doors = Doors::start("HandOnBeginning").await;
    let form_data = ("content-type", "multipart/form-data; boundary=B");
    let cases: Vec<Case> = vec![
        ("/json", vec![JSON], br#"{"amount":99}"#.to_vec(), 200),
        ("/json", vec![JSON], br#"{"amount":100}"#.to_vec(), 403),
        ("/json", vec![JSON], br#"{"amount":1,"amount":1}"#.to_vec(), 403),
        ("/json", vec![JSON], br#"{"amount":1,"Amount":1000}"#.to_vec(), 403),
        ("/json", vec![JSON], br#"{"amount":1"#.to_vec(), 403),
        ("/json", vec![JSON], b"\xff\xfe".to_vec(), 403),
        ("/json", vec![JSON, ("content-encoding", "gzip")], br#"{"amount":1}"#.to_vec(), 403),
        ("/json", vec![FORM], br#"{"amount":1}"#.to_vec(), 403),
        ("/form", vec![FORM], b"amount=5&b=c".to_vec(), 200),
        ("/form", vec![FORM], b"amount=6".to_vec(), 403),
        ("/form", vec![FORM], b"amount=5&amount=5".to_vec(), 403),
        ("/upload", vec![form_data], multipart("ok", b"\0\xff"), 200),
        ("/upload", vec![form_data], multipart("ok", &[0; 10]), 403),
        ("/upload", vec![form_data], multipart("no", b"\0\xff"), 403),
        ("/shop.Orders/Place", vec![GRPC, ("te", "trailers")], order(0, 99), 200),
        ("/shop.Orders/Place", vec![GRPC, ("te", "trailers")], order(0, 100), 403),
        ("/shop.Orders/Place", vec![GRPC, ("te", "trailers")], order(1, 99), 403),
    ];
    for (path, headers, body, expected) in cases {
        let length = u64::try_from(body.len()).unwrap();
        let shown = String::from_utf8_lossy(&body).into_owned();
        let (status, received) = doors.post(doors.reads, (path, &headers), body).await;
        assert_eq!(status, expected, "{path} {headers:?} {shown}");
        // The application receives all of what was judged.
        assert_eq!(received, (expected == 200).then_some(length), "{path} {shown}");
    }
    let reasons = doors.reasons().await;
    assert_eq!(reasons.iter().filter(|reason| *reason == "-").count(), 4);
    for reason in [
        "the rule asks for the body, which cannot be read: the body names a member twice",
        "the rule asks for the body, which cannot be read: the body names two members that differ in case only",
        "the rule asks for the body, which cannot be read: the body is compressed",
        "the rule asks for the body, which cannot be read: the gRPC message is compressed",
    ] {
        assert!(reasons.iter().any(|told| told == reason), "{reason}: {reasons:#?}");
    }
}

#[tokio::test]
async fn what_did_not_come_whole_is_no_body_whatever_the_client_says() {
    let doors = Doors::start("HandOnBeginning").await;
    let padded = |length: usize| {
        let head = br#"{"amount":1,"pad":""#;
        let mut body = head.to_vec();
        body.resize(length - 2, b'a');
        body.extend_from_slice(b"\"}");
        body
    };
    let spoofed = [JSON, ("x-envoy-auth-partial-body", "false")];
    for (why, headers, length, expected) in [
        ("as long as it may be", &[JSON][..], MAX_BYTES, 200),
        ("longer", &[JSON], MAX_BYTES + 1, 403),
        ("much longer", &[JSON], 300_000, 403),
        ("longer, and said to be whole", &spoofed, MAX_BYTES + 1, 403),
        ("whole, and said to be", &spoofed, 100, 200),
        ("whole, and said not to be", &[JSON, ("x-envoy-auth-partial-body", "true")], 100, 200),
    ] {
        let (status, _) = doors.post(doors.reads, ("/json", headers), padded(length)).await;
        assert_eq!(status, expected, "{why}");
    }
    // Nothing of it, in chunks, and through the door that hands on nothing.
    assert_eq!(doors.post(doors.reads, ("/json", &spoofed), "").await.0, 403);
    let chunks = [&br#"{"amou"#[..], br#"nt":1}"#]
        .map(|chunk| Ok::<_, std::io::Error>(Frame::data(bytes::Bytes::from_static(chunk))));
    let chunked = StreamBody::new(futures_util::stream::iter(chunks));
    let chunked = reqwest::Body::wrap(chunked);
    assert_eq!(doors.post(doors.reads, ("/json", &[JSON]), chunked).await.0, 200);
    for headers in [&[JSON][..], &spoofed] {
        assert_eq!(doors.post(doors.blind, ("/json", headers), r#"{"amount":1}"#).await.0, 403);
    }
    let reasons = doors.reasons().await;
    let beginning = "the rule asks for the body, of which only the beginning was handed on";
    let none = "the rule asks for the body, and none was handed on";
    let count = |text: &str| reasons.iter().filter(|reason| *reason == text).count();
    assert_eq!(count(beginning), 5, "{reasons:#?}");
    assert!(count(none) >= 1, "{reasons:#?}");
}

#[tokio::test]
async fn envoy_itself_refuses_larger_bodies_where_it_is_told_to() {
    let doors = Doors::start("Refuse").await;
    let body = |length: usize| format!("{{\"amount\":1,\"pad\":\"{}\"}}", "a".repeat(length));
    assert_eq!(doors.post(doors.reads, ("/json", &[JSON]), body(100)).await.0, 200);
    assert_eq!(doors.post(doors.reads, ("/json", &[JSON]), body(MAX_BYTES)).await.0, 413);
    assert_eq!(doors.reasons().await.len(), 1, "the gate never saw the second");
}
