//! From what is known to what can be turned into a safe configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::identity::{SpiffeId, TrustDomain};
use crate::mesh::config::Protocol;
use crate::mesh::fault::{Fault, Faults, InvalidMesh};
use crate::mesh::peer_ids::PeerIds;
use crate::mesh::pod::OWN_PORTS;

use super::endpoint::{ServiceEndpoint, Transport, called};
use crate::policy::MtlsMode;

use super::port::{AppProtocol, Port};
use super::service::{Service, ServicePort};
use super::workload::{CapturedWorkload, Families};

/// A captured workload and what it may call, after every check.
#[derive(Debug, Clone)]
pub struct Captured {
    pub(super) workload: CapturedWorkload,
    pub(super) domain: TrustDomain,
    pub(super) families: Families,
    /// The workload itself, which may call itself.
    pub(super) own: Peers,
    /// Ports of meshed services that have an address.
    pub(super) destinations: Vec<Destination>,
    /// Endpoints that are called by their own address.
    pub(super) direct: Vec<Direct>,
    /// Destinations to which no new connection goes.
    pub(super) leaving: Vec<Destination>,
}

/// Who may answer, or why nothing is sent there.
pub(super) type Peers = Result<PeerIds, Withheld>;

/// Why connections to a part of the mesh are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// Everybody who may answer is trusted no longer.
    #[error("everybody who may answer is revoked")]
    Revoked,
    /// The workload itself is trusted no longer.
    #[error("this workload is revoked")]
    OwnRevoked,
    /// The roots by which they would be verified are not known.
    #[error("the roots of {0} are not known")]
    UnknownDomain(TrustDomain),
    /// Several services say of one endpoint who it is, and no account is in all of them.
    #[error("services contradict each other about who is there")]
    Contradiction,
}

/// One port of a meshed service, called by the addresses of the service.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    /// `80|orders.shop`.
    pub(super) name: String,
    /// `80.orders.shop`, the beginning of the server name.
    pub(super) server_name: String,
    pub(super) protocol: Protocol,
    pub(super) number: u16,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) peers: Peers,
    /// Those who were among the peers. Connections of before end when this changes.
    pub(super) revoked: Vec<SpiffeId>,
    pub(super) endpoints: BTreeMap<SocketAddr, Transport>,
}

/// Endpoints with mTLS that are called by their own addresses and verified alike.
#[derive(Debug, Clone)]
pub(super) struct Direct {
    /// `http|orders.shop`, or several services.
    pub(super) name: String,
    pub(super) server_name: String,
    pub(super) protocol: Protocol,
    pub(super) peers: Peers,
    pub(super) revoked: Vec<SpiffeId>,
    pub(super) at: Vec<SocketAddr>,
}

impl Captured {
    /// Checks everything.
    ///
    /// # Errors
    /// With all that is wrong, by field: of the workload under `capture`, of the services by their place.
    pub fn new(workload: CapturedWorkload, services: &[Service]) -> Result<Self, InvalidMesh> {
        let mut faults = Faults::in_section("capture.");
        faults.workload(&workload);
        let mut taken = faults.own_ports(&workload);
        let outer = faults;
        let mut faults = Faults::in_section("");
        faults.services(services, &mut taken);
        let domain = workload.sidecar.identity.trust_domain();
        InvalidMesh::all([outer, faults])?;

        let services = &in_order(services);
        let families = Families::of(&workload.addresses);
        let verdicts = Verdicts { workload: &workload, domain: &domain };
        let own = verdicts.peers(std::slice::from_ref(&workload.sidecar.identity));
        let destinations = verdicts.destinations(services);
        let direct = verdicts.direct(services, &taken);
        Ok(Self { families, own, destinations, direct, domain, workload, leaving: Vec::new() })
    }

    /// The same with services that were called before and are no part of the mesh any more: connections that stand still
    /// lead to them, under the same checks, until Envoy has drained them. Names that are taken, and headless services, are
    /// left out.
    #[must_use]
    pub fn with_leaving(mut self, services: &[Service]) -> Self {
        let verdicts = Verdicts { workload: &self.workload, domain: &self.domain };
        let mut leaving = verdicts.destinations(&in_order(services));
        leaving.retain(|one| self.destinations.iter().all(|there| there.name != one.name));
        self.leaving = leaving;
        self
    }

    /// Everything that some connection leads to by the address of a service.
    pub(super) fn reachable(&self) -> impl Iterator<Item = &Destination> {
        self.destinations.iter().chain(&self.leaving)
    }

    /// The parts of the mesh to which connections are refused, and why.
    pub fn withheld(&self) -> impl Iterator<Item = (&str, &Withheld)> {
        let by_service = self.destinations.iter().map(|one| (one.name.as_str(), &one.peers));
        let direct = self.direct.iter().map(|one| (one.name.as_str(), &one.peers));
        by_service.chain(direct).filter_map(|(name, peers)| Some((name, peers.as_ref().err()?)))
    }
}

