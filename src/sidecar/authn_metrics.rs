//! How the keys of providers and the servers that judge credentials are doing; read when the page is asked for.

use std::fmt;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::authn::{KeyHandle, KeyStatus};
use crate::authz::Resolver;
use crate::runtime::{AskCounts, Clock};
use crate::telemetry::Metrics;

/// Registers what is counted.
pub(super) fn register(metrics: &Metrics, keys: &KeyHandle, resolver: &Resolver, clock: &Clock) {
    let (keys, resolver, clock) = (keys.clone(), resolver.clone(), clock.clone());
    let counts = Authentication { keys, resolver, clock };
    metrics.register(|registry| registry.register_collector(Box::new(counts)));
}

struct Authentication {
    keys: KeyHandle,
    resolver: Resolver,
    clock: Clock,
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authentication")
    }
}

impl Collector for Authentication {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let status = self.keys.status();
        let sum = |of: fn(&KeyStatus) -> u64| status.iter().map(of).sum::<u64>();
        let online = self.resolver.callers().counts();
        let engines = self.resolver.engine_counts();
        for (name, help, value) in [
            ("authn_key_fetches", "Fetches of key sets that ended.", sum(|s| s.fetches)),
            ("authn_key_fetch_failures", "Fetches of key sets that failed.", sum(|s| s.failures)),
            (
                "authn_online_questions",
                "Questions to servers that judge credentials.",
                online.asked,
            ),
            ("authn_online_remembered", "Judgements taken from memory.", online.remembered),
            ("authz_engine_questions", "Questions to other policy engines.", engines.asked),
            (
                "authz_engine_remembered",
                "Answers of engines taken from memory.",
                engines.remembered,
            ),
        ] {
            let count = ConstCounter::new(value);
            count.encode(encoder.encode_descriptor(name, help, None, count.metric_type())?)?;
        }
        let online_names = ("authn_online_failures", "authn_online_out");
        questions(online_names, &online, &mut encoder)?;
        questions(("authz_engine_failures", "authz_engine_out"), &engines, &mut encoder)?;
        if status.is_empty() {
            return Ok(());
        }
        age(&status, self.clock.now(), &mut encoder)?;
        health(&status, &mut encoder)
    }
}

fn questions(
    (failed, out): (&str, &str),
    online: &AskCounts,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let help = "Questions that brought no clear answer or were not sent, by what was wrong.";
    let mut failures = encoder.encode_descriptor(failed, help, None, MetricType::Counter)?;
    for (code, count) in &online.failed {
        ConstCounter::new(*count).encode(failures.encode_family(&[("code", *code)])?)?;
    }
    let help = "Questions that are out at this moment.";
    let count = ConstGauge::new(i64::try_from(online.out).unwrap_or(i64::MAX));
    count.encode(encoder.encode_descriptor(out, help, None, count.metric_type())?)
}

fn age(
    status: &[KeyStatus],
    now: SystemTime,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let help = "Time since the keys of a provider last came.";
    let mut ages =
        encoder.encode_descriptor("authn_key_age_seconds", help, None, MetricType::Gauge)?;
    for status in status {
        let Some(age) = status.age(now) else { continue };
        let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        let labels = [("provider", status.provider.as_str())];
        ConstGauge::new(seconds).encode(ages.encode_family(&labels)?)?;
    }
    Ok(())
}

fn health(status: &[KeyStatus], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let help =
        "1 under the present health of the keys of a provider and the last error of a fetch.";
    let mut healths =
        encoder.encode_descriptor("authn_key_health", help, None, MetricType::Gauge)?;
    for status in status {
        let error = status.last_error.as_ref().map_or("", crate::authn::FetchError::code);
        let labels = [
            ("provider", status.provider.as_str()),
            ("health", status.health.code()),
            ("error", error),
        ];
        ConstGauge::new(1_i64).encode(healths.encode_family(&labels)?)?;
    }
    Ok(())
}
