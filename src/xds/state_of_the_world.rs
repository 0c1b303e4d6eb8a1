//! The state-of-the-world protocol: each request lists all names the client wants.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};

use super::stream::{Nonces, Sent, check_names, check_type, receipt};
use super::{Machine, Receipt, Table, Violation};

/// One state-of-the-world stream.
///
/// Served are types for which an omission is no deletion (secrets are one), so each response may hold one resource.
#[derive(Debug)]
pub struct StateOfTheWorld {
    type_url: &'static str,
    /// `false` until the first request: whatever nonce that one carries is of another stream.
    opened: bool,
    names: BTreeSet<String>,
    sent: BTreeMap<String, Sent>,
    nonces: Nonces,
}

impl StateOfTheWorld {
    /// A stream that nobody has asked anything on.
    #[must_use]
    pub fn new(type_url: &'static str) -> Self {
        Self {
            type_url,
            opened: false,
            names: BTreeSet::new(),
            sent: BTreeMap::new(),
            nonces: Nonces::default(),
        }
    }

    /// Takes the new list of names. A name that leaves it is forgotten, so that asking again is answered again.
    fn subscribe(&mut self, names: Vec<String>) -> Result<(), Violation> {
        check_names(names.len(), names.iter())?;
        self.names = names.into_iter().collect();
        let names = &self.names;
        self.sent.retain(|name, _| names.contains(name));
        Ok(())
    }
}

impl Machine for StateOfTheWorld {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;

    fn receive(&mut self, request: DiscoveryRequest) -> Result<Receipt, Violation> {
        check_type(self.type_url, &request.type_url)?;
        let nonce = &request.response_nonce;
        let error = request.error_detail.map(|status| status.message);
        let receipt = receipt(self.sent.iter_mut(), nonce, error);
        // A request that was written before the newest answer arrived is overtaken: another one will follow, with
        // the newest nonce and the names that then count.
        let overtaken = self.opened && !nonce.is_empty() && !self.nonces.is_latest(nonce);
        self.opened = true;
        if !overtaken {
            self.subscribe(request.resource_names)?;
        }
        Ok(receipt)
    }

    fn names(&self) -> Vec<String> {
        self.names.iter().cloned().collect()
    }

    fn next(&mut self, table: &Table) -> Option<DiscoveryResponse> {
        let (name, resource) = self.names.iter().find_map(|name| {
            let resource = table.get(name)?;
            let current =
                self.sent.get(name).is_some_and(|sent| sent.version == resource.version());
            (!current).then_some((name, resource))
        })?;
        let version = resource.version().to_owned();
        let nonce = self.nonces.next();
        let sent = Sent { version: version.clone(), nonce: nonce.clone(), settled: false };
        self.sent.insert(name.clone(), sent);
        Some(DiscoveryResponse {
            version_info: version,
            resources: vec![table.any(resource)],
            type_url: table.type_url().to_owned(),
            nonce,
            ..DiscoveryResponse::default()
        })
    }
}

#[cfg(test)]
mod tests;
