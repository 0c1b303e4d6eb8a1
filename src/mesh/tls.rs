//! TLS contexts. This is the only place that writes one, and it takes everything that a safe one needs.

use serde_json::{Value, json};

use crate::identity::TrustDomain;

use super::address::set;
use super::cluster::SDS_CLUSTER;
use super::config::Protocol;
use super::peer_ids::PeerIds;

/// The suffix of the server name that marks a session between two gates.
pub(super) const SERVER_NAME_SUFFIX: &str = "hopgate.internal";
/// The secret that holds this workload's chain and key.
pub const OWN_CERTIFICATE: &str = "default";
/// The secret that holds the roots of the trust domain.
pub const ROOTS: &str = "ROOTCA";
/// The secret that holds the roots of every trust domain that is believed, each for its own workloads.
pub const ALL_ROOTS: &str = "ALL";

/// From where Envoy gets its secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrets {
    /// Each on a stream of its own to the sidecar.
    Own,
    /// With everything else, on the aggregated stream.
    Aggregated,
}

/// Whom a workload trusts, and from where its Envoy gets what proves it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trust<'a> {
    /// The workload's own trust domain.
    pub(super) own: &'a TrustDomain,
    /// Other names of it.
    pub(super) aliases: &'a [TrustDomain],
    /// Foreign trust domains whose workloads are let in.
    pub(super) federated: &'a [TrustDomain],
    /// The source of certificate and roots.
    pub(super) secrets: Secrets,
}

impl Trust<'_> {
    /// The transport socket of an inbound listener: any workload of the trust domain, under each of its names, and of those
    /// that it federates with, by its certificate.
    pub(super) fn downstream(&self, protocol: Protocol) -> Value {
        // The slash ends the trust domain: without it `mesh.test` would let `mesh.test.evil` in.
        let callers: Vec<Value> = std::iter::once(self.own)
            .chain(self.aliases)
            .chain(self.federated)
            .map(|domain| json!({ "prefix": format!("spiffe://{domain}/") }))
            .collect();
        let roots = if self.federated.is_empty() { ROOTS } else { ALL_ROOTS };
        let mut common = self.common(&callers, roots);
        if protocol == Protocol::Http {
            set(&mut common, "alpn_protocols", json!(["h2", "http/1.1"]));
        }
        json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "require_client_certificate": true,
                // A ticket outlives the certificate it was made with: an expired peer would come back by it.
                "disable_stateless_session_resumption": true,
                "disable_stateful_session_resumption": true,
                "common_tls_context": common,
            },
        })
    }

    /// The transport socket of an upstream cluster: only these peers. `name` begins the server name of the session.
    pub(super) fn upstream(&self, name: &str, peers: &PeerIds) -> Value {
        // The roots of the peers' one trust domain and no others: Envoy's validator goes by the first name of a certificate
        // and matches any, so that by every domain's roots a foreign authority could name a workload of ours second.
        let domain = peers.trust_domain();
        let roots =
            if domain == self.own { ROOTS.to_owned() } else { format!("spiffe://{domain}") };
        let exact: Vec<Value> =
            peers.as_slice().iter().map(|id| json!({ "exact": id.as_str() })).collect();
        json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": format!("{name}.{SERVER_NAME_SUFFIX}"),
                // No resumption, for the reason above.
                "max_session_keys": 0,
                // No ALPN here: the connection pool offers the protocol of its caller by itself, and a fixed list
                // makes HTTP/1.1 callers fail.
                "common_tls_context": self.common(&exact, &roots),
            },
        })
    }

    /// What both sides share. `peers` are matchers of the one URI SAN, never none; `roots` is the secret by which they are
    /// verified.
    fn common(&self, peers: &[Value], roots: &str) -> Value {
        let peers: Vec<Value> =
            peers.iter().map(|matcher| json!({ "san_type": "URI", "matcher": matcher })).collect();
        json!({
            // Envoy's own ceiling for upstreams is TLS 1.2, so both bounds are always written.
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_3",
                "tls_maximum_protocol_version": "TLSv1_3",
                "ecdh_curves": ["X25519MLKEM768", "X25519", "P-256"],
            },
            "tls_certificate_sds_secret_configs": [self.secrets.config(OWN_CERTIFICATE)],
            "combined_validation_context": {
                "default_validation_context": { "match_typed_subject_alt_names": peers },
                "validation_context_sds_secret_config": self.secrets.config(roots),
            },
        })
    }
}

impl Secrets {
    /// A secret of the sidecar. Without a time limit for the first fetch the port stays closed until the certificate
    /// is there; with one, it would open and reset every connection.
    fn config(self, name: &str) -> Value {
        let mut source = json!({ "resource_api_version": "V3", "initial_fetch_timeout": "0s" });
        match self {
            Self::Aggregated => set(&mut source, "ads", json!({})),
            Self::Own => set(&mut source, "api_config_source", delta_source(SDS_CLUSTER)),
        }
        json!({ "name": name, "sds_config": source })
    }
}

/// An incremental stream to a service of the sidecar.
pub(super) fn delta_source(cluster: &str) -> Value {
    json!({
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": true,
        "grpc_services": [{
            "envoy_grpc": {
                "cluster_name": cluster,
                // The default grows to 30 s: too long to be blind after a restart of the sidecar.
                "retry_policy": {
                    "retry_back_off": { "base_interval": "0.1s", "max_interval": "1s" },
                },
            },
        }],
    })
}
