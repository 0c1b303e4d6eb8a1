//! How the authority stands, as numbers: read whenever the page of metrics is asked for.

use std::fmt;
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use crate::ca::rotation::Next;
use crate::ca::rotation::{self, FleetView};
use crate::ca::{Phase, State, Step};
use crate::telemetry::Metrics;

use super::{Rotation, at};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByState {
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByPhase {
    phase: &'static str,
}

/// The states of a change of the root, as labels.
const STATES: [&str; 5] = ["none", "prepared", "publishing", "reissuing", "going_back"];

impl Rotation {
    /// Shows the numbers on the page of metrics.
    pub(in crate::control) fn count_in(&self, metrics: &Metrics) {
        metrics.register(|registry| registry.register_collector(Box::new(Page(self.clone()))));
    }
}

#[derive(Clone)]
struct Page(Rotation);

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").finish_non_exhaustive()
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (state, now) = (self.0.0.authority.state(), self.0.0.clock.now());
        let fleet = self.0.0.view(now);
        let out = &mut encoder;
        let is = state_of(&state);
        let states = STATES.map(|state| (ByState { state }, i64::from(state == is)));
        family(
            out,
            ("control_root_change", "State of the change of the root: 1 for the one it is in."),
            &states,
        )?;
        generations(out, &state, now)?;
        sidecars(out, (&state, &fleet), now)?;
        let since = unix(changed(&state));
        for (name, help, value) in [
            (
                "control_root_changed_timestamp_seconds",
                "When the change of the root took its last step; without one, when the root that signs was made.",
                since,
            ),
            (
                "control_bundle_sequence",
                "Grows with each change of the trust bundle.",
                i64::try_from(state.sequence).unwrap_or(i64::MAX),
            ),
            (
                "control_leads",
                "1 for the replica that leads, or the only one; 0 for one that follows.",
                i64::from(self.0.0.replicas.leads()),
            ),
            (
                "control_in_touch",
                "0 while this replica is so long out of touch with the Kubernetes API that it serves nobody.",
                i64::from(self.0.0.replicas.is_in_touch()),
            ),
            (
                "control_replicas",
                "Replicas of the control plane that are known here, this one included.",
                count(fleet.replicas.len().saturating_add(1)),
            ),
        ] {
            one(out, (name, help), value)?;
        }
        Ok(())
    }
}

/// Of each generation that is not retired: there is at most one in each of these phases.
fn generations(
    out: &mut DescriptorEncoder<'_>,
    state: &State,
    now: SystemTime,
) -> Result<(), fmt::Error> {
    let live = || state.generations.iter().filter(|one| one.phase != Phase::Retired);
    let phase = |record: &crate::ca::Record| ByPhase { phase: record.phase.as_str() };
    let age: Vec<_> = live().map(|one| (phase(one), seconds(now, at(one.made)))).collect();
    let root: Vec<_> = live().map(|one| (phase(one), seconds(at(one.validity.1), now))).collect();
    let issuing: Vec<_> =
        live().map(|one| (phase(one), seconds(at(one.issuing_until), now))).collect();
    family(out, ("control_generation_age_seconds", "Age of the generation in this phase."), &age)?;
    family(
        out,
        ("control_root_left_seconds", "Until the root of the generation in this phase ends."),
        &root,
    )?;
    family(
        out,
        (
            "control_issuing_left_seconds",
            "Until the issuing certificate of the generation in this phase ends.",
        ),
        &issuing,
    )
}

fn sidecars(
    out: &mut DescriptorEncoder<'_>,
    (state, fleet): (&State, &FleetView),
    now: SystemTime,
) -> Result<(), fmt::Error> {
    let awaited = match rotation::next(state, fleet, now) {
        Next::Wait(awaited) => awaited.iter().map(|one| fleet.weight(one)).sum(),
        Next::Nothing | Next::Publish | Next::Activate | Next::Retire | Next::Reissued => 0,
    };
    for (name, help, value) in [
        ("control_sidecars", "Sidecars that are connected, to whichever replica.", fleet.size()),
        (
            "control_sidecars_acknowledged",
            "Those of them that acknowledged the trust bundle of now.",
            fleet.acknowledged(),
        ),
        (
            "control_sidecars_awaited",
            "Those of them that the change of the root waits for.",
            awaited,
        ),
    ] {
        one(out, (name, help), count(value))?;
    }
    Ok(())
}

fn state_of(state: &State) -> &'static str {
    match &state.rotation {
        None => "none",
        Some(change) if change.going_back => "going_back",
        Some(change) => match change.step {
            Step::Prepared => "prepared",
            Step::Publishing => "publishing",
            Step::Reissuing => "reissuing",
        },
    }
}

fn changed(state: &State) -> SystemTime {
    let made = state.active().map_or(0, |active| active.made);
    at(state.rotation.as_ref().map_or(made, |change| change.since))
}

/// How long from `earlier` to `later`; negative when it is the other way round.
fn seconds(later: SystemTime, earlier: SystemTime) -> i64 {
    let whole = |passed: Duration| i64::try_from(passed.as_secs()).unwrap_or(i64::MAX);
    match later.duration_since(earlier) {
        Ok(passed) => whole(passed),
        Err(error) => -whole(error.duration()),
    }
}

fn unix(time: SystemTime) -> i64 {
    seconds(time, SystemTime::UNIX_EPOCH)
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn one(
    out: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    value: i64,
) -> Result<(), fmt::Error> {
    let gauge = ConstGauge::new(value);
    gauge.encode(out.encode_descriptor(name, help, None, gauge.metric_type())?)
}

fn family<L: EncodeLabelSet>(
    out: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    values: &[(L, i64)],
) -> Result<(), fmt::Error> {
    let kind = ConstGauge::new(0_i64).metric_type();
    let mut metric = out.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in values {
        ConstGauge::new(*value).encode(metric.encode_family(labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_negative() {
        assert_eq!(seconds(at(10), at(4)), 6);
        assert_eq!(seconds(at(4), at(10)), -6);
        assert_eq!(unix(at(1_790_000_000)), 1_790_000_000);
    }
}
