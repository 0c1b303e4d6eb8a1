//! The services of the mesh, on their way to sidecars.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::identity::TrustDomain;
use crate::kube::index::Index;
use crate::policy::Mtls;
use crate::xds::SharedTable;
use crate::xds::own::SERVICE_KIND;

/// The services that are told; nothing before all about them was heard.
pub(super) struct ServiceTable {
    domain: TrustDomain,
    /// What the MeshPolicy said last that could be read.
    mtls: Mtls,
    table: Option<Arc<SharedTable>>,
}

impl ServiceTable {
    pub(super) fn new(domain: TrustDomain) -> Self {
        Self { domain, mtls: Mtls::strict(), table: None }
    }

    /// Takes what there is now.
    pub(super) fn renew(&mut self, index: &Index) {
        if let Some(mtls) = index.mtls() {
            self.mtls = mtls;
        }
        let Some(services) = index.meshed(&self.domain, &self.mtls) else { return };
        let contents: BTreeMap<String, Vec<u8>> =
            services.iter().map(|one| (one.resource_name(), one.encode())).collect();
        let before = self.table.clone().unwrap_or_else(SharedTable::empty);
        match before.followed_by(&SERVICE_KIND, contents) {
            Ok(table) => self.table = Some(table),
            Err(error) => {
                tracing::error!(%error, "services cannot be told; what was told before stands");
            }
        }
    }

    pub(super) fn table(&self) -> Option<&Arc<SharedTable>> {
        self.table.as_ref()
    }

    /// How many services are told.
    pub(super) fn len(&self) -> usize {
        self.table.as_ref().map_or(0, |table| table.names().len())
    }
}