/// The same services, whatever the order in which they were told: equal input is an equal configuration.
fn in_order(services: &[Service]) -> Vec<Service> {
    let mut services = services.to_vec();
    services.sort_by_cached_key(ToString::to_string);
    for service in &mut services {
        service.addresses.sort_unstable();
        service.accounts.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        service.accounts.dedup();
        service.ports.sort_by_key(|port| port.number);
    }
    services
}

/// What an address with a port leads to.
type Taken = BTreeMap<SocketAddr, String>;

impl Faults {
    fn workload(&mut self, workload: &CapturedWorkload) {
        let sidecar = &workload.sidecar;
        for (field, endpoint) in [("sds", &sidecar.sds), ("extAuthz", &sidecar.authz)] {
            self.check_endpoint(field, endpoint);
        }
        if let Some(tokens) = &sidecar.tokens {
            self.check_endpoint("outbound", tokens);
        }
        self.check_access_log(workload.access_log.as_deref());
        self.check_authz_timeout(workload.authz_timeout);
        if workload.addresses.is_empty() {
            self.add("addresses", Fault::Empty);
        }
        for (index, address) in workload.addresses.iter().enumerate() {
            self.check_address(format_args!("addresses[{index}]"), *address);
        }
    }

    /// The ports of the application, at each address of the pod.
    fn own_ports(&mut self, workload: &CapturedWorkload) -> Taken {
        let mut seen = BTreeSet::new();
        for (index, port) in workload.ports.iter().enumerate() {
            let Port { number, protocol, mtls, request_body } = port;
            let field = format!("ports[{index}]");
            if *number == 0 {
                self.add(format_args!("{field}.port"), Fault::PortZero);
            }
            if OWN_PORTS.contains(number) {
                self.add(format_args!("{field}.port"), Fault::PortOfTheGate(*number));
            }
            if !seen.insert(*number) {
                self.add(format_args!("{field}.port"), Fault::DuplicatePort(*number));
            }
            match (protocol, mtls) {
                (AppProtocol::ServerFirst, MtlsMode::Permissive) => {
                    self.add(format_args!("{field}.mtls"), Fault::SpeaksFirst);
                }
                (AppProtocol::ServerFirst, MtlsMode::Strict | MtlsMode::Disabled)
                | (
                    AppProtocol::Http | AppProtocol::Http2 | AppProtocol::Grpc | AppProtocol::Tcp,
                    _,
                ) => {}
            }
            let field = format!("{field}.requestBody");
            match (request_body, protocol.inside_tls()) {
                (Some(_), Protocol::Tcp) => self.add(field, Fault::NoRequests),
                (Some(body), Protocol::Http) if !body.is_possible() => {
                    self.add(field, Fault::BodySize);
                }
                (Some(_), Protocol::Http) | (None, _) => {}
            }
        }
        let at = |address: &IpAddr| {
            let address = *address;
            let ports = workload.ports.iter();
            ports.map(move |port| (SocketAddr::new(address, port.number), "this pod".to_owned()))
        };
        workload.addresses.iter().flat_map(at).collect()
    }

    fn services(&mut self, services: &[Service], taken: &mut Taken) {
        let mut names = BTreeSet::new();
        for (index, service) in services.iter().enumerate() {
            let field = format!("services[{index}]");
            if !names.insert(service.to_string()) {
                let fault = Fault::DuplicateService(service.to_string());
                self.add(format_args!("{field}.name"), fault);
            }
            for (place, address) in service.addresses.iter().enumerate() {
                self.check_address(format_args!("{field}.addresses[{place}]"), *address);
            }
            if service.is_meshed()
                && let Err(fault) = PeerIds::new(service.accounts.clone())
            {
                self.add(format_args!("{field}.accounts"), fault);
            }
            let mut seen = BTreeSet::new();
            for (place, port) in service.ports.iter().enumerate() {
                let field = format!("{field}.ports[{place}]");
                if !seen.insert(port.number) {
                    self.add(format_args!("{field}.port"), Fault::DuplicatePort(port.number));
                }
                self.service_port(&field, (service, port), taken);
            }
        }
    }

    fn service_port(
        &mut self,
        field: &str,
        (service, port): (&Service, &ServicePort),
        taken: &mut Taken,
    ) {
        if port.number == 0 {
            self.add(format_args!("{field}.port"), Fault::PortZero);
        }
        for address in &service.addresses {
            let address = SocketAddr::new(*address, port.number);
            match taken.get(&address) {
                Some(other) => {
                    let fault = Fault::TakenAddress { address, other: other.clone() };
                    self.add(format_args!("{field}.port"), fault);
                }
                None => {
                    taken.insert(address, format!("{}:{}", service, port.number));
                }
            }
        }
        for (index, endpoint) in port.endpoints.iter().enumerate() {
            let ServiceEndpoint { address, transport, readiness: _ } = endpoint;
            let field = format!("{field}.endpoints[{index}]");
            self.check_address(format_args!("{field}.address"), address.ip());
            if address.port() == 0 {
                self.add(format_args!("{field}.address"), Fault::PortZero);
            }
            if *transport == Transport::Mtls && !service.is_meshed() {
                self.add(format_args!("{field}.transport"), Fault::NoAccounts);
            }
        }
    }

