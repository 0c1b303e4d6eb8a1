//! What a person writes: the section `capture` of a sidecar's configuration, and a file of services.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::identity::{SpiffeId, TrustDomain};
use crate::mesh::address::{Endpoint, deserialize_tcp};
use crate::mesh::body::RequestBody;
use crate::mesh::config::{Name, default_authz_timeout};
use crate::mesh::fault::{Fault, Faults, InvalidMesh};
use crate::mesh::pod::ENVOY_ADMIN_SOCKET;

use super::endpoint::{Readiness, ServiceEndpoint, Transport};
use crate::policy::MtlsMode;

use super::port::{AppProtocol, Port};
use super::service::{Service, ServicePort};
use super::workload::OutboundMode;

/// A pod whose traffic is captured, and the Envoy through which it passes.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaptureConfig {
    /// Envoy's own admin page: a unix socket, created with mode 0660 for the group of Envoy and sidecar.
    #[serde(default = "default_admin")]
    pub admin: Endpoint,
    /// The addresses of the pod, of both families if it has both. The kubelet tells them by a variable.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// The ports of the application that others may call, beside those to which services lead. Every other port is closed to
    /// them.
    #[serde(default)]
    pub ports: Vec<PortConfig>,
    /// What becomes of connections to whatever is no part of the mesh.
    #[serde(default)]
    pub outbound: OutboundMode,
    /// The services that the application may call, and those that it is behind. Without any the application calls nothing of
    /// the mesh but itself.
    #[serde(default)]
    pub services: Option<ServicesFrom>,
    /// Where the bootstrap of Envoy is written at the start, for an Envoy that starts after this sidecar.
    #[serde(default)]
    pub bootstrap: Option<PathBuf>,
    /// A file for Envoy's access log, one JSON object per line. Default: none, since the decision log tells more.
    #[serde(default)]
    pub access_log: Option<PathBuf>,
    /// How long Envoy waits for the gate before it refuses a request.
    #[serde(default = "default_authz_timeout", with = "humantime_serde")]
    pub authz_timeout: Duration,
    /// How long callers have, at the end, to turn elsewhere: the same as Envoy's `--drain-time-s`.
    #[serde(default = "default_drain_time", with = "humantime_serde")]
    pub drain_time: Duration,
}

/// Who says which services there are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "neither the path of a file nor `control: {}`")]
pub enum ServicesFrom {
    /// A file, which is followed.
    File(PathBuf),
    /// The control plane.
    Control(ServicesOfControl),
}

/// `control: {}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServicesOfControl {
    control: Nothing,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// A port of the application.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortConfig {
    /// Its number.
    pub port: u16,
    /// What is spoken there.
    #[serde(default = "default_protocol")]
    pub protocol: AppProtocol,
    /// Who may come without a certificate. Default: what the MeshPolicy says, and nobody where it says nothing.
    #[serde(default)]
    pub mtls: Option<MtlsMode>,
    /// Hands the bodies of requests to the gate, for rules that ask about them.
    #[serde(default)]
    pub request_body: Option<RequestBody>,
}

/// A file of services.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServicesFile {
    /// The services that the application may call.
    pub services: Vec<ServiceConfig>,
}

/// A service, as its callers see it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceConfig {
    /// Its name.
    pub name: Name,
    /// Its namespace.
    pub namespace: Name,
    /// Its own addresses. Without any it is called by the addresses of its endpoints.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Whose workloads may answer: `ns/<namespace>/sa/<account>` of the own trust domain, or a whole SPIFFE ID. Without any
    /// it is no part of the mesh.
    #[serde(default)]
    pub accounts: Vec<String>,
    /// Its ports.
    pub ports: Vec<ServicePortConfig>,
}

/// A port of a service.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServicePortConfig {
    /// The number by which it is called.
    pub port: u16,
    /// Its name; the first word says what is spoken where `appProtocol` does not.
    #[serde(default)]
    pub name: Option<String>,
    /// What is spoken there.
    #[serde(default)]
    pub app_protocol: Option<String>,
    /// Who is behind it.
    #[serde(default)]
    pub endpoints: Vec<EndpointConfig>,
}

