//! Resources as the bytes that Envoy reads.

use prost::Message as _;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage};
use serde_json::Value;

use crate::proto::ENVOY_DESCRIPTORS;

/// A type of resource that is sent to Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// `envoy.config.cluster.v3.Cluster`.
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`.
    Endpoints,
    /// `envoy.config.listener.v3.Listener`.
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration`.
    Routes,
}

/// Writes resources. It knows the part of Envoy's API that is in `proto/envoy` and refuses every other field and filter, so
/// that nothing of Envoy is used by oversight.
#[derive(Debug, Clone)]
pub struct Encoder {
    pool: DescriptorPool,
}

/// A resource cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum NotEncodable {
    /// The descriptors are damaged.
    #[error("the descriptors of Envoy's API cannot be read")]
    Descriptors(#[source] prost_reflect::DescriptorError),
    /// They lack the type of the resource.
    #[error("{0} is not among the descriptors of Envoy's API")]
    Kind(&'static str),
    /// It holds something that is not in them.
    #[error("a {kind} holds what is not sent to Envoy")]
    Content {
        /// The type of the resource.
        kind: &'static str,
        /// Where, and what.
        #[source]
        source: serde_json::Error,
    },
}

impl ResourceKind {
    /// All of them, in the order in which a whole configuration is sent.
    pub const ALL: [Self; 4] = [Self::Cluster, Self::Endpoints, Self::Listener, Self::Routes];

    /// The name of the message.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Cluster => "envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "envoy.config.listener.v3.Listener",
            Self::Routes => "envoy.config.route.v3.RouteConfiguration",
        }
    }

    /// The type URL of discovery.
    #[must_use]
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Routes => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }
}

impl Encoder {
    /// Reads the descriptors.
    ///
    /// # Errors
    /// Never; they are part of the program.
    pub fn new() -> Result<Self, NotEncodable> {
        let pool = DescriptorPool::decode(ENVOY_DESCRIPTORS).map_err(NotEncodable::Descriptors)?;
        Ok(Self { pool })
    }

    /// Writes one resource.
    ///
    /// # Errors
    /// When it holds a field, a value or a filter that is not in the descriptors.
    pub fn encode(&self, kind: ResourceKind, resource: &Value) -> Result<Vec<u8>, NotEncodable> {
        let name = kind.message();
        let message = self.pool.get_message_by_name(name).ok_or(NotEncodable::Kind(name))?;
        let options = DeserializeOptions::new().deny_unknown_fields(true);
        let written = DynamicMessage::deserialize_with_options(message, resource, &options)
            .map_err(|source| NotEncodable::Content { kind: name, source })?;
        Ok(written.encode_to_vec())
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::cluster::v3::Cluster;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_what_envoy_reads() {
        let cluster = json!({
            "name": "app",
            "type": "ORIGINAL_DST",
            "connect_timeout": "2.5s",
            "lb_policy": "CLUSTER_PROVIDED",
            "upstream_bind_config": { "source_address": { "address": "127.0.0.6", "port_value": 0 } },
            "typed_extension_protocol_options": { "x": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
            } },
        });
        let bytes = Encoder::new().unwrap().encode(ResourceKind::Cluster, &cluster).unwrap();
        let read = Cluster::decode(bytes.as_slice()).unwrap();
        assert_eq!(read.name, "app");
        assert_eq!(read.connect_timeout.unwrap().nanos, 500_000_000);
        assert_eq!(read.lb_policy, 6);
        let bind = read.upstream_bind_config.unwrap().source_address.unwrap();
        assert_eq!(bind.address, "127.0.0.6");
        assert!(read.typed_extension_protocol_options["x"].type_url.ends_with(".RawBuffer"));
    }

    #[test]
    fn what_is_not_sent_to_envoy_cannot_be_written() {
        let encoder = Encoder::new().unwrap();
        let filter = |kind: &str, field: &str| {
            let config = json!({ "@type": format!("type.googleapis.com/{kind}"), field: "x" });
            json!({ "name": "l", "filter_chains": [{ "filters": [{ "name": "f", "typed_config": config }] }] })
        };
        let proxy = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
        assert!(encoder.encode(ResourceKind::Listener, &filter(proxy, "cluster")).is_ok());
        let manager =
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
        let http_inspector = "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector";
        for refused in [
            filter(proxy, "clustr"),
            filter(http_inspector, "name"),
            filter(manager, "internal_address_config"),
            json!({ "name": "l", "bind_to_port": false }),
        ] {
            let error = encoder.encode(ResourceKind::Listener, &refused).unwrap_err();
            assert!(matches!(error, NotEncodable::Content { .. }), "{error}");
        }
    }
}
