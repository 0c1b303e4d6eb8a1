//! Which services there are, and who is behind each.
//!
//! Promised here:
//! - an endpoint is said to take mTLS only if a pod with a gate is there, which has that very address and whose port is
//!   captured; an endpoint that somebody wrote by hand proves nothing about a pod;
//! - those who may answer are the accounts of such pods and no others;
//! - of a service without any such pod nothing is said: it is no part of the mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;

use super::Heard;
use super::held::Pod;
use crate::identity::{SpiffeId, TrustDomain};
use crate::mesh::Name;
use crate::mesh::captured::{
    AppProtocol, Readiness, Service, ServiceEndpoint, ServicePort, Transport,
};
use crate::policy::{Mtls, MtlsMode};

/// The label by which a slice says whose it is.
const OWNER: &str = "kubernetes.io/service-name";

/// A service of the cluster, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterService {
    namespace: String,
    name: String,
    addresses: Vec<IpAddr>,
    ports: Vec<ClusterPort>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ClusterPort {
    name: String,
    number: u16,
    protocol: AppProtocol,
}

/// Some of the endpoints of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSlice {
    namespace: String,
    name: String,
    service: String,
    /// The ports of the endpoints, by the names of the service's.
    ports: Vec<(String, u16)>,
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Endpoint {
    addresses: Vec<IpAddr>,
    readiness: Readiness,
    /// The UID of the pod that it is said to be.
    pod: Option<String>,
}

/// What was heard of services.
#[derive(Debug, Default)]
pub(super) struct Services {
    services: BTreeMap<(String, String), ClusterService>,
    /// By namespace, service and name.
    slices: BTreeMap<(String, String, String), EndpointSlice>,
    all_services: bool,
    all_slices: bool,
}

impl ClusterService {
    /// What counts of a service: nothing of one that is only a name for something else. `None` without a name of its own,
    /// which no API server gives.
    #[must_use]
    pub fn read(service: &core::Service) -> Option<Self> {
        let spec = service.spec.as_ref();
        let spec = spec.filter(|spec| spec.type_.as_deref() != Some("ExternalName"));
        let one = spec.and_then(|spec| spec.cluster_ip.as_ref()).into_iter();
        let all = spec.and_then(|spec| spec.cluster_ips.as_ref()).into_iter().flatten();
        // "None" stands for a headless service.
        let addresses: BTreeSet<IpAddr> =
            one.chain(all).filter_map(|text| text.parse().ok()).collect();
        let ports = spec.and_then(|spec| spec.ports.as_ref()).into_iter().flatten();
        let ports = ports.filter(|port| is_tcp(port.protocol.as_deref())).filter_map(|port| {
            Some(ClusterPort {
                name: port.name.clone().unwrap_or_default(),
                number: u16::try_from(port.port).ok()?,
                protocol: AppProtocol::of(port.app_protocol.as_deref(), port.name.as_deref()),
            })
        });
        Some(Self {
            namespace: service.metadata.namespace.clone()?,
            name: service.metadata.name.clone()?,
            addresses: addresses.into_iter().collect(),
            ports: ports.collect(),
        })
    }
}

impl EndpointSlice {
    /// What counts of a slice; addresses that are names do not. One that says no service belongs to none. `None` without a
    /// name of its own, which no API server gives.
    #[must_use]
    pub fn read(slice: &discovery::EndpointSlice) -> Option<Self> {
        let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get(OWNER));
        let ports = slice.ports.iter().flatten().filter(|port| is_tcp(port.protocol.as_deref()));
        let ports = ports.filter_map(|port| {
            let number = u16::try_from(port.port?).ok()?;
            Some((port.name.clone().unwrap_or_default(), number))
        });
        Some(Self {
            namespace: slice.metadata.namespace.clone()?,
            name: slice.metadata.name.clone()?,
            service: service.cloned().unwrap_or_default(),
            ports: ports.collect(),
            endpoints: slice.endpoints.iter().map(Endpoint::read).collect(),
        })
    }

    fn key(&self) -> (String, String, String) {
        (self.namespace.clone(), self.service.clone(), self.name.clone())
    }
}

impl Endpoint {
    fn read(endpoint: &discovery::Endpoint) -> Self {
        let conditions = endpoint.conditions.as_ref();
        let ready = conditions.and_then(|conditions| conditions.ready);
        let serving = conditions.and_then(|conditions| conditions.serving);
        let terminating = conditions.and_then(|conditions| conditions.terminating);
        // What is not said counts as yes, but for going away, as Kubernetes has it.
        let readiness = match (ready.unwrap_or(true), serving.or(ready).unwrap_or(true)) {
            (_, true) if terminating == Some(true) => Readiness::Terminating,
            (true, _) if terminating != Some(true) => Readiness::Ready,
            (true | false, true | false) => Readiness::NotReady,
        };
        let target = endpoint.target_ref.as_ref();
        let pod = target.filter(|target| target.kind.as_deref() == Some("Pod"));
        Self {
            addresses: endpoint.addresses.iter().filter_map(|text| text.parse().ok()).collect(),
            readiness,
            pod: pod.and_then(|target| target.uid.clone()),
        }
    }
}

fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol == "TCP")
}

impl Services {
    pub(super) fn hear_services(&mut self, heard: Heard<ClusterService>) {
        let key = |service: &ClusterService| (service.namespace.clone(), service.name.clone());
        match heard {
            Heard::All(all) => {
                self.all_services = true;
                self.services = all.into_iter().map(|one| (key(&one), one)).collect();
            }
            Heard::Put(service) => drop(self.services.insert(key(&service), service)),
            Heard::Gone(service) => drop(self.services.remove(&key(&service))),
            Heard::Failed(_) => {}
        }
    }

    pub(super) fn hear_slices(&mut self, heard: Heard<EndpointSlice>) {
        match heard {
            Heard::All(all) => {
                self.all_slices = true;
                self.slices = all.into_iter().map(|one| (one.key(), one)).collect();
            }
            Heard::Put(slice) => {
                // It may have come to another service.
                self.slices.retain(|(namespace, _, name), _| {
                    *namespace != slice.namespace || *name != slice.name
                });
                self.slices.insert(slice.key(), slice);
            }
            Heard::Gone(slice) => drop(self.slices.remove(&slice.key())),
            Heard::Failed(_) => {}
        }
    }

    /// True once all was heard.
    pub(super) fn is_whole(&self) -> bool {
        self.all_services && self.all_slices
    }

    /// The services that are part of the mesh, by namespace and name. `pods` are by UID, and all there are.
    pub(super) fn meshed(
        &self,
        pods: &BTreeMap<String, Pod>,
        (domain, mtls): (&TrustDomain, &Mtls),
    ) -> Vec<Service> {
        let around = Around { pods, domain, mtls };
        self.services.values().filter_map(|service| self.service(service, around)).collect()
    }

    fn service(&self, service: &ClusterService, around: Around<'_>) -> Option<Service> {
        let ClusterService { namespace, name, addresses, ports } = service;
        let first = (namespace.clone(), name.clone(), String::new());
        let slices: Vec<&EndpointSlice> = self
            .slices
            .range(first..)
            .take_while(|((of, owner, _), _)| of == namespace && owner == name)
            .map(|(_, slice)| slice)
            .collect();
        let mut accounts: BTreeMap<String, SpiffeId> = BTreeMap::new();
        let port = |port: &ClusterPort| ServicePort {
            number: port.number,
            protocol: port.protocol,
            endpoints: slices
                .iter()
                .flat_map(|slice| around.endpoints(slice, &port.name))
                .map(|(endpoint, account)| {
                    accounts.extend(account.map(|id| (id.as_str().to_owned(), id)));
                    endpoint
                })
                .collect(),
        };
        let ports: Vec<ServicePort> = ports.iter().map(port).collect();
        if accounts.is_empty() {
            return None;
        }
        Some(Service {
            name: Name::try_from(name.clone()).ok()?,
            namespace: Name::try_from(namespace.clone()).ok()?,
            addresses: addresses.clone(),
            accounts: accounts.into_values().collect(),
            ports,
        })
    }
}

/// What services are looked at with.
#[derive(Clone, Copy)]
struct Around<'a> {
    pods: &'a BTreeMap<String, Pod>,
    domain: &'a TrustDomain,
    mtls: &'a Mtls,
}

impl Around<'_> {
    /// The endpoints of a slice for one port of the service, each with the account that answers there by mTLS.
    fn endpoints(
        self,
        slice: &EndpointSlice,
        port: &str,
    ) -> Vec<(ServiceEndpoint, Option<SpiffeId>)> {
        let numbers = slice.ports.iter().filter(|(name, _)| name == port).map(|(_, number)| number);
        let each = numbers.flat_map(|number| {
            slice.endpoints.iter().flat_map(move |endpoint| {
                endpoint.addresses.iter().map(move |address| (endpoint, *address, *number))
            })
        });
        let read = each.map(|(endpoint, address, number)| {
            let pod = endpoint.pod.as_ref().and_then(|uid| self.pods.get(uid));
            let pod = pod.filter(|pod| pod.namespace == slice.namespace);
            let account = pod.and_then(|pod| self.account(pod, address, number));
            let transport = if account.is_some() { Transport::Mtls } else { Transport::Plain };
            let address = SocketAddr::new(address, number);
            (ServiceEndpoint { address, transport, readiness: endpoint.readiness }, account)
        });
        read.collect()
    }

    /// Who answers at a port of a pod by mTLS.
    fn account(self, pod: &Pod, address: IpAddr, port: u16) -> Option<SpiffeId> {
        let captured = pod.gate.as_ref().is_some_and(|gate| !gate.excluded.contains(&port));
        if !captured || !pod.addresses.contains(&address) {
            return None;
        }
        match self.mtls.mode(&pod.namespace, port) {
            MtlsMode::Strict | MtlsMode::Permissive => {
                SpiffeId::for_service_account(self.domain, &pod.namespace, &pod.service_account)
                    .ok()
            }
            MtlsMode::Disabled => None,
        }
    }
}

#[cfg(test)]
mod tests;
