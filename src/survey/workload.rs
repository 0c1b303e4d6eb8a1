//! One workload's pod: who it is, how its certificate and its policies stand, what it decides, and what is wrong with it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::Value;

use super::fleet::Fleet;
use super::metrics::Metrics;
use super::seen::{Seen, SeenPod};
use crate::identity::SpiffeId;
use crate::kube::Clocks;
use crate::kube::inject::{Injected, Standing};

/// Clocks that differ by more are told of.
const SKEW: Duration = Duration::from_secs(5);
/// Certificates are renewed when half of their life is over. One of which less than this part is left was not.
const LATE: u32 = 5;
/// So many codes of refusals are told.
const CODES: usize = 3;
/// What stands for the name of a pod where there is none.
const OUTSIDE: &str = "-";
const CHECKS: &str = "hopgate_authz_checks_total";
const REFUSED: (&str, &str) = ("decision", "deny");

/// One pod with a gate, or one that should have one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// Its name; `-` for one that is in no pod.
    pub pod: String,
    /// The SPIFFE ID that it proved to the control plane; none where it is connected to none.
    pub id: Option<String>,
    /// Its certificate; none where it has none, or that is not known.
    pub certificate: Option<Life>,
    /// The snapshot of policies and keys that judges now.
    pub revision: Option<String>,
    /// The resources that the control plane tells it.
    pub policies: Option<Programmed>,
    /// Who put its gate in; none where it has none.
    pub gate: Option<Injected>,
    /// What it decides; none where that is not known.
    pub decisions: Option<Rates>,
    /// What is wrong, each a sentence.
    pub problems: Vec<String>,
}

/// A certificate's time, at the moment of looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Life {
    /// Since when it is good, in seconds.
    pub age_seconds: u64,
    /// For how long it is good yet, in seconds.
    pub left_seconds: u64,
}

/// How far resources got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Programmed {
    /// How many are told.
    pub told: u64,
    /// How many of them are in force as they are now.
    pub running: u64,
}

/// Decisions over the time between two looks.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rates {
    /// Decisions per second.
    pub per_second: f64,
    /// Refusals among them.
    pub refused_per_second: f64,
    /// The most frequent of these, by code.
    pub refused: Vec<(String, f64)>,
    /// Refusals since the sidecar started.
    pub refused_in_all: f64,
}

/// What one look at a sidecar brought.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) metrics: Metrics,
    pub(super) clocks: Option<Clocks>,
    /// Since some moment that is the same for all.
    pub(super) at: Duration,
}

impl Workload {
    /// What two looks at a pod tell; `None` for one that nobody wants a gate for.
    pub(super) fn of(
        pod: &SeenPod,
        fleet: &Fleet,
        (first, last): (&Seen<Look>, &Seen<Look>),
        now: SystemTime,
    ) -> Option<Self> {
        let mut workload = Self::unknown(&pod.pod.namespace, &pod.name);
        match &pod.standing {
            Ok(Standing::Unwanted(_)) => return None,
            Ok(Standing::Guarded { by, asked: _ }) => workload.gate = Some(by.clone()),
            Ok(Standing::Unguarded { .. }) => {
                workload.says("has no gate, and should have one: restart its workload");
                return Some(workload);
            }
            Ok(Standing::Impossible(skip)) => {
                workload.says(&format!("has no gate: {skip}"));
                return Some(workload);
            }
            Err(why) => {
                workload.says(why);
                return Some(workload);
            }
        }
        if !pod.placed {
            workload.says("does not run yet: no node has it");
            return Some(workload);
        }
        workload.heard_of(fleet, &pod.pod.uid);
        match last {
            Ok(look) => {
                workload.certified(look, now);
                workload.seen(look);
                workload.decisions = first.as_ref().ok().and_then(|first| rates(first, look));
            }
            Err(why) => workload.says(&format!("its sidecar is not reached: {why}")),
        }
        if !pod.ready {
            workload.says("is not ready");
        }
        Some(workload)
    }

