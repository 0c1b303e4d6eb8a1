//! A configuration after every check.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::identity::{SpiffeId, TrustDomain};

use super::address::{Endpoint, Upstream};
use super::body::RequestBody;
use super::config::{Config, EdgeConfig, InboundConfig, Name, OutboundConfig, Protocol};
use super::fault::{Fault, Faults, InvalidMesh};
use super::peer_ids::PeerIds;

/// How long Envoy may wait for the gate. It counts milliseconds, and 0 of them would be for ever.
pub(super) const AUTHZ_TIMEOUT: RangeInclusive<Duration> =
    RangeInclusive::new(Duration::from_millis(1), Duration::from_secs(30));

/// Whom the Envoy works for, and where its sidecar answers.
#[derive(Debug, Clone)]
pub struct Sidecar {
    /// The workload.
    pub identity: SpiffeId,
    /// Secret discovery. Private keys travel here: only this machine may reach it.
    pub sds: Endpoint,
    /// The gate. Tokens travel here: only this machine may reach it.
    pub authz: Endpoint,
    /// The door that gives the application's own calls their tokens, where there is one. Only this machine may reach it.
    pub tokens: Option<Endpoint>,
    /// What becomes of `x-forwarded-client-cert` that a peer sends.
    pub forwarded: ForwardedCertificates,
    /// Trust domains whose workloads may call too, with certificates of the same roots.
    pub aliases: Vec<TrustDomain>,
}

/// What becomes of `x-forwarded-client-cert` that a peer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedCertificates {
    /// Envoy writes the peer's own in its place.
    Replaced,
    /// The gate reads it, believes it from named proxies only, and keeps it from the application.
    Passed,
}

/// All that one workload's Envoy does. Exists only if it can be turned into a safe configuration.
#[derive(Debug, Clone)]
pub struct Mesh {
    pub(super) sidecar: Sidecar,
    pub(super) domain: TrustDomain,
    /// Foreign trust domains whose workloads are let in.
    pub(super) federated: Vec<TrustDomain>,
    pub(super) admin: Endpoint,
    pub(super) inbound: Vec<Inbound>,
    pub(super) edge: Vec<Edge>,
    pub(super) outbound: Vec<Outbound>,
    pub(super) access_log: Option<PathBuf>,
    pub(super) authz_timeout: Duration,
}

/// A listener for other workloads.
#[derive(Debug, Clone)]
pub struct Inbound {
    pub(super) name: Name,
    pub(super) listen: SocketAddr,
    pub(super) app: SocketAddr,
    pub(super) protocol: Protocol,
    pub(super) request_body: Option<RequestBody>,
}

/// A listener for callers outside the mesh.
#[derive(Debug, Clone)]
pub struct Edge {
    pub(super) name: Name,
    pub(super) listen: SocketAddr,
    pub(super) app: SocketAddr,
    pub(super) request_body: Option<RequestBody>,
}

/// A door to another workload.
#[derive(Debug, Clone)]
pub struct Outbound {
    pub(super) name: Name,
    pub(super) listen: SocketAddr,
    pub(super) upstream: Vec<Upstream>,
    pub(super) peers: PeerIds,
    pub(super) protocol: Protocol,
}

impl Mesh {
    /// Checks all of a configuration.
    ///
    /// # Errors
    /// With everything that is wrong, by field.
    pub fn new(config: Config, sidecar: Sidecar) -> Result<Self, InvalidMesh> {
        let Config { admin, inbound, edge, outbound, federated_with, access_log, authz_timeout } =
            config;
        let mut faults = Faults::in_section("envoy.");
        let endpoints = [("admin", &admin), ("sds", &sidecar.sds), ("extAuthz", &sidecar.authz)];
        let tokens = sidecar.tokens.iter().map(|endpoint| ("outbound", endpoint));
        for (field, endpoint) in endpoints.into_iter().chain(tokens) {
            faults.check_endpoint(field, endpoint);
        }
        faults.check_access_log(access_log.as_deref());
        faults.check_authz_timeout(authz_timeout);
        if inbound.is_empty() && edge.is_empty() && outbound.is_empty() {
            faults.add("inbound", Fault::Nothing);
        }
        faults.check_names("inbound", inbound.iter().map(|one| &one.name));
        faults.check_names("edge", edge.iter().map(|one| &one.name));
        faults.check_names("outbound", outbound.iter().map(|one| &one.name));
        faults.check_listeners(&inbound, &edge, &outbound);
        faults.check_bodies(&inbound, &edge);

        let domain = sidecar.identity.trust_domain();
        let federated = faults.federated(&federated_with, (&domain, &sidecar.aliases));
        let known = (&domain, federated.as_slice());
        let outbound = outbound
            .into_iter()
            .enumerate()
            .filter_map(|(index, one)| faults.outbound(&format!("outbound[{index}]"), one, known))
            .collect();
        faults.none()?;
        let inbound = inbound
            .into_iter()
            .map(|InboundConfig { name, listen, app, protocol, request_body }| Inbound {
                name,
                listen,
                app,
                protocol,
                request_body,
            })
            .collect();
        let edge = edge
            .into_iter()
            .map(|EdgeConfig { name, listen, app, request_body }| Edge {
                name,
                listen,
                app,
                request_body,
            })
            .collect();
        Ok(Self {
            sidecar,
            domain,
            federated,
            admin,
            inbound,
            edge,
            outbound,
            access_log,
            authz_timeout,
        })
    }
}

