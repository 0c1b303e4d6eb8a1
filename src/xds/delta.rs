//! The incremental protocol: each request adds and removes names.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as WireResource,
};

use super::stream::{Nonces, Sent, check_names, check_type, receipt};
use super::{Machine, Receipt, Table, Violation};

/// The name that asks for everything. No secret may be asked for that way.
const WILDCARD: &str = "*";

/// One incremental stream.
#[derive(Debug)]
pub struct Delta {
    type_url: &'static str,
    opened: bool,
    names: BTreeMap<String, Held>,
    nonces: Nonces,
}

/// What the client has of a name it asked for.
#[derive(Debug)]
enum Held {
    /// Nothing that is known: an answer is owed.
    Owed,
    /// This version, it says, from an earlier stream.
    Brought(String),
    /// What was sent here.
    Sent(Sent),
    /// It was told that there is no such resource.
    Missing,
}

impl Delta {
    /// A stream that nobody has asked anything on.
    #[must_use]
    pub fn new(type_url: &'static str) -> Self {
        Self { type_url, opened: false, names: BTreeMap::new(), nonces: Nonces::default() }
    }

    /// Adds and removes names. A name that is asked for again is answered again. The nonce does not matter here:
    /// a subscription counts also when an answer crossed it on the way.
    fn subscribe(&mut self, request: DeltaDiscoveryRequest) -> Result<(), Violation> {
        for name in &request.resource_names_unsubscribe {
            self.names.remove(name);
        }
        let asked = request.resource_names_subscribe;
        check_names(self.names.len() + asked.len(), asked.iter())?;
        let mut brought = request.initial_resource_versions;
        for name in asked.into_iter().filter(|name| name != WILDCARD) {
            // Only the first request of a stream speaks of earlier streams.
            let version = if self.opened { None } else { brought.remove(&name) };
            self.names.insert(name, version.map_or(Held::Owed, Held::Brought));
        }
        self.opened = true;
        Ok(())
    }

    fn resource(&mut self, table: &Table) -> Option<DeltaDiscoveryResponse> {
        let (name, held, resource) = self.names.iter_mut().find_map(|(name, held)| {
            let resource = table.get(name)?;
            (held.version() != Some(resource.version())).then_some((name, held, resource))
        })?;
        let version = resource.version().to_owned();
        let nonce = self.nonces.next();
        let sent = Sent { version: version.clone(), nonce: nonce.clone(), settled: false };
        *held = Held::Sent(sent);
        let wire = WireResource {
            name: name.clone(),
            version: version.clone(),
            resource: Some(table.any(resource)),
            ..WireResource::default()
        };
        Some(DeltaDiscoveryResponse {
            system_version_info: version,
            resources: vec![wire],
            type_url: table.type_url().to_owned(),
            nonce,
            ..DeltaDiscoveryResponse::default()
        })
    }

    fn missing(&mut self, table: &Table) -> Option<DeltaDiscoveryResponse> {
        let missing: Vec<String> = self
            .names
            .iter_mut()
            .filter(|(name, held)| table.get(name).is_none() && !matches!(held, Held::Missing))
            .map(|(name, held)| {
                *held = Held::Missing;
                name.clone()
            })
            .collect();
        if missing.is_empty() {
            return None;
        }
        Some(DeltaDiscoveryResponse {
            removed_resources: missing,
            type_url: table.type_url().to_owned(),
            nonce: self.nonces.next(),
            ..DeltaDiscoveryResponse::default()
        })
    }
}

impl Held {
    fn version(&self) -> Option<&str> {
        match self {
            Self::Brought(version) => Some(version),
            Self::Sent(sent) => Some(&sent.version),
            Self::Owed | Self::Missing => None,
        }
    }

    fn sent(&mut self) -> Option<&mut Sent> {
        match self {
            Self::Sent(sent) => Some(sent),
            Self::Owed | Self::Brought(_) | Self::Missing => None,
        }
    }
}

impl Machine for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    fn receive(&mut self, mut request: DeltaDiscoveryRequest) -> Result<Receipt, Violation> {
        check_type(self.type_url, &request.type_url)?;
        let error = request.error_detail.take().map(|status| status.message);
        let sent = self.names.iter_mut().filter_map(|(name, held)| Some((name, held.sent()?)));
        let receipt = receipt(sent, &request.response_nonce, error);
        self.subscribe(request)?;
        Ok(receipt)
    }

    fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    /// Resources first, one by one; then, in one answer, the names that do not exist.
    fn next(&mut self, table: &Table) -> Option<DeltaDiscoveryResponse> {
        self.resource(table).or_else(|| self.missing(table))
    }
}

#[cfg(test)]
mod tests;