    /// A sidecar in no pod, of which is known what the control plane knows; `None` for one of another namespace than this.
    pub(super) fn outside(sidecar: &Value, namespace: Option<&str>) -> Option<Self> {
        let id = SpiffeId::parse(sidecar.get("id")?.as_str()?).ok()?;
        let (of, _) = id.service_account()?;
        if namespace.is_some_and(|namespace| namespace != of) {
            return None;
        }
        let mut workload = Self::unknown(of, OUTSIDE);
        workload.gate = sidecar.get("version").and_then(Value::as_str).map(of_version);
        workload.told_by(sidecar);
        Some(workload)
    }

    fn unknown(namespace: &str, pod: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            id: None,
            certificate: None,
            revision: None,
            policies: None,
            gate: None,
            decisions: None,
            problems: Vec::new(),
        }
    }

    /// One sidecar that is asked by its own admin pages: what `/config` says, and two looks at its metrics.
    #[must_use]
    pub fn alone(page: &Value, metrics: (&str, &str), between: Duration, now: SystemTime) -> Self {
        let text = |pointer: &str| page.pointer(pointer).and_then(Value::as_str);
        let named = |pointer: &str| text(pointer).unwrap_or_default();
        let mut workload = Self::unknown(named("/config/workload/namespace"), OUTSIDE);
        workload.id = text("/certificate/id").map(str::to_owned);
        workload.gate = text("/version").map(of_version);
        let look = |text: &str, at| Look { metrics: Metrics::read(text), clocks: None, at };
        let (first, last) = (look(metrics.0, Duration::ZERO), look(metrics.1, between));
        // A sidecar that only answers checks was asked for none.
        if page.get("certificate").is_some_and(Value::is_object) {
            workload.certified(&last, now);
        }
        workload.seen(&last);
        workload.decisions = rates(&first, &last);
        if let Some(why) = text("/certificate/lastError") {
            workload.says(&format!("its certificate: {why}"));
        }
        if let Some(why) = text("/resources_error") {
            workload.says(&format!("its resources: {why}"));
        }
        let discovery = page.get("discovery").filter(|discovery| discovery.is_object());
        if discovery
            .is_some_and(|discovery| discovery.get("connectedSince").is_none_or(Value::is_null))
        {
            let why = text("/discovery/lastError").unwrap_or("not yet");
            workload.says(&format!("is not connected to the control plane: {why}"));
        }
        if let Some(why) = text("/discovery/lastRefusal") {
            workload.says(&format!("refuses what it is told: {why}"));
        }
        workload
    }

    fn says(&mut self, problem: &str) {
        self.problems.push(problem.to_owned());
    }

    /// What the control plane knows of it.
    fn heard_of(&mut self, fleet: &Fleet, uid: &str) {
        let Some(sidecar) = fleet.sidecar(uid) else {
            if fleet.is_whole() {
                self.says("is connected to no control plane, and runs what it was told last");
            }
            return;
        };
        self.told_by(sidecar);
    }

    fn told_by(&mut self, sidecar: &Value) {
        let text = |field: &str| sidecar.get(field).and_then(Value::as_str).map(str::to_owned);
        self.id = text("id");
        if let (Some(gate), Some(version)) = (&mut self.gate, text("version")) {
            gate.version = version;
        }
        let policies = sidecar.get("policies");
        let number = |field: &str| policies?.get(field)?.as_u64();
        if let (Some(told), Some(running)) = (number("told"), number("running")) {
            self.policies = Some(Programmed { told, running });
            if running < told {
                self.says(&format!("runs {running} of {told} resources as they are now"));
            }
        }
        let refused = sidecar.get("refused").and_then(Value::as_array).into_iter().flatten();
        for refusal in refused {
            let text = |field: &str| refusal.get(field).and_then(Value::as_str).unwrap_or("?");
            self.says(&format!("refuses {}: {}", text("name"), text("reason")));
        }
    }

    /// What its own metrics say of its certificate.
    fn certified(&mut self, Look { metrics, clocks, at: _ }: &Look, now: SystemTime) {
        // By its own clock: so a clock that is wrong is told once, and not as an old certificate.
        let now = clocks.map_or(now, |clocks| clocks.theirs);
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let start = metrics.value("hopgate_certs_start_timestamp_seconds");
        let end = metrics.value("hopgate_certs_expiry_timestamp_seconds");
        match (start, end) {
            (_, Some(end)) if end <= 0.0 => self.says("has no certificate"),
            (Some(start), Some(end)) => {
                let life =
                    Life { age_seconds: seconds(now - start), left_seconds: seconds(end - now) };
                self.certificate = Some(life);
                let whole = seconds(end - start);
                if life.left_seconds == 0 {
                    self.says("its certificate is over");
                } else if life.left_seconds < whole / u64::from(LATE) {
                    let left = life.left_seconds;
                    self.says(&format!("its certificate is not renewed, and ends in {left} s"));
                }
            }
            (None, Some(_)) | (_, None) => self.says("does not tell since when and until when its certificate is good; is it of another version?"),
        }
    }

    /// What its own metrics say of all else.
    fn seen(&mut self, Look { metrics, clocks, at: _ }: &Look) {
        self.revision = metrics.label("hopgate_authz_snapshot", "revision").map(str::to_owned);
        let is = |name: &str, value: f64| metrics.value(name).is_some_and(|held| held == value);
        if metrics.with("hopgate_sds_in_use", &[("state", "other")]) == Some(1.0) {
            self.says("its Envoy uses another certificate than it was given");
        }
        if is("hopgate_sidecar_resources_stale", 1.0) {
            self.says("refuses its resources, and runs the last good ones");
        }
        if is("hopgate_revocation_own", 1.0) {
            self.says("is revoked");
        }
        if is("hopgate_revocation_known", 0.0) {
            self.says("does not know who is revoked, and refuses everything");
        }
        if let Some(lost) =
            metrics.value("hopgate_decision_log_lost_total").filter(|lost| *lost > 0.0)
        {
            self.says(&format!("lost {lost} decision records"));
        }
        if let Some((apart, ahead)) = clocks.map(|clocks| clocks.apart())
            && apart >= SKEW
        {
            let way = if ahead { "ahead of" } else { "behind" };
            self.says(&format!("its clock is {} s {way} this machine's", apart.as_secs()));
        }
    }
}

