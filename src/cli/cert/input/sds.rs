//! Secrets that a sidecar serves to its Envoy. The private keys among them are wiped unread.

use std::path::Path;

use anyhow::Context as _;
use envoy_types::pb::envoy::config::core::v3::{DataSource, Node, data_source::Specifier};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    Secret, SpiffeCertValidatorConfig, secret,
};
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use hyper_util::rt::TokioIo;
use prost::Message as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tonic::transport::{Channel, Endpoint};
use zeroize::Zeroize as _;

use super::{Group, GroupKind, Loaded, ReadArgs};
use crate::identity::TrustDomain;
use crate::runtime::Address;
use crate::xds::SECRET_TYPE;

pub(super) async fn ask(path: &Path, args: &ReadArgs) -> anyhow::Result<Loaded> {
    let channel = connect(path).await?;
    let (mut groups, mut notes) = (Vec::new(), Vec::new());
    for name in &args.secret {
        match tokio::time::timeout(args.timeout, one(channel.clone(), name)).await {
            Ok(answer) => groups.extend(read(name, answer?)?),
            Err(_) => notes.push(format!("no secret {name:?} came within {:?}", args.timeout)),
        }
    }
    anyhow::ensure!(!groups.is_empty(), "no secret with a certificate came: {}", notes.join("; "));
    Ok(Loaded { place: String::new(), form: "SDS", groups, notes })
}

async fn connect(path: &Path) -> anyhow::Result<Channel> {
    let address = Address::Unix(path.to_path_buf());
    let connect = tower::service_fn(move |_: http::Uri| {
        let address = address.clone();
        async move { address.connect().await.map(TokioIo::new) }
    });
    // The name is for the HTTP/2 header only.
    let endpoint = Endpoint::from_static("http://localhost");
    endpoint.connect_with_connector(connect).await.context("nobody answers with gRPC")
}

/// The first answer about one name.
async fn one(channel: Channel, name: &str) -> anyhow::Result<DiscoveryResponse> {
    use futures_util::StreamExt as _;
    let request = DiscoveryRequest {
        node: Some(Node { id: "hopgate-cert".to_owned(), ..Node::default() }),
        resource_names: vec![name.to_owned()],
        type_url: SECRET_TYPE.to_owned(),
        ..DiscoveryRequest::default()
    };
    // Kept open: a server takes an ended stream of requests for a client that is gone.
    let requests = futures_util::stream::iter([request]).chain(futures_util::stream::pending());
    let mut client = SecretDiscoveryServiceClient::new(channel);
    let mut answers = client.stream_secrets(requests).await?.into_inner();
    answers.message().await?.context("the stream ended without an answer")
}

fn read(name: &str, response: DiscoveryResponse) -> anyhow::Result<Vec<Group>> {
    let mut groups = Vec::new();
    for mut resource in response.resources {
        let secret = Secret::decode(resource.value.as_slice());
        resource.value.zeroize();
        let secret = secret.with_context(|| format!("secret {name:?}"))?;
        let title = secret.name.clone();
        match secret.r#type {
            Some(secret::Type::TlsCertificate(mut tls)) => {
                wipe(tls.private_key.take());
                let chain = certificates(tls.certificate_chain)?;
                groups.push(Group::read(Some(&title), GroupKind::Chain(None), &chain)?);
            }
            Some(secret::Type::ValidationContext(context)) => {
                let validator = context.custom_validator_config;
                if let Some(config) = validator.and_then(|validator| validator.typed_config) {
                    groups.extend(by_domain(&title, &config.value)?);
                }
                let roots = certificates(context.trusted_ca)?;
                if !roots.is_empty() {
                    groups.push(Group::read(Some(&title), GroupKind::Bundle(None), &roots)?);
                }
            }
            Some(secret::Type::SessionTicketKeys(keys)) => {
                keys.keys.into_iter().for_each(|key| wipe(Some(key)));
            }
            Some(secret::Type::GenericSecret(generic)) => {
                generic
                    .secret
                    .into_iter()
                    .chain(generic.secrets.into_values())
                    .for_each(|s| wipe(Some(s)));
            }
            None => {}
        }
    }
    Ok(groups)
}

/// One bundle per trust domain (Envoy's SPIFFE validator).
fn by_domain(title: &str, config: &[u8]) -> anyhow::Result<Vec<Group>> {
    let config = SpiffeCertValidatorConfig::decode(config)?;
    let groups = config.trust_domains.into_iter().map(|domain| {
        let roots = certificates(domain.trust_bundle)?;
        let name = TrustDomain::parse(&domain.name)
            .with_context(|| format!("trust domain {:?}", domain.name))?;
        let title = format!("{title}, trust domain {name}");
        Group::read(Some(&title), GroupKind::Bundle(Some(name)), &roots)
    });
    groups.collect()
}

fn certificates(source: Option<DataSource>) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let text = match source.and_then(|source| source.specifier) {
        None => return Ok(Vec::new()),
        Some(Specifier::InlineBytes(bytes)) => bytes,
        Some(Specifier::InlineString(text)) => text.into_bytes(),
        Some(Specifier::Filename(path)) => anyhow::bail!("it is in the file {path}: look there"),
        Some(Specifier::EnvironmentVariable(_)) => anyhow::bail!("it is in a variable of Envoy's"),
    };
    CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| anyhow::anyhow!("the PEM text cannot be read"))
}

fn wipe(secret: Option<DataSource>) {
    match secret.and_then(|source| source.specifier) {
        Some(Specifier::InlineBytes(mut bytes)) => bytes.zeroize(),
        Some(Specifier::InlineString(mut text)) => text.zeroize(),
        Some(Specifier::Filename(_) | Specifier::EnvironmentVariable(_)) | None => {}
    }
}
