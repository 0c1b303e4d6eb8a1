//! What `/config` shows: what is in force, never a secret.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use super::certificates::Certificates;
use super::reload::ReloadStatus;
use super::{Config, Counts};
use crate::authn::{KeyHandle, KeyStatus};
use crate::authz::Gate;
use crate::certs;
use crate::identity::WorkloadIdentity;
use crate::runtime::Clock;

/// What `/config` shows. The configuration holds paths to secrets, never secrets.
pub(super) fn dump(
    config: &Config,
    (gate, reload, counts): (Arc<Gate>, ReloadStatus, Counts),
    (keys, clock): (KeyHandle, Clock),
    certificates: Option<&Certificates>,
) -> impl Fn() -> Value + Send + Sync + use<> {
    let config = config.to_json();
    let identity =
        certificates.map(|c| (c.identity.clone(), c.renewal.clone(), Arc::clone(&c.sds_status)));
    move || {
        let snapshot = gate.snapshot();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "revision": snapshot.revision(),
            "rules": snapshot.policies().rule_count(),
            "policies_at_start": counts.policies,
            "resources_error": reload.last_error(),
            "providers": keys.status().iter().map(|status| provider(status, &clock)).collect::<Vec<_>>(),
            "certificate": identity.as_ref().map(|(identity, renewal, _)| certificate(identity, renewal)),
            "sds": identity.as_ref().map(|(_, _, sds)| json!({ "streams": sds.streams(), "names": sds.names() })),
            "config": config,
        })
    }
}

fn provider(status: &KeyStatus, clock: &Clock) -> Value {
    json!({
        "provider": status.provider,
        "uri": status.uri,
        "keys": status.usable,
        "skippedKeys": status.skipped.len(),
        "ageSeconds": status.age(clock.now()).map(|age| age.as_secs()),
        "fetches": status.fetches,
        "failures": status.failures,
        "lastError": status.last_error.as_ref().map(ToString::to_string),
    })
}

fn rfc3339(at: SystemTime) -> Option<String> {
    OffsetDateTime::from(at).format(&Rfc3339).ok()
}

fn certificate(
    identity: &watch::Receiver<Option<Arc<WorkloadIdentity>>>,
    renewal: &certs::RenewalHandle,
) -> Value {
    let current = identity.borrow();
    let leaf = current.as_ref().map(|identity| identity.svid.leaf());
    let status = renewal.status();
    json!({
        "id": leaf.map(|leaf| leaf.id().as_str()),
        "serial": leaf.map(crate::identity::Leaf::serial),
        "notAfter": status.not_after.map(rfc3339),
        "nextRenewal": status.next_renewal.map(rfc3339),
        "renewals": status.renewals,
        "failures": status.failures,
        "lastError": status.last_error,
    })
}