/// A gate that nobody injected.
fn of_version(version: &str) -> Injected {
    Injected { version: version.to_owned(), revision: String::new() }
}

/// What came between two looks; `None` where the sidecar started anew meanwhile.
fn rates(first: &Look, last: &Look) -> Option<Rates> {
    let between = last.at.checked_sub(first.at)?.as_secs_f64();
    if between <= 0.0 {
        return None;
    }
    let count =
        |look: &Look, labels: &[(&str, &str)]| look.metrics.sum(CHECKS, labels).unwrap_or_default();
    let rate = |labels: &[(&str, &str)]| {
        let more = count(last, labels) - count(first, labels);
        (more >= 0.0).then_some(more / between)
    };
    let codes = |look: &Look| look.metrics.by_label(CHECKS, &[REFUSED], "code");
    let before: BTreeMap<String, f64> = codes(first);
    let mut refused: Vec<(String, f64)> = codes(last)
        .into_iter()
        .map(|(code, count)| {
            let more = count - before.get(&code).copied().unwrap_or_default();
            (code, more / between)
        })
        .filter(|(_, rate)| *rate > 0.0)
        .collect();
    refused.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    refused.truncate(CODES);
    Some(Rates {
        per_second: rate(&[])?,
        refused_per_second: rate(&[REFUSED])?,
        refused,
        refused_in_all: count(last, &[REFUSED]),
    })
}

/// Whole seconds; none for what is over.
fn seconds(span: f64) -> u64 {
    Duration::try_from_secs_f64(span.max(0.0)).map_or(0, |span| span.as_secs())
}

#[cfg(test)]
mod tests;