impl Faults {
    fn check_names<'a>(&mut self, field: &str, names: impl Iterator<Item = &'a Name>) {
        let mut seen = BTreeSet::new();
        for (index, name) in names.enumerate() {
            if !seen.insert(name) {
                self.add(format!("{field}[{index}].name"), Fault::DuplicateName(name.clone()));
            }
        }
    }

    fn check_listeners(
        &mut self,
        inbound: &[InboundConfig],
        edge: &[EdgeConfig],
        outbound: &[OutboundConfig],
    ) {
        let field = |list: &str, index: usize, field: &str| format!("{list}[{index}].{field}");
        let mut listeners: Vec<(SocketAddr, String)> = Vec::new();
        let all = (inbound.iter().enumerate())
            .map(|(index, one)| (field("inbound", index, "listen"), one.listen))
            .chain(edge.iter().enumerate().map(|(i, one)| (field("edge", i, "listen"), one.listen)))
            .chain(
                (outbound.iter().enumerate())
                    .map(|(i, one)| (field("outbound", i, "listen"), one.listen)),
            );
        // Port 0 lets the system choose: never the same twice.
        for (field, address) in all.filter(|(_, address)| address.port() != 0) {
            let taken = listeners
                .iter()
                .find(|(other, _)| reaches(*other, address) || reaches(address, *other));
            match taken {
                Some((_, other)) => {
                    let other = other.clone();
                    self.add(field, Fault::DuplicateAddress { address, other });
                }
                None => listeners.push((address, field)),
            }
        }
        let apps = (inbound.iter().enumerate())
            .map(|(index, one)| (field("inbound", index, "app"), one.app))
            .chain(edge.iter().enumerate().map(|(i, one)| (field("edge", i, "app"), one.app)));
        for (field, app) in apps {
            if app.port() == 0 {
                self.add(field, Fault::PortZero);
            } else if listeners.iter().any(|(listen, _)| reaches(*listen, app)) {
                self.add(field, Fault::Circle(app));
            }
        }
    }

    fn check_bodies(&mut self, inbound: &[InboundConfig], edge: &[EdgeConfig]) {
        let inbound = inbound.iter().enumerate().map(|(index, one)| {
            (format!("inbound[{index}].requestBody"), one.request_body, one.protocol)
        });
        let edge = edge.iter().enumerate().map(|(index, one)| {
            (format!("edge[{index}].requestBody"), one.request_body, Protocol::Http)
        });
        for (field, body, protocol) in inbound.chain(edge) {
            match (body, protocol) {
                (Some(_), Protocol::Tcp) => self.add(field, Fault::NoRequests),
                (Some(body), Protocol::Http) if !body.is_possible() => {
                    self.add(field, Fault::BodySize);
                }
                (Some(_), Protocol::Http) | (None, _) => {}
            }
        }
    }

    fn federated(
        &mut self,
        names: &[String],
        (own, aliases): (&TrustDomain, &[TrustDomain]),
    ) -> Vec<TrustDomain> {
        let mut domains = Vec::with_capacity(names.len());
        for (index, text) in names.iter().enumerate() {
            let field = format!("federatedWith[{index}]");
            match TrustDomain::parse(text) {
                Ok(domain) if domain == *own || aliases.contains(&domain) => {
                    self.add(field, Fault::NotForeign(domain));
                }
                Ok(domain) => domains.push(domain),
                Err(source) => self.add(field, Fault::TrustDomain { text: text.clone(), source }),
            }
        }
        domains
    }

    fn outbound(
        &mut self,
        field: &str,
        config: OutboundConfig,
        known: (&TrustDomain, &[TrustDomain]),
    ) -> Option<Outbound> {
        let OutboundConfig { name, listen, upstream, identities, protocol } = config;
        let before = self.count();
        if !listen.ip().is_loopback() {
            self.add(format!("{field}.listen"), Fault::NotLocal(listen.to_string()));
        }
        if upstream.is_empty() {
            self.add(format!("{field}.upstream"), Fault::Empty);
        }
        for (index, address) in upstream.iter().enumerate() {
            if address.port() == 0 {
                self.add(format!("{field}.upstream[{index}]"), Fault::PortZero);
            }
        }
        let mut ids = Vec::with_capacity(identities.len());
        for (index, text) in identities.into_iter().enumerate() {
            match identity(&text, known) {
                Ok(id) => ids.push(id),
                Err(fault) => self.add(format!("{field}.identities[{index}]"), fault),
            }
        }
        if self.count() > before {
            return None;
        }
        match PeerIds::new(ids) {
            Ok(peers) => Some(Outbound { name, listen, upstream, peers, protocol }),
            Err(fault) => {
                self.add(format!("{field}.identities"), fault);
                None
            }
        }
    }
}

/// True when a connection to `target` arrives, or may arrive, at a listener on `listen`: one on every address takes
/// those of this machine, and which those are is not known here.
fn reaches(listen: SocketAddr, target: SocketAddr) -> bool {
    listen.port() == target.port()
        && (listen.ip() == target.ip()
            || listen.ip().is_unspecified()
            || target.ip().is_unspecified())
}

fn identity(
    text: &str,
    (domain, federated): (&TrustDomain, &[TrustDomain]),
) -> Result<SpiffeId, Fault> {
    let whole =
        if text.starts_with("ns/") { format!("spiffe://{domain}/{text}") } else { text.to_owned() };
    let id = SpiffeId::parse(&whole)
        .map_err(|source| Fault::Identity { text: text.to_owned(), source })?;
    if id.is_member_of(domain) || federated.contains(&id.trust_domain()) {
        Ok(id)
    } else {
        Err(Fault::Foreign { id, domain: domain.clone() })
    }
}
