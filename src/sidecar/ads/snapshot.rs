//! From what is known to what an Envoy is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::identity::{SpiffeId, TrustDomain};
use crate::mesh::captured::{
    CaptureConfig, Captured, CapturedWorkload, Port, PortConfig, Resources, Service, Unresolved,
    served,
};
use crate::mesh::{Encoder, InvalidMesh, NotEncodable, ResourceKind, Sidecar};
use crate::policy::Mtls;
use crate::xds::envoy::KINDS;
use crate::xds::{
    Catalogue, Content, Kind, SECRET_TYPE, SharedTable, Table, TooLarge, content_version,
};

/// What a configuration is made of.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) services: Arc<Vec<Service>>,
    /// Those that were among them until lately.
    pub(super) leaving: Arc<Vec<Service>>,
    pub(super) secrets: Arc<Table>,
    /// Other names of the own trust domain.
    pub(super) aliases: Vec<TrustDomain>,
    /// What the MeshPolicy says of the ports of workloads.
    pub(super) mtls: Mtls,
    /// Who is trusted no longer, of all who may be called, and the workload itself.
    pub(super) revoked: BTreeSet<SpiffeId>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidSnapshot {
    #[error(transparent)]
    Mesh(#[from] InvalidMesh),
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
    /// Envoy would wait for it, and hold back everything that comes after.
    #[error("secret {0:?} is needed and not there")]
    Secret(String),
    #[error(transparent)]
    Encode(#[from] NotEncodable),
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// Makes one configuration after another.
pub(super) struct Snapshots {
    capture: CaptureConfig,
    namespace: String,
    sidecar: Sidecar,
    encoder: Encoder,
    tables: Vec<(Kind, Arc<SharedTable>)>,
}

/// A configuration, and what it leaves out.
pub(super) struct Snapshot {
    pub(super) catalogue: Catalogue,
    /// Parts of the mesh to which connections are refused, with the reason.
    pub(super) withheld: Vec<(String, String)>,
}

impl Known {
    /// True when the same configuration would come of both.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.services, &other.services)
            && Arc::ptr_eq(&self.leaving, &other.leaving)
            && Arc::ptr_eq(&self.secrets, &other.secrets)
            && self.aliases == other.aliases
            && self.mtls == other.mtls
            && self.revoked == other.revoked
    }
}

impl Snapshots {
    pub(super) fn new(
        (capture, namespace): (CaptureConfig, String),
        sidecar: Sidecar,
    ) -> Result<Self, NotEncodable> {
        let tables = KINDS.map(|kind| (kind, SharedTable::empty()));
        Ok(Self { capture, namespace, sidecar, encoder: Encoder::new()?, tables: tables.into() })
    }

    /// The configuration that follows the last one. What did not change is shared with it.
    ///
    /// # Errors
    /// When there is none; the last one then stays.
    pub(super) fn next(&mut self, known: &Known) -> Result<Snapshot, InvalidSnapshot> {
        let captured = Captured::new(self.workload(known), &known.services)?;
        let captured = captured.with_leaving(&known.leaving);
        let resources = captured.resources()?;
        let missing =
            resources.secrets().into_iter().find(|name| known.secrets.get(name).is_none());
        if let Some(name) = missing {
            return Err(InvalidSnapshot::Secret(name));
        }
        let tables: Result<Vec<_>, InvalidSnapshot> = self
            .tables
            .iter()
            .map(|(kind, table)| {
                let contents = self.contents(kind, &resources, known)?;
                Ok((*kind, table.followed_by(kind, contents)?))
            })
            .collect();
        self.tables = tables?;
        let withheld = captured.withheld().map(|(name, why)| (name.to_owned(), why.to_string()));
        Ok(Snapshot {
            catalogue: Catalogue::new(self.tables.clone()),
            withheld: withheld.collect(),
        })
    }

    fn contents(
        &self,
        kind: &Kind,
        resources: &Resources,
        known: &Known,
    ) -> Result<BTreeMap<String, Content>, NotEncodable> {
        if kind.type_url == SECRET_TYPE {
            return Ok(known.secrets.contents());
        }
        let of = |wanted: &ResourceKind| wanted.type_url() == kind.type_url;
        let Some(of_kind) = ResourceKind::ALL.into_iter().find(of) else {
            return Ok(BTreeMap::new());
        };
        let encoded = resources.of(of_kind).iter().map(|(name, resource)| {
            // The order of maps in the bytes is not fixed; in the text it is.
            let version = content_version(resource.to_string().as_bytes());
            let bytes = Zeroizing::new(self.encoder.encode(of_kind, resource)?);
            Ok((name.clone(), Content::of_version(version, bytes)))
        });
        encoded.collect()
    }

    fn workload(&self, known: &Known) -> CapturedWorkload {
        let Self { capture, namespace, sidecar, encoder: _, tables: _ } = self;
        let sidecar = Sidecar { aliases: known.aliases.clone(), ..sidecar.clone() };
        let own = sidecar.identity.trust_domain();
        let is_foreign = |domain: &TrustDomain| *domain != own && !sidecar.aliases.contains(domain);
        // Those of whom the roots are among the secrets.
        let domains = known.secrets.names().filter_map(|name| name.strip_prefix("spiffe://"));
        let domains = domains.filter_map(|name| TrustDomain::parse(name).ok());
        let mode = |number| known.mtls.mode(namespace, number);
        let mut ports: Vec<Port> =
            capture.ports.iter().map(|port| port.port(mode(port.port))).collect();
        for (number, protocol) in served(&known.services, (namespace, &capture.addresses)) {
            match ports.iter_mut().find(|port| port.number == number) {
                // Requests, if anybody says so.
                Some(port) => port.protocol = port.protocol.min(protocol),
                None => ports.push(PortConfig::served(number, protocol).port(mode(number))),
            }
        }
        CapturedWorkload {
            federated: domains.filter(is_foreign).collect(),
            addresses: capture.addresses.clone(),
            revoked: known.revoked.clone(),
            ports,
            outbound: capture.outbound,
            access_log: capture.access_log.clone(),
            authz_timeout: capture.authz_timeout,
            sidecar,
        }
    }
}