/// One workload behind a port of a service.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointConfig {
    /// Its address, and the port of the application there.
    #[serde(deserialize_with = "deserialize_tcp")]
    pub address: SocketAddr,
    /// How it is spoken to. Default: by mTLS where the service has accounts, else in plaintext.
    #[serde(default)]
    pub transport: Option<Transport>,
    /// Whether it takes new connections.
    #[serde(default = "default_readiness")]
    pub readiness: Readiness,
}

fn default_admin() -> Endpoint {
    Endpoint::Unix(ENVOY_ADMIN_SOCKET.into())
}

fn default_drain_time() -> Duration {
    Duration::from_secs(5)
}

fn default_protocol() -> AppProtocol {
    AppProtocol::Http
}

fn default_readiness() -> Readiness {
    Readiness::Ready
}

impl CaptureConfig {
    /// The same configuration, relative paths taken from `directory`.
    #[must_use]
    pub fn relative_to(mut self, directory: &Path) -> Self {
        self.admin = self.admin.relative_to(directory);
        self.services = self.services.map(|from| match from {
            ServicesFrom::File(path) => ServicesFrom::File(directory.join(path)),
            ServicesFrom::Control(control) => ServicesFrom::Control(control),
        });
        self.bootstrap = self.bootstrap.map(|path| directory.join(path));
        self.access_log = self.access_log.map(|path| directory.join(path));
        self
    }

    /// The most bytes of a body that any port hands to the gate; nothing where none does.
    #[must_use]
    pub fn largest_body(&self) -> Option<usize> {
        let bodies = self.ports.iter().filter_map(|port| port.request_body);
        bodies.map(|body| usize::try_from(body.max_bytes).unwrap_or(usize::MAX)).max()
    }
}

impl PortConfig {
    /// The port; `mode` is that of the mesh, which counts where the port says nothing itself. Permissive cannot be had where
    /// the server speaks first: then it is Strict.
    #[must_use]
    pub fn port(&self, mode: MtlsMode) -> Port {
        let usual = match (mode, self.protocol) {
            (MtlsMode::Permissive, AppProtocol::ServerFirst) => MtlsMode::Strict,
            (mode, _) => mode,
        };
        Port {
            number: self.port,
            protocol: self.protocol,
            mtls: self.mtls.unwrap_or(usual),
            request_body: self.request_body,
        }
    }

    /// A port to which a service leads, of which nothing else is said.
    #[must_use]
    pub fn served(port: u16, protocol: AppProtocol) -> Self {
        Self { port, protocol, mtls: None, request_body: None }
    }
}

impl ServicesFile {
    /// The services.
    ///
    /// # Errors
    /// When an account cannot be read; everything else is checked with the workload that calls them.
    pub fn services(self, domain: &TrustDomain) -> Result<Vec<Service>, InvalidMesh> {
        let mut faults = Faults::in_section("");
        let mut services = Vec::with_capacity(self.services.len());
        for (index, config) in self.services.into_iter().enumerate() {
            let ServiceConfig { name, namespace, addresses, accounts, ports } = config;
            let mut ids = Vec::with_capacity(accounts.len());
            for (place, text) in accounts.into_iter().enumerate() {
                let short = text.starts_with("ns/").then(|| format!("spiffe://{domain}/{text}"));
                match SpiffeId::parse(short.as_deref().unwrap_or(&text)) {
                    Ok(id) => ids.push(id),
                    Err(source) => {
                        let field = format!("services[{index}].accounts[{place}]");
                        faults.add(field, Fault::Identity { text, source });
                    }
                }
            }
            let usual = if ids.is_empty() { Transport::Plain } else { Transport::Mtls };
            let ports = ports.into_iter().map(|port| port.port(usual)).collect();
            services.push(Service { name, namespace, addresses, accounts: ids, ports });
        }
        faults.none().map(|()| services)
    }
}

