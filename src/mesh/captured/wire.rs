//! A service as the control plane tells it (`hopgate.discovery.v1.Service`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use prost::Message as _;

use crate::identity::{InvalidSpiffeId, SpiffeId};
use crate::mesh::config::{InvalidName, Name};
use crate::proto::discovery as wire;

use super::endpoint::{Readiness, ServiceEndpoint, Transport};
use super::port::AppProtocol;
use super::service::{Service, ServicePort};

/// A message is no service. Nothing of it is used: an endpoint or an account that is passed over would be called, or call,
/// otherwise than was told.
#[derive(Debug, thiserror::Error)]
pub enum InvalidService {
    /// The bytes are no such message.
    #[error("the service {name:?} is no Service message")]
    Unreadable {
        /// The name of the resource.
        name: String,
        /// What is wrong.
        #[source]
        source: prost::DecodeError,
    },
    /// Its name or its namespace cannot be one.
    #[error("the service {name:?} has no name that a service may have")]
    Name {
        /// The name of the resource.
        name: String,
        /// What is wrong.
        #[source]
        source: InvalidName,
    },
    /// Name and content differ.
    #[error("the service {name:?} is about {found:?}")]
    Other {
        /// The name of the resource.
        name: String,
        /// What the content would be named.
        found: String,
    },
    /// An account is no SPIFFE ID.
    #[error("the service {name:?} has an account that is no SPIFFE ID")]
    Account {
        /// The name of the resource.
        name: String,
        /// What is wrong.
        #[source]
        source: InvalidSpiffeId,
    },
    /// A value is none that this version knows.
    #[error("the service {name:?} has {what} that this version does not know")]
    Unknown {
        /// The name of the resource.
        name: String,
        /// What it is.
        what: &'static str,
    },
}

impl Service {
    /// The name of the resource: `shop/orders`.
    #[must_use]
    pub fn resource_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Self { name, namespace, addresses, accounts, ports } = self;
        let port = |ServicePort { number, protocol, endpoints }: &ServicePort| wire::ServicePort {
            number: u32::from(*number),
            protocol: protocol_to_wire(*protocol).into(),
            endpoints: endpoints.iter().map(endpoint_to_wire).collect(),
        };
        let message = wire::Service {
            name: name.to_string(),
            namespace: namespace.to_string(),
            addresses: addresses.iter().map(octets).collect(),
            accounts: accounts.iter().map(|id| id.as_str().to_owned()).collect(),
            ports: ports.iter().map(port).collect(),
        };
        message.encode_to_vec()
    }

    /// Reads a resource.
    ///
    /// # Errors
    /// When the message is damaged, says something that this version does not know, or name and content differ.
    pub fn decode(resource: &str, content: &[u8]) -> Result<Self, InvalidService> {
        let wire::Service { name, namespace, addresses, accounts, ports } =
            wire::Service::decode(content).map_err(|source| InvalidService::Unreadable {
                name: resource.to_owned(),
                source,
            })?;
        let read = |text: String| {
            Name::try_from(text)
                .map_err(|source| InvalidService::Name { name: resource.to_owned(), source })
        };
        let id = |text: String| {
            SpiffeId::parse(&text)
                .map_err(|source| InvalidService::Account { name: resource.to_owned(), source })
        };
        let unknown = |what| InvalidService::Unknown { name: resource.to_owned(), what };
        let service = Self {
            name: read(name)?,
            namespace: read(namespace)?,
            addresses: addresses
                .iter()
                .map(|octets| address(octets).ok_or_else(|| unknown("an address")))
                .collect::<Result<_, _>>()?,
            accounts: accounts.into_iter().map(id).collect::<Result<_, _>>()?,
            ports: ports
                .into_iter()
                .map(|port| port_from_wire(port).map_err(unknown))
                .collect::<Result<_, _>>()?,
        };
        let found = service.resource_name();
        if found == resource {
            return Ok(service);
        }
        Err(InvalidService::Other { name: resource.to_owned(), found })
    }
}

fn octets(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    let v6 = || <[u8; 16]>::try_from(octets).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
    v4.or_else(|_| v6()).ok()
}

fn port_from_wire(port: wire::ServicePort) -> Result<ServicePort, &'static str> {
    let wire::ServicePort { number, protocol, endpoints } = port;
    let protocol = match wire::AppProtocol::try_from(protocol) {
        Ok(wire::AppProtocol::Http) => AppProtocol::Http,
        Ok(wire::AppProtocol::Http2) => AppProtocol::Http2,
        Ok(wire::AppProtocol::Grpc) => AppProtocol::Grpc,
        Ok(wire::AppProtocol::Tcp) => AppProtocol::Tcp,
        Ok(wire::AppProtocol::ServerFirst) => AppProtocol::ServerFirst,
        Ok(wire::AppProtocol::Unspecified) | Err(_) => return Err("a protocol"),
    };
    Ok(ServicePort {
        number: u16::try_from(number).map_err(|_| "a port")?,
        protocol,
        endpoints: endpoints.iter().map(endpoint_from_wire).collect::<Result<_, _>>()?,
    })
}

