//! What `/config` shows: what is in force, never a secret.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use super::Config;
use super::ads::AdsStatus;
use super::certificates::{Certificates, Told};
use super::discovery::Heard;
use super::in_use::InUse;
use super::judging::Judging;
use super::revocations::RevocationStatus;
use crate::authn::{KeyStatus, OnlineCounts, TokenStatus, Tokens};
use crate::certs;
use crate::identity::WorkloadIdentity;
use crate::runtime::Clock;

/// What `/config` shows. The configuration holds paths to secrets, never secrets.
pub(super) fn dump(
    config: &Config,
    (judging, tokens): (Judging, Option<Tokens>),
    clock: Clock,
    (certificates, revocations, ads): (
        Option<&Certificates>,
        RevocationStatus,
        Option<Arc<AdsStatus>>,
    ),
) -> impl Fn() -> Value + Send + Sync + use<> {
    let config = config.to_json();
    let identity = certificates.map(|c| {
        (c.identity.clone(), c.renewal.clone(), (Arc::clone(&c.sds_status), c.in_use.clone()))
    });
    let told = certificates.and_then(|certificates| certificates.told.clone());
    let Judging { gate, keys, resolver, status: reload, counts, aliases: _ } = judging;
    move || {
        let snapshot = gate.snapshot();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "revision": snapshot.revision(),
            "rules": snapshot.policies().rule_count(),
            "policies_at_start": counts.policies,
            "resources_error": reload.last_error(),
            "assigned": reload.assigned(),
            "mesh": snapshot.mesh().to_json(),
            "providers": keys.status().iter().map(|status| provider(status, &clock)).collect::<Vec<_>>(),
            "online": online(&resolver.callers().counts()),
            "engines": online(&resolver.engine_counts()),
            "outbound": tokens.as_ref().map(|tokens| tokens.status().iter().map(token).collect::<Vec<_>>()),
            "certificate": identity.as_ref().map(|(identity, renewal, _)| certificate(identity, renewal)),
            "sds": identity.as_ref().map(|(identity, _, (sds, in_use))| json!({
                "streams": sds.streams(),
                "names": sds.names(),
                "inUse": used(&in_use.last(), identity),
            })),
            "discovery": told.as_ref().map(discovery),
            "revocations": revocations.to_json(),
            "envoy": ads.as_ref().map(|ads| ads.to_json()),
            "config": config,
        })
    }
}

fn provider(status: &KeyStatus, clock: &Clock) -> Value {
    json!({
        "provider": status.provider,
        "uri": status.uri,
        "health": status.health.code(),
        "keys": status.usable,
        "skippedKeys": status.skipped.len(),
        "ageSeconds": status.age(clock.now()).map(|age| age.as_secs()),
        "fetches": status.fetches,
        "failures": status.failures,
        "lastError": status.last_error.as_ref().map(ToString::to_string),
    })
}

fn online(counts: &OnlineCounts) -> Value {
    let OnlineCounts { asked, out, failed, remembered } = counts;
    json!({ "asked": asked, "out": out, "failed": failed, "remembered": remembered })
}

fn token(status: &TokenStatus) -> Value {
    let TokenStatus { target, until, grants, failures, last_error } = status;
    json!({
        "target": target,
        "until": until.map(rfc3339),
        "grants": grants,
        "failures": failures,
        "lastError": last_error.as_ref().map(ToString::to_string),
    })
}

pub(super) fn rfc3339(at: SystemTime) -> Option<String> {
    OffsetDateTime::from(at).format(&Rfc3339).ok()
}

/// Which certificate Envoy uses, as it was last seen.
fn used(seen: &InUse, identity: &watch::Receiver<Option<Arc<WorkloadIdentity>>>) -> Value {
    let current = || identity.borrow().as_ref().map(|held| held.svid.leaf().serial().to_owned());
    let serial = match seen {
        InUse::Current => current(),
        InUse::Other { seen, .. } => Some(seen.clone()),
        InUse::NotLooked | InUse::NothingGiven | InUse::Nowhere | InUse::Unknown { .. } => None,
    };
    json!({ "state": seen.state(), "serial": serial, "says": seen.to_string() })
}

fn discovery(told: &Told) -> Value {
    let Told { status, words, services: _ } = told;
    let Heard {
        connected_since,
        silent_since: _,
        connections,
        resources,
        received,
        accepted,
        refused,
        waits_for_envoy,
        last_refusal,
        last_error,
    } = status.heard();
    json!({
        "connectedSince": connected_since.map(rfc3339),
        "stalenessSeconds": status.staleness().as_secs(),
        "connections": connections,
        "resources": resources,
        "revoked": words.clone().last().knowledge.list().map(|list| list.len()),
        "received": received,
        "accepted": accepted,
        "refused": refused,
        "waitsForEnvoy": waits_for_envoy,
        "lastRefusal": last_refusal,
        "lastError": last_error,
    })
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
        "checkedAt": status.checked_at.map(rfc3339),
        "stateOnDisk": status.state_on_disk,
    })
}
