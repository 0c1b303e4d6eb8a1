//! What of a configuration is shown.

use serde_json::{Value, json};

use super::{Config, RawCallerAttributes};
use crate::sidecar::doors::DoorConfig;
use crate::sidecar::pod::PodConfig;
use crate::sidecar::sds::config::Sds;
use crate::sidecar::workload_api::WorkloadApiConfig;

impl Config {
    /// What `/config` shows: addresses and paths, never a secret.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "workload": {
                "trustDomain": self.workload.trust_domain,
                "namespace": self.workload.namespace,
                "serviceAccount": self.workload.service_account,
                "labels": self.workload.labels,
                "podUid": self.workload.pod_uid,
            },
            "resources": self.resources.to_json(),
            "extAuthz": {
                "listen": self.ext_authz.listen,
                "maxRequestBytes": self.ext_authz.max_request_bytes,
                "grpcDescriptors": self.ext_authz.grpc_descriptors,
                "longestWait": humantime_serde::re::humantime::format_duration(self.ext_authz.longest_wait).to_string(),
            },
            "doors": self.doors.iter().map(DoorConfig::to_json).collect::<Vec<_>>(),
            "sds": self.sds.as_ref().map(Sds::to_json),
            "workloadApi": self.workload_api.as_ref().map(WorkloadApiConfig::to_json),
            "admin": { "listen": self.admin.listen }, "discovery": self.discovery.to_json(),
            "stateDir": self.state_dir,
            "pod": self.pod.as_ref().map(PodConfig::to_json),
            "outbound": self.outbound.as_ref().map(|outbound| json!({
                "listen": outbound.listen,
                "targets": outbound.tokens.iter().map(|target| &target.name).collect::<Vec<_>>(),
            })),
            "proxies": self.proxies.iter().flatten().map(|proxy| &proxy.peer).collect::<Vec<_>>(),
            "decisionLog": {
                "path": self.decision_log.path,
                "callerAttributes": match self.decision_log.caller_attributes {
                    RawCallerAttributes::Omit => "Omit",
                    RawCallerAttributes::Record => "Record",
                },
            },
            "tracing": self.tracing.as_ref().map(|t| json!({ "otlpEndpoint": t.otlp_endpoint })),
            "drainTimeout": humantime_serde::re::humantime::format_duration(self.drain_timeout).to_string(),
        })
    }
}
