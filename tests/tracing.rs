//! Traces by OTLP: a real sidecar process exports to a collector, and its spans are children of the caller's.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hopgate::runtime::Address;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use crate::support::Scratch;
use crate::support::ask::{channel, get, meaning};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

struct Collector(mpsc::UnboundedSender<Span>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                self.0.send(span).unwrap();
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test]
async fn a_check_is_a_span_in_the_callers_trace() {
    let (sender, mut spans) = mpsc::unbounded_channel();
    let listener = Address::Tcp("127.0.0.1:0".parse().unwrap()).bind().await.unwrap();
    let collector = listener.address().unwrap();
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(Collector(sender)))
            .serve_with_incoming(listener.incoming()),
    );
    let scratch = Scratch::new("tracing");
    scratch.write(
        "orders.yaml",
        "apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: orders, namespace: shop }\n\
         spec:\n  rules:\n    - name: open\n      allow: { requests: [{ paths: [\"/open\"] }] }\n",
    );
    let config = scratch.write(
        "sidecar.yaml",
        &format!(
            "workload: {{ trustDomain: test.mesh, namespace: shop, serviceAccount: orders }}\n\
             resources: [orders.yaml]\nextAuthz: {{ listen: [\"unix:authz.sock\"] }}\n\
             admin: {{ listen: \"unix:admin.sock\" }}\ndecisionLog: {{ path: decisions.log }}\n\
             tracing: {{ otlpEndpoint: \"http://{collector}\" }}\n"
        ),
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .args(["sidecar", "--config"])
        .arg(&config)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let authz = Address::Unix(scratch.path().join("authz.sock"));
    let deadline = Instant::now() + Duration::from_secs(20);
    while authz.connect().await.is_err() {
        assert!(Instant::now() < deadline, "the sidecar does not start");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut client =
        envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient::new(
            channel(&authz),
        );
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let allowed = client.check(get("/open", &[("traceparent", &parent)])).await.unwrap();
    assert!(meaning(allowed.into_inner()).allowed);
    let unsampled = format!("00-{TRACE}-{PARENT}-00");
    drop(client.check(get("/open", &[("traceparent", &unsampled)])).await.unwrap());
    let refused = client.check(get("/closed", &[("traceparent", "junk")])).await.unwrap();
    assert!(!meaning(refused.into_inner()).allowed);
    drop(client);
    // Stopping sends what is left.
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert_eq!(status.code(), Some(0));

    let mut seen = Vec::new();
    while let Ok(span) = spans.try_recv() {
        seen.push(span);
    }
    assert_eq!(seen.len(), 2, "the caller that is not sampled is not exported: {seen:?}");
    let joined = seen.iter().find(|span| hex(&span.trace_id) == TRACE).expect("joined");
    assert_eq!(hex(&joined.parent_span_id), PARENT);
    assert_eq!(attribute(joined, "rule.name"), "shop/orders#open");
    let root = seen.iter().find(|span| hex(&span.trace_id) != TRACE).expect("a root of its own");
    assert!(root.parent_span_id.is_empty());
    assert_eq!(attribute(root, "decision"), "deny");
    let log = std::fs::read_to_string(scratch.path().join("decisions.log")).unwrap();
    assert!(log.lines().next().unwrap().contains(&format!("\"trace.id\":\"{TRACE}\"")), "{log}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn attribute(span: &Span, name: &str) -> String {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let found = span.attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        other => panic!("{name}: {other:?} in {span:?}"),
    }
}
