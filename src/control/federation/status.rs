//! How the relationships stand: for `/config` and for metrics.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use serde_json::{Value, json};

use crate::identity::{SpiffeBundle, TrustDomain};
use crate::telemetry::Metrics;

use super::relations::{Entry, FederationHandle};

/// How one relationship stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// A bundle is believed, and the last look went well.
    Fresh,
    /// A bundle is believed, and it could not be confirmed the last time.
    Failing,
    /// There was a bundle, and it could not be confirmed for too long.
    Withdrawn,
    /// There is no bundle yet.
    Missing,
}

/// How one relationship stands, for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationStatus {
    /// Whose bundle it is.
    pub domain: TrustDomain,
    /// Where it comes from.
    pub url: String,
    /// `https_web` or `https_spiffe`.
    pub profile: &'static str,
    /// How it stands.
    pub health: Health,
    /// The number of the revision that is held.
    pub sequence: Option<u64>,
    /// X.509 authorities and JWT keys that are held.
    pub keys: (usize, usize),
    /// Keys that were ignored in it.
    pub ignored: usize,
    /// Since the endpoint confirmed it.
    pub age: Option<Duration>,
    /// When the next look is planned.
    pub next: Option<SystemTime>,
    /// Looks so far, and how many of them brought nothing.
    pub looks: (u64, u64),
    /// What was wrong the last time.
    pub last_error: Option<String>,
}

/// What was done so far, for all relationships together.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub(super) fetches: u64,
    pub(super) failures: BTreeMap<&'static str, u64>,
}

impl Health {
    const ALL: [Self; 4] = [Self::Fresh, Self::Failing, Self::Withdrawn, Self::Missing];

    /// A stable name.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Failing => "failing",
            Self::Withdrawn => "withdrawn",
            Self::Missing => "missing",
        }
    }
}

impl RelationStatus {
    pub(super) fn new(entry: &Entry, now: SystemTime) -> Self {
        let Entry { relationship, held, plan, withdrawn, fetches, failures, last_error, .. } =
            entry;
        let health = match (held, withdrawn, last_error) {
            (None, _, _) => Health::Missing,
            (Some(_), true, _) => Health::Withdrawn,
            (Some(_), false, Some(_)) => Health::Failing,
            (Some(_), false, None) => Health::Fresh,
        };
        let bundle = held.as_ref().map(|kept| &kept.bundle);
        Self {
            domain: relationship.domain.clone(),
            url: relationship.url.clone(),
            profile: relationship.profile_name(),
            health,
            sequence: bundle.and_then(SpiffeBundle::sequence),
            keys: bundle.map_or((0, 0), |bundle| {
                let roots = bundle.x509().map_or(0, |x509| x509.roots().len());
                (roots, bundle.jwt().keys().len())
            }),
            ignored: bundle.map_or(0, |bundle| bundle.ignored().len()),
            age: held.as_ref().map(|kept| kept.age(now)),
            next: plan.at(),
            looks: (*fetches, *failures),
            last_error: last_error.clone(),
        }
    }

    /// For `/config`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let next = self.next.and_then(|at| {
            use time::format_description::well_known::Rfc3339;
            time::OffsetDateTime::from(at).replace_nanosecond(0).ok()?.format(&Rfc3339).ok()
        });
        json!({
            "trustDomain": self.domain.as_str(),
            "url": self.url,
            "profile": self.profile,
            "health": self.health.code(),
            "sequence": self.sequence,
            "x509Authorities": self.keys.0,
            "jwtKeys": self.keys.1,
            "ignoredKeys": self.ignored,
            "ageSeconds": self.age.map(|age| age.as_secs()),
            "nextLook": next,
            "looks": self.looks.0,
            "failures": self.looks.1,
            "lastError": self.last_error,
        })
    }
}

impl FederationHandle {
    /// What `/config` shows, with how each relationship stands.
    #[must_use]
    pub fn show_in(&self, mut dump: Value) -> Value {
        if let Value::Object(members) = &mut dump {
            let all = self.status().iter().map(RelationStatus::to_json).collect();
            members.insert("federation".to_owned(), Value::Array(all));
        }
        dump
    }

    /// Adds what can be counted to the metrics of the process; read when the page is asked for.
    pub fn register(&self, metrics: &Metrics) {
        let collector = Box::new(Page(self.clone()));
        metrics.register(|registry| registry.register_collector(collector));
    }
}

struct Page(FederationHandle);

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Page")
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (status, counts) = (self.0.status(), self.0.counts());
        let gauge = |number: u64| ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX));
        let help = "Foreign trust domains, by how their bundles stand.";
        let kind = gauge(0).metric_type();
        let mut family = encoder.encode_descriptor("federation_relationships", help, None, kind)?;
        for health in Health::ALL {
            let labels = [("health", health.code())];
            let number = status.iter().filter(|one| one.health == health).count();
            let family = family.encode_family(&labels)?;
            gauge(u64::try_from(number).unwrap_or(u64::MAX)).encode(family)?;
        }
        let oldest = status.iter().filter_map(|one| one.age).max().unwrap_or(Duration::ZERO);
        let help = "How long ago the foreign bundle that was confirmed longest ago was confirmed.";
        let name = "federation_oldest_bundle_age_seconds";
        gauge(oldest.as_secs()).encode(encoder.encode_descriptor(name, help, None, kind)?)?;
        let fetches = ConstCounter::new(counts.fetches);
        let help = "Looks at foreign bundle endpoints.";
        let kind = fetches.metric_type();
        fetches.encode(encoder.encode_descriptor("federation_fetches", help, None, kind)?)?;
        let help = "Looks at foreign bundle endpoints that brought no bundle, by reason.";
        let mut family =
            encoder.encode_descriptor("federation_fetch_failures", help, None, kind)?;
        for (reason, number) in &counts.failures {
            ConstCounter::new(*number).encode(family.encode_family(&[("reason", *reason)])?)?;
        }
        Ok(())
    }
}
