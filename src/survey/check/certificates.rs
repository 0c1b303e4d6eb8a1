//! The authority's certificates, and how long they last.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{count, name};
use crate::survey::finding::Finding;
use crate::survey::seen::Plane;

const DAY: u64 = 24 * 3600;
/// A change of the root takes the time of a rollout, and of everybody who copied the roots.
const ROOT_SOON: u64 = 90 * DAY;
const SOON: u64 = 30 * DAY;
const NOW: u64 = 7 * DAY;

pub(super) fn all(plane: &Plane, now: SystemTime) -> Vec<Finding> {
    let mut findings = vec![roots(plane, now)];
    findings.extend(issuing(plane));
    findings
}

fn roots(plane: &Plane, now: SystemTime) -> Finding {
    const CHECK: &str = "certificates/roots";
    let rotate = "begin a change of the root now: `hopgate ca rotate` where the control plane runs";
    let pem = match &plane.roots {
        Ok(pem) => pem,
        Err(why) => return Finding::unseen(CHECK, &format!("the roots of {}", name(plane)), why),
    };
    let ends: Option<Vec<u64>> =
        CertificateDer::pem_slice_iter(pem.as_bytes()).map(|der| end_of(&der.ok()?)).collect();
    let Some(ends) = ends.filter(|ends| !ends.is_empty()) else {
        let next = "the control plane writes the ConfigMap anew where it is missing: delete it";
        return Finding::error(CHECK, "the roots that everybody is to copy are not readable", next);
    };
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    // While the root changes the old one may end: the newest counts.
    let left = ends.iter().max().copied().unwrap_or_default().saturating_sub(now);
    let seen = format!("{}, the last one good for {}", count(ends.len(), "root"), span(left));
    if left <= NOW {
        Finding::error(CHECK, seen, rotate)
    } else if left <= ROOT_SOON {
        Finding::warning(CHECK, seen, rotate)
    } else {
        Finding::ok(CHECK, seen)
    }
}

fn end_of(der: &CertificateDer<'_>) -> Option<u64> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    u64::try_from(certificate.validity().not_after.timestamp()).ok()
}

/// Of the certificate that signs leaves, as the control plane's metrics tell.
fn issuing(plane: &Plane) -> Option<Finding> {
    const CHECK: &str = "certificates/issuing";
    let replicas = plane.replicas.as_ref().ok()?;
    let left = replicas.iter().filter_map(|replica| {
        let metrics = replica.metrics.as_ref().ok()?;
        metrics.with("hopgate_control_issuing_left_seconds", &[("phase", "active")])
    });
    let left = left.min_by(f64::total_cmp)?;
    let left = Duration::try_from_secs_f64(left.max(0.0)).unwrap_or_default().as_secs();
    let seen = format!("leaves are signed by a certificate that is good for {}", span(left));
    let (soon, at_once, next) = match by_cert_manager(plane) {
        // The next one is asked for when a third is left.
        Some(whole) => (
            whole / 4,
            whole / 10,
            "`hopgate ca status` says why cert-manager's answer was not taken; see its CertificateRequests",
        ),
        None => (SOON, NOW, "`hopgate ca taint` makes a new one, and replaces every leaf"),
    };
    Some(if left <= at_once {
        Finding::error(CHECK, seen, next)
    } else if left <= soon {
        Finding::warning(CHECK, seen, next)
    } else {
        Finding::ok(CHECK, seen)
    })
}

/// How long a certificate of cert-manager lives, in seconds, where that signs.
fn by_cert_manager(plane: &Plane) -> Option<u64> {
    let config = plane.config.as_ref().ok()?.pointer("/authority/certManager")?;
    let said = config.get("duration").and_then(Value::as_str)?;
    humantime_serde::re::humantime::parse_duration(said).ok().map(|whole| whole.as_secs())
}

fn span(seconds: u64) -> String {
    match seconds {
        0 => "no time any more".to_owned(),
        _ if seconds >= 2 * DAY => format!("{} days", seconds / DAY),
        _ => format!("{} h", seconds / 3600),
    }
}
