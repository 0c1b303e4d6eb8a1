//! A real sidecar on a unix socket, and a tonic client that asks it.

use std::time::{Duration, SystemTime};

use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use hopgate::runtime::{Address, Clock};
use hopgate::sidecar::{Bound, Config};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint, Uri};

use super::Scratch;

/// A running sidecar without certificates.
pub struct Sidecar {
    pub scratch: Scratch,
    pub client: AuthorizationClient<Channel>,
    pub admin: Address,
    pub authz: Address,
    /// The same over TCP.
    tcp: Address,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), hopgate::runtime::TaskEnded>>,
}

impl Sidecar {
    /// Starts with these resource files.
    pub async fn start(name: &str, files: &[(&str, &str)]) -> Self {
        Self::start_with(name, files, "").await
    }

    /// The same with more under `extAuthz`, in flow style.
    pub async fn start_with(name: &str, files: &[(&str, &str)], ext_authz: &str) -> Self {
        // A second test finds it installed.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let scratch = Scratch::new(name);
        for (file, text) in files {
            scratch.write(&format!("resources/{file}"), text);
        }
        let config = format!(
            "workload: {{ trustDomain: test.mesh, namespace: shop, serviceAccount: orders, labels: {{ app: orders }} }}\n\
             resources: [resources]\n\
             extAuthz: {{ listen: [\"unix:authz.sock\", \"127.0.0.1:0\"]{ext_authz} }}\n\
             admin: {{ listen: \"127.0.0.1:0\" }}\n\
             decisionLog: {{ path: decisions.log }}\n"
        );
        let config = scratch.write("sidecar.yaml", &config);
        let config: Config = hopgate::config::sidecar(&config, Default::default()).unwrap();
        let bound = Bound::build(config, Clock::system()).await.unwrap();
        let addresses = bound.addresses().clone();
        let (admin, authz) = (addresses.admin, addresses.ext_authz[0].clone());
        let tcp = addresses.ext_authz[1].clone();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(bound.run(async { drop(stopped.await) }));
        let client = AuthorizationClient::new(channel(&authz));
        Self { scratch, client, admin, authz, tcp, stop, ended }
    }

    pub async fn ask(&mut self, request: CheckRequest) -> CheckResponse {
        self.client.check(request).await.expect("never a gRPC error").into_inner()
    }

    /// Where it answers over TCP.
    pub fn tcp(&self) -> &Address {
        &self.tcp
    }

    /// Stops it and returns the decision log.
    pub async fn stop(self) -> String {
        let _stopped = self.stop.send(());
        drop(self.client);
        self.ended.await.unwrap().unwrap();
        std::fs::read_to_string(self.scratch.path().join("decisions.log")).unwrap()
    }

    /// A page of the admin server, as (status, text).
    pub async fn page(&self, path: &str) -> (u16, String) {
        page(&self.admin, path).await
    }
}

/// A page over HTTP.
pub async fn page(admin: &Address, path: &str) -> (u16, String) {
    let answer = reqwest::get(format!("http://{admin}{path}")).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// A lazy channel to a unix socket or a TCP address.
pub fn channel(address: &Address) -> Channel {
    let address = address.clone();
    Endpoint::from_static("http://authz").connect_with_connector_lazy(tower::service_fn(
        move |_: Uri| {
            let address = address.clone();
            async move { address.connect().await.map(hyper_util::rt::TokioIo::new) }
        },
    ))
}

/// A GET with these headers, in raw mode, from nobody.
pub fn get(path: &str, headers: &[(&str, &str)]) -> CheckRequest {
    http("GET", path, headers)
}

/// A request in raw mode, as the generated bootstrap makes Envoy send it.
pub fn http(method: &str, path: &str, headers: &[(&str, &str)]) -> CheckRequest {
    let pseudo = [(":method", method), (":path", path), (":authority", "orders.shop")];
    let headers = pseudo
        .iter()
        .chain(headers)
        .map(|(key, value)| HeaderValue {
            key: (*key).into(),
            raw_value: (*value).into(),
            ..HeaderValue::default()
        })
        .collect();
    request(HttpRequest {
        method: method.into(),
        path: path.into(),
        host: "orders.shop".into(),
        header_map: Some(HeaderMap { headers }),
        ..HttpRequest::default()
    })
}

pub fn request(http: HttpRequest) -> CheckRequest {
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(Peer::default()),
            request: Some(Request { time: None, http: Some(http) }),
            ..AttributeContext::default()
        }),
    }
}

/// The same request from a workload with a valid certificate.
pub fn from_peer(mut request: CheckRequest, id: &str) -> CheckRequest {
    let sans = vec![rcgen::SanType::URI(id.try_into().unwrap())];
    let end = SystemTime::now() + Duration::from_secs(3600);
    let source = request.attributes.as_mut().unwrap().source.as_mut().unwrap();
    source.principal = id.into();
    source.certificate = super::issuer::certificate(sans, end);
    request
}

/// What an answer means to Envoy 1.40: decided by `status.code` alone.
#[derive(Debug)]
pub struct Meaning {
    pub allowed: bool,
    pub status: i32,
    pub headers: Vec<(String, String)>,
    pub removed: Vec<String>,
    pub body: String,
    pub metadata: std::collections::BTreeMap<String, String>,
}

impl Meaning {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

pub fn meaning(response: CheckResponse) -> Meaning {
    let code = response.status.as_ref().map_or(0, |status| status.code);
    let metadata = response
        .dynamic_metadata
        .unwrap_or_default()
        .fields
        .into_iter()
        .map(|(name, value)| {
            use envoy_types::pb::google::protobuf::value::Kind;
            let Some(Kind::StringValue(text)) = value.kind else { panic!("text") };
            (name, text)
        })
        .collect();
    let mut meaning = Meaning {
        allowed: code == 0,
        status: 200,
        headers: Vec::new(),
        removed: Vec::new(),
        body: String::new(),
        metadata,
    };
    let options = match response.http_response {
        Some(HttpResponse::OkResponse(ok)) => {
            assert_eq!(code, 0, "ok_response beside a refusing status");
            meaning.removed = ok.headers_to_remove;
            ok.headers
        }
        Some(HttpResponse::DeniedResponse(denied)) => {
            assert_ne!(code, 0, "denied_response beside code 0 allows");
            meaning.status = denied.status.unwrap().code;
            meaning.body = denied.body;
            denied.headers
        }
        other => panic!("neither ok nor denied: {other:?}"),
    };
    for option in options {
        #[allow(deprecated, reason = "Envoy 1.40 obeys it")]
        let append = option.append.unwrap().value;
        assert!(!append && option.append_action == 2, "headers overwrite");
        let header = option.header.unwrap();
        assert!(header.raw_value.is_empty(), "Envoy 1.40 ignores raw_value");
        meaning.headers.push((header.key, header.value));
    }
    for (name, _) in &meaning.headers {
        assert!(!meaning.removed.contains(name), "{name} is set and removed: removed wins");
    }
    meaning
}