impl ServicePortConfig {
    fn port(self, usual: Transport) -> ServicePort {
        let Self { port, name, app_protocol, endpoints } = self;
        let endpoint = |EndpointConfig { address, transport, readiness }| ServiceEndpoint {
            address,
            transport: transport.unwrap_or(usual),
            readiness,
        };
        ServicePort {
            number: port,
            protocol: AppProtocol::of(app_protocol.as_deref(), name.as_deref()),
            endpoints: endpoints.into_iter().map(endpoint).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_read_with_what_goes_without_saying() {
        let text = r#"
services:
  - name: orders
    namespace: shop
    addresses: [10.96.0.50, "fd96::50"]
    accounts: [ns/shop/sa/orders]
    ports:
      - { port: 80, name: http-web, endpoints: [{ address: "10.77.0.12:8080" }, { address: "10.77.0.13:8080", transport: Plain, readiness: Terminating }] }
  - { name: old, namespace: shop, ports: [{ port: 25, appProtocol: smtp, endpoints: [{ address: "[fd77::9]:25" }] }] }
"#;
        let file: ServicesFile = serde_saphyr::from_str(text).unwrap();
        let domain = TrustDomain::parse("mesh.test").unwrap();
        let services = file.services(&domain).unwrap();
        let orders = &services[0];
        assert_eq!(orders.accounts[0].as_str(), "spiffe://mesh.test/ns/shop/sa/orders");
        let port = &orders.ports[0];
        assert_eq!(port.protocol, AppProtocol::Http);
        let how = |index: usize| (port.endpoints[index].transport, port.endpoints[index].readiness);
        assert_eq!(how(0), (Transport::Mtls, Readiness::Ready));
        assert_eq!(how(1), (Transport::Plain, Readiness::Terminating));
        assert_eq!(services[1].ports[0].endpoints[0].transport, Transport::Plain);
        assert_eq!(services[1].ports[0].protocol, AppProtocol::ServerFirst);

        let bad: ServicesFile =
            serde_saphyr::from_str(&text.replace("ns/shop/sa/orders", "orders")).unwrap();
        let error = bad.services(&domain).unwrap_err().to_string();
        assert!(error.starts_with("services[0].accounts[0]: \"orders\""), "{error}");
        for (from, to) in [
            ("name: orders", "name: Orders"),
            ("transport: Plain", "transport: Off"),
            ("10.77.0.12:8080", "10.77.0.12"),
            ("appProtocol", "protocol"),
        ] {
            let read: Result<ServicesFile, _> = serde_saphyr::from_str(&text.replace(from, to));
            assert!(read.is_err(), "{to}");
        }
    }

    #[test]
    fn a_section_is_read_with_what_goes_without_saying() {
        let text = "{ addresses: [10.77.0.11], services: { control: {} }, ports: [{ port: 8080 }, { port: 25, protocol: server-first, mtls: Disabled }, { port: 26, protocol: server-first }] }";
        let config: CaptureConfig = serde_saphyr::from_str(text).unwrap();
        assert_eq!(config.admin.to_string(), "unix:/run/hopgate/envoy-admin.sock");
        assert_eq!(config.outbound, OutboundMode::Any);
        let ports: Vec<_> =
            config.ports.iter().map(|port| port.port(MtlsMode::Permissive)).collect();
        assert_eq!((ports[0].protocol, ports[0].mtls), (AppProtocol::Http, MtlsMode::Permissive));
        assert_eq!(
            (ports[1].protocol, ports[1].mtls),
            (AppProtocol::ServerFirst, MtlsMode::Disabled)
        );
        assert_eq!(ports[2].mtls, MtlsMode::Strict, "Permissive cannot be had there");
        assert!(matches!(config.services, Some(ServicesFrom::Control(_))));
        let file: CaptureConfig = serde_saphyr::from_str("{ services: a.yaml }").unwrap();
        let file = file.relative_to(Path::new("/etc")).services;
        assert_eq!(file, Some(ServicesFrom::File("/etc/a.yaml".into())));
        for bad in [
            "{ addresses: [here] }",
            "{ addresses: [], port: 1 }",
            "{ services: { file: a } }",
            "{ services: { control: { all: true } } }",
        ] {
            assert!(serde_saphyr::from_str::<CaptureConfig>(bad).is_err(), "{bad}");
        }
    }
}
