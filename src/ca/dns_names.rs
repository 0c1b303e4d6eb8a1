//! DNS names of workloads: only those that the operator wrote down stand in a certificate.

use std::collections::BTreeMap;

use rustls::pki_types::DnsName;
use serde::Deserialize;

use crate::identity::{SpiffeId, TrustDomain};

use super::token::{InvalidWorkload, workload_id};

/// A certificate with hundreds of names would not fit into a handshake's first flight.
const MAX_NAMES: usize = 32;

/// The DNS names of one workload, as configured.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct WorkloadNames {
    /// The workload, `ns/<namespace>/sa/<service account>`.
    pub workload: String,
    /// Its names: whole ones, no wildcards.
    pub names: Vec<String>,
}

/// Which workload has which DNS names in its certificate. Most have none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsNames(BTreeMap<SpiffeId, Vec<String>>);

/// An entry cannot work.
#[derive(Debug, thiserror::Error)]
pub enum InvalidNames {
    /// The workload is none.
    #[error("dnsNames[{index}].workload: {source}")]
    Workload {
        /// Which entry.
        index: usize,
        /// Why.
        source: InvalidWorkload,
    },
    /// Two entries for one workload, or one for the control plane.
    #[error("dnsNames[{0}].workload is named before, or reserved for the control plane")]
    Taken(usize),
    /// None, or too many.
    #[error("dnsNames[{0}].names: 1 to {MAX_NAMES} are needed")]
    Count(usize),
    /// A text that is no DNS name, or one of them twice.
    #[error("dnsNames[{index}].names: {name:?} is no whole DNS name, or stands there twice")]
    Name {
        /// Which entry.
        index: usize,
        /// Which text.
        name: String,
    },
}

impl DnsNames {
    /// Checks all entries, for workloads of `domain`.
    ///
    /// # Errors
    /// When a workload or a name is none, or an entry stands there twice.
    pub fn new(entries: &[WorkloadNames], domain: &TrustDomain) -> Result<Self, InvalidNames> {
        let mut all = BTreeMap::new();
        for (index, WorkloadNames { workload, names }) in entries.iter().enumerate() {
            let workload = workload_id(domain, workload)
                .map_err(|source| InvalidNames::Workload { index, source })?;
            if super::is_reserved(&workload) {
                return Err(InvalidNames::Taken(index));
            }
            if !(1..=MAX_NAMES).contains(&names.len()) {
                return Err(InvalidNames::Count(index));
            }
            let mut checked: Vec<String> = Vec::with_capacity(names.len());
            for name in names {
                let lower = name.to_ascii_lowercase();
                // Hosts are compared without regard to case (RFC 4343).
                if !is_host(&lower) || checked.contains(&lower) {
                    return Err(InvalidNames::Name { index, name: name.clone() });
                }
                checked.push(lower);
            }
            if all.insert(workload, checked).is_some() {
                return Err(InvalidNames::Taken(index));
            }
        }
        Ok(Self(all))
    }

    /// The names of one workload, in lower case.
    #[must_use]
    pub fn of(&self, workload: &SpiffeId) -> &[String] {
        self.0.get(workload).map_or(&[], Vec::as_slice)
    }
}

/// A whole host name: no wildcard, no dot at its end, no address.
fn is_host(name: &str) -> bool {
    DnsName::try_from(name).is_ok()
        && !name.ends_with('.')
        && name.parse::<std::net::IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(workload: &str, names: &[&str]) -> WorkloadNames {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        WorkloadNames { workload: workload.to_owned(), names }
    }

    fn check(entries: &[WorkloadNames]) -> Result<DnsNames, InvalidNames> {
        DnsNames::new(entries, &TrustDomain::parse("demo.mesh").unwrap())
    }

    #[test]
    fn a_workload_has_the_names_that_are_written_down() {
        let names =
            check(&[entry("ns/shop/sa/orders", &["Orders.shop.svc", "orders.example"])]).unwrap();
        let of = |path: &str| {
            names.of(&SpiffeId::parse(&format!("spiffe://demo.mesh/{path}")).unwrap()).to_vec()
        };
        assert_eq!(of("ns/shop/sa/orders"), ["orders.shop.svc", "orders.example"]);
        assert!(of("ns/shop/sa/payments").is_empty());
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_place() {
        let good = entry("ns/shop/sa/orders", &["a.b"]);
        let place = |entries: &[WorkloadNames]| check(entries).unwrap_err().to_string();
        for (bad, words) in [
            (entry("orders", &["a.b"]), "dnsNames[1].workload"),
            (entry("ns/shop/sa/orders", &["c.d"]), "named before"),
            (entry("ns/hopgate-system/sa/hopgate-control", &["c.d"]), "reserved"),
            (entry("ns/shop/sa/x", &[]), "1 to 32"),
            (entry("ns/shop/sa/x", &["a.b"; 33]), "1 to 32"),
            (entry("ns/shop/sa/x", &["a.b", "A.B"]), "twice"),
            (entry("ns/shop/sa/x", &["*.b"]), "\"*.b\""),
            (entry("ns/shop/sa/x", &["127.0.0.1"]), "127.0.0.1"),
            (entry("ns/shop/sa/x", &["a b"]), "\"a b\""),
            (entry("ns/shop/sa/x", &["a.b."]), "\"a.b.\""),
            (entry("ns/shop/sa/x", &[""]), "\"\""),
        ] {
            let text = place(&[good.clone(), bad]);
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}