    /// What leads back into this pod or machine, or to many, is no address of another workload.
    fn check_address(&mut self, field: impl std::fmt::Display, address: IpAddr) {
        let is_local = match address {
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
        };
        let is_odd = address.is_unspecified() || address.is_loopback() || address.is_multicast();
        if is_local || is_odd {
            self.add(field, Fault::Address(address));
        }
    }
}

/// Says who may answer.
#[derive(Clone, Copy)]
struct Verdicts<'a> {
    workload: &'a CapturedWorkload,
    domain: &'a TrustDomain,
}

impl Verdicts<'_> {
    fn peers(self, accounts: &[SpiffeId]) -> Peers {
        let CapturedWorkload { sidecar, revoked, federated, .. } = self.workload;
        if revoked.contains(&sidecar.identity) {
            return Err(Withheld::OwnRevoked);
        }
        let trusted = accounts.iter().filter(|id| !revoked.contains(*id)).cloned().collect();
        // Of two trust domains they cannot be here: that was checked.
        let peers = PeerIds::new(trusted).map_err(|_| Withheld::Revoked)?;
        let domain = peers.trust_domain();
        if domain == self.domain || federated.contains(domain) {
            Ok(peers)
        } else {
            Err(Withheld::UnknownDomain(domain.clone()))
        }
    }

    fn revoked(self, accounts: &[SpiffeId]) -> Vec<SpiffeId> {
        let mut gone: Vec<_> =
            accounts.iter().filter(|id| self.workload.revoked.contains(*id)).cloned().collect();
        gone.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        gone
    }

    fn destinations(self, services: &[Service]) -> Vec<Destination> {
        let addressed = services.iter().filter(|one| one.is_meshed() && !one.addresses.is_empty());
        let ports = addressed.flat_map(|service| {
            service.ports.iter().map(move |port| Destination {
                name: format!("{}|{service}", port.number),
                server_name: format!("{}.{service}", port.number),
                protocol: port.protocol.inside_tls(),
                number: port.number,
                addresses: service.addresses.clone(),
                peers: self.peers(&service.accounts),
                revoked: self.revoked(&service.accounts),
                endpoints: called(&port.endpoints, self.workload.outbound),
            })
        });
        ports.collect()
    }

    fn direct(self, services: &[Service], taken: &Taken) -> Vec<Direct> {
        // Who speaks of each endpoint. A pod may be behind several services.
        let mut spoken_of: BTreeMap<SocketAddr, (BTreeSet<usize>, Protocol)> = BTreeMap::new();
        let headless =
            services.iter().enumerate().filter(|(_, s)| s.is_meshed() && s.addresses.is_empty());
        for (index, service) in headless {
            for port in &service.ports {
                let protocol = port.protocol.inside_tls();
                let mtls = port.endpoints.iter().filter(|one| one.transport == Transport::Mtls);
                for endpoint in mtls.filter(|one| !taken.contains_key(&one.address)) {
                    let (by, held) = spoken_of
                        .entry(endpoint.address)
                        .or_insert_with(|| (BTreeSet::new(), protocol));
                    by.insert(index);
                    // As bytes everything can be carried.
                    *held = (*held).max(protocol);
                }
            }
        }
        let mut groups: BTreeMap<(BTreeSet<usize>, Protocol), Vec<SocketAddr>> = BTreeMap::new();
        for (address, by) in spoken_of {
            groups.entry(by).or_default().push(address);
        }
        let grouped = groups.into_iter().map(|((by, protocol), at)| {
            let by: Vec<&Service> = by.iter().filter_map(|index| services.get(*index)).collect();
            self.group(&by, protocol, at)
        });
        grouped.collect()
    }

    fn group(self, by: &[&Service], protocol: Protocol, at: Vec<SocketAddr>) -> Direct {
        let names: Vec<String> = by.iter().map(ToString::to_string).collect();
        let first = by.first().map(|service| service.accounts.as_slice()).unwrap_or_default();
        // A pod has one account, which is in every list that is right about it.
        let common = |id: &&SpiffeId| by.iter().all(|service| service.accounts.contains(id));
        let accounts: Vec<SpiffeId> = first.iter().filter(common).cloned().collect();
        let spoken = match protocol {
            Protocol::Http => "http",
            Protocol::Tcp => "tcp",
        };
        let peers =
            if accounts.is_empty() { Err(Withheld::Contradiction) } else { self.peers(&accounts) };
        Direct {
            name: format!("{spoken}|{}", names.join("+")),
            server_name: format!("direct.{}", names.first().map_or("", String::as_str)),
            protocol,
            peers,
            revoked: self.revoked(&accounts),
            at,
        }
    }
}
