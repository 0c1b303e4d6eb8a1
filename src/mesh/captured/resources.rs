//! What is sent to Envoy, by type and name.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::check::Captured;
use crate::mesh::ResourceKind;
use crate::mesh::cluster::{AUTHZ_CLUSTER, TOKENS_CLUSTER};

/// All resources of one Envoy, each type by name, in Envoy's own words (proto3 JSON). Whatever one of them names is among
/// them, in the bootstrap, or a secret of [`Resources::secrets`].
#[derive(Debug, Clone, PartialEq)]
pub struct Resources {
    /// `envoy.config.cluster.v3.Cluster`.
    pub clusters: BTreeMap<String, Value>,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`.
    pub endpoints: BTreeMap<String, Value>,
    /// `envoy.config.listener.v3.Listener`.
    pub listeners: BTreeMap<String, Value>,
    /// `envoy.config.route.v3.RouteConfiguration`.
    pub routes: BTreeMap<String, Value>,
}

/// One resource names another that is not there. Envoy would take it all the same, and fail its traffic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{by} names {what} {name:?}, which is not there")]
pub struct Unresolved {
    /// The resource.
    pub by: String,
    /// `cluster`, `routes` or `endpoints`.
    pub what: &'static str,
    /// What it names.
    pub name: String,
}

/// What the resources name.
#[derive(Default)]
struct Named {
    clusters: BTreeSet<String>,
    routes: BTreeSet<String>,
    endpoints: BTreeSet<String>,
    secrets: BTreeSet<String>,
}

impl Captured {
    /// Turns what was checked into resources. The result is checked once more, as a whole, for whatever names something
    /// that is not there.
    ///
    /// # Errors
    /// When a resource names another that is not there; none that is made here does.
    pub fn resources(&self) -> Result<Resources, Unresolved> {
        let resources = Resources {
            clusters: by_name(self.inbound_clusters().into_iter().chain(self.outbound_clusters())),
            endpoints: by_name(self.assignments()),
            listeners: by_name([self.inbound_listener(), self.outbound_listener()]),
            routes: by_name(self.routes()),
        };
        resources.check()?;
        Ok(resources)
    }
}

impl Resources {
    /// Those of one type.
    #[must_use]
    pub fn of(&self, kind: ResourceKind) -> &BTreeMap<String, Value> {
        match kind {
            ResourceKind::Cluster => &self.clusters,
            ResourceKind::Endpoints => &self.endpoints,
            ResourceKind::Listener => &self.listeners,
            ResourceKind::Routes => &self.routes,
        }
    }

    /// The secrets that the resources name. A cluster whose secret never comes holds back everything that is sent after it.
    #[must_use]
    pub fn secrets(&self) -> BTreeSet<String> {
        let mut named = Named::default();
        self.clusters.values().chain(self.listeners.values()).for_each(|one| named.read(one));
        named.secrets
    }

    fn check(&self) -> Result<(), Unresolved> {
        let bootstrapped = [AUTHZ_CLUSTER, TOKENS_CLUSTER];
        let all = [&self.clusters, &self.listeners, &self.routes];
        for (by, resource) in all.into_iter().flatten() {
            let mut named = Named::default();
            named.read(resource);
            let Named { clusters, routes, endpoints, secrets: _ } = named;
            let known =
                |name: &str| self.clusters.contains_key(name) || bootstrapped.contains(&name);
            let missing = |what, name: String| Unresolved { by: by.clone(), what, name };
            if let Some(name) = clusters.into_iter().find(|name| !known(name)) {
                return Err(missing("cluster", name));
            }
            if let Some(name) = routes.into_iter().find(|name| !self.routes.contains_key(name)) {
                return Err(missing("routes", name));
            }
            if let Some(name) =
                endpoints.into_iter().find(|name| !self.endpoints.contains_key(name))
            {
                return Err(missing("endpoints", name));
            }
        }
        Ok(())
    }
}

impl Named {
    /// Collects what a resource names. Every key by which one resource of Envoy names another is here.
    fn read(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => {
                let text =
                    |field: &str| fields.get(field).and_then(Value::as_str).map(ToOwned::to_owned);
                if fields.contains_key("sds_config") {
                    self.secrets.extend(text("name"));
                }
                if fields.contains_key("eds_cluster_config") {
                    self.endpoints.extend(text("name"));
                }
                self.routes.extend(text("route_config_name"));
                self.clusters.extend(text("cluster"));
                if let Some(grpc) = fields.get("envoy_grpc") {
                    let name = grpc.get("cluster_name").and_then(Value::as_str);
                    self.clusters.extend(name.map(ToOwned::to_owned));
                }
                fields.values().for_each(|value| self.read(value));
            }
            Value::Array(items) => items.iter().for_each(|value| self.read(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// A load assignment goes by the name of its cluster.
fn by_name(resources: impl IntoIterator<Item = Value>) -> BTreeMap<String, Value> {
    let named = resources.into_iter().filter_map(|resource| {
        let name = resource.get("name").or_else(|| resource.get("cluster_name"));
        Some((name?.as_str()?.to_owned(), resource))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resources() -> Resources {
        let one = |name: &str, value: Value| BTreeMap::from([(name.to_owned(), value)]);
        Resources {
            clusters: one("c", json!({ "name": "c", "eds_cluster_config": {} })),
            endpoints: one("c", json!({ "cluster_name": "c" })),
            listeners: one("l", json!({ "x": [{ "rds": { "route_config_name": "r" } }] })),
            routes: one("r", json!({ "route": { "cluster": "c" } })),
        }
    }

    #[test]
    fn whatever_is_named_must_be_there() {
        assert_eq!(resources().check(), Ok(()));
        let take = |change: fn(&mut Resources)| {
            let mut resources = resources();
            change(&mut resources);
            resources.check().unwrap_err().to_string()
        };
        assert_eq!(take(|r| r.endpoints.clear()), r#"c names endpoints "c", which is not there"#);
        assert_eq!(take(|r| r.clusters.clear()), r#"r names cluster "c", which is not there"#);
        assert_eq!(take(|r| r.routes.clear()), r#"l names routes "r", which is not there"#);
        let gate = json!({ "grpc_service": { "envoy_grpc": { "cluster_name": "sidecar-authz" } } });
        let mut with_gate = resources();
        with_gate.listeners.insert("in".to_owned(), gate.clone());
        assert_eq!(with_gate.check(), Ok(()), "it is in the bootstrap");
        let other = gate.to_string().replace("sidecar-authz", "elsewhere");
        with_gate.listeners.insert("in".to_owned(), serde_json::from_str(&other).unwrap());
        assert!(with_gate.check().is_err());
    }
}