fn protocol_to_wire(protocol: AppProtocol) -> wire::AppProtocol {
    match protocol {
        AppProtocol::Http => wire::AppProtocol::Http,
        AppProtocol::Http2 => wire::AppProtocol::Http2,
        AppProtocol::Grpc => wire::AppProtocol::Grpc,
        AppProtocol::Tcp => wire::AppProtocol::Tcp,
        AppProtocol::ServerFirst => wire::AppProtocol::ServerFirst,
    }
}

fn endpoint_from_wire(endpoint: &wire::ServiceEndpoint) -> Result<ServiceEndpoint, &'static str> {
    let wire::ServiceEndpoint { address: octets, port, transport, readiness } = endpoint;
    let transport = match wire::Transport::try_from(*transport) {
        Ok(wire::Transport::Mtls) => Transport::Mtls,
        Ok(wire::Transport::Plain) => Transport::Plain,
        Ok(wire::Transport::Unspecified) | Err(_) => return Err("a transport"),
    };
    let readiness = match wire::Readiness::try_from(*readiness) {
        Ok(wire::Readiness::Ready) => Readiness::Ready,
        Ok(wire::Readiness::Terminating) => Readiness::Terminating,
        Ok(wire::Readiness::NotReady) => Readiness::NotReady,
        Ok(wire::Readiness::Unspecified) | Err(_) => return Err("a readiness"),
    };
    let address = address(octets).ok_or("an address")?;
    let port = u16::try_from(*port).map_err(|_| "a port")?;
    Ok(ServiceEndpoint { address: SocketAddr::new(address, port), transport, readiness })
}

fn endpoint_to_wire(endpoint: &ServiceEndpoint) -> wire::ServiceEndpoint {
    let ServiceEndpoint { address, transport, readiness } = endpoint;
    wire::ServiceEndpoint {
        address: octets(&address.ip()),
        port: u32::from(address.port()),
        transport: match transport {
            Transport::Mtls => wire::Transport::Mtls,
            Transport::Plain => wire::Transport::Plain,
        }
        .into(),
        readiness: match readiness {
            Readiness::Ready => wire::Readiness::Ready,
            Readiness::Terminating => wire::Readiness::Terminating,
            Readiness::NotReady => wire::Readiness::NotReady,
        }
        .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Service {
        let endpoint = |address: &str, transport, readiness| ServiceEndpoint {
            address: address.parse().unwrap(),
            transport,
            readiness,
        };
        Service {
            name: Name::try_from("orders".to_owned()).unwrap(),
            namespace: Name::try_from("shop".to_owned()).unwrap(),
            addresses: vec!["10.96.0.50".parse().unwrap(), "fd96::50".parse().unwrap()],
            accounts: vec![SpiffeId::parse("spiffe://mesh.test/ns/shop/sa/orders").unwrap()],
            ports: vec![
                ServicePort {
                    number: 80,
                    protocol: AppProtocol::Grpc,
                    endpoints: vec![
                        endpoint("10.77.0.12:8080", Transport::Mtls, Readiness::Ready),
                        endpoint("[fd77::12]:8080", Transport::Plain, Readiness::Terminating),
                        endpoint("10.77.0.13:8080", Transport::Mtls, Readiness::NotReady),
                    ],
                },
                ServicePort { number: 25, protocol: AppProtocol::ServerFirst, endpoints: vec![] },
            ],
        }
    }

    #[test]
    fn a_service_travels_whole() {
        let name = service().resource_name();
        assert_eq!(name, "shop/orders");
        assert_eq!(Service::decode(&name, &service().encode()).unwrap(), service());
    }

    #[test]
    fn what_is_not_known_is_no_service() {
        let message = wire::Service::decode(service().encode().as_slice()).unwrap();
        type Change = fn(&mut wire::Service);
        let refused = |change: Change| {
            let mut message = message.clone();
            change(&mut message);
            Service::decode("shop/orders", &message.encode_to_vec()).unwrap_err().to_string()
        };
        let cases: [(Change, &str); 10] = [
            (|m| m.name = "Orders".to_owned(), "no name that a service may have"),
            (|m| m.namespace = "bank".to_owned(), "is about \"bank/orders\""),
            (|m| m.accounts[0] = "orders".to_owned(), "no SPIFFE ID"),
            (|m| m.addresses[0] = vec![1, 2, 3], "an address"),
            (|m| m.ports[0].number = 70_000, "a port"),
            (|m| m.ports[0].protocol = 0, "a protocol"),
            (|m| m.ports[0].protocol = 99, "a protocol"),
            (|m| m.ports[0].endpoints[0].transport = 0, "a transport"),
            (|m| m.ports[0].endpoints[0].readiness = 9, "a readiness"),
            (|m| m.ports[0].endpoints[0].address = Vec::new(), "an address"),
        ];
        for (change, expected) in cases {
            let said = refused(change);
            assert!(said.contains(expected), "{expected}: {said}");
        }
        assert!(matches!(
            Service::decode("shop/orders", b"\xff"),
            Err(InvalidService::Unreadable { .. })
        ));
    }
}
