//! What became of each resource, written to its status: when it changed, not too often, and by one replica only.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use crate::control::discovery::{Fleet, Programming};
use crate::kube::index::{Held, ResourceKey};
use crate::kube::{Sidecars, StatusWriter, status};
use crate::runtime::{Clock, Drain, with_causes};

use super::known::{Known, KnownResource};

/// How often it is looked whether something is to be written.
const TICK: Duration = Duration::from_millis(500);
/// The most that is written in one tick.
const MAX_WRITES: usize = 20;
/// Numbers alone are written no more often than this, of one resource.
const SELDOM: Duration = Duration::from_secs(5);
/// For so long after the start the sidecars are still on their way back here: that none has a resource yet is no news.
const SETTLING: Duration = Duration::from_secs(20);
/// What was written and does not come back from the API server in this time was lost.
const ECHO: Duration = Duration::from_secs(30);

/// The task.
pub(super) struct Report {
    known: watch::Receiver<Arc<Known>>,
    fleet: Fleet,
    leader: watch::Receiver<bool>,
    writer: StatusWriter,
    clock: Clock,
    since: SystemTime,
    written: Written,
}

/// What was written last, and when.
#[derive(Debug, Default)]
struct Written(BTreeMap<ResourceKey, (Value, SystemTime)>);

/// Something that must be written.
struct Due {
    held: Arc<Held>,
    status: Value,
    /// More than numbers changed.
    urgent: bool,
    last: Option<SystemTime>,
}

impl Report {
    pub(super) fn new(
        (known, fleet): (watch::Receiver<Arc<Known>>, Fleet),
        leader: watch::Receiver<bool>,
        writer: StatusWriter,
        clock: Clock,
    ) -> Self {
        let since = clock.now();
        Self { known, fleet, leader, writer, clock, since, written: Written::default() }
    }

    pub(super) async fn run(mut self, drain: Drain) -> Result<(), Infallible> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut fleet = self.fleet.changes();
        // Something is not written that was due.
        let mut open = true;
        loop {
            tokio::select! {
                () = drain.begun() => return Ok(()),
                _ = tick.tick() => {}
            }
            let changed = fleet.has_changed().unwrap_or_default()
                | self.known.has_changed().unwrap_or_default()
                | self.leader.has_changed().unwrap_or_default();
            if !(changed || open) {
                continue;
            }
            fleet.mark_unchanged();
            if !*self.leader.borrow_and_update() {
                open = false;
                continue;
            }
            open = self.write().await;
        }
    }

    /// Writes what is due; true when more is to be written later.
    async fn write(&mut self) -> bool {
        let known = Arc::clone(&self.known.borrow_and_update());
        let programmed = self.fleet.programmed();
        let now = self.clock.now();
        let settled = now.duration_since(self.since).unwrap_or_default() >= SETTLING;
        let (mut due, waits) = self.written.due(&known, &programmed, (now, settled));
        due.sort_by_key(|due| (!due.urgent, due.last));
        let more = waits || due.len() > MAX_WRITES;
        let mut failed = false;
        for Due { held, status, .. } in due.into_iter().take(MAX_WRITES) {
            match self.writer.write(&held, &status).await {
                Ok(()) => {
                    self.written.0.insert(held.key.clone(), (status, now));
                }
                Err(error) if error.is_gone() => {}
                Err(error) => {
                    tracing::warn!(error = with_causes(&error), "a status is not written yet");
                    failed = true;
                    // The next would fare no better.
                    break;
                }
            }
        }
        more || failed
    }
}

impl Written {
    /// What must be written now, and whether something must be later.
    fn due(
        &mut self,
        known: &Known,
        programmed: &BTreeMap<Arc<str>, Programming>,
        (now, settled): (SystemTime, bool),
    ) -> (Vec<Due>, bool) {
        let text = OffsetDateTime::from(now).replace_nanosecond(0).unwrap_or(now.into());
        let text = text.format(&Rfc3339).unwrap_or_default();
        let (mut due, mut waits) = (Vec::new(), false);
        for one in &known.resources {
            let KnownResource { held, verdict, name, version } = one;
            let programming = programmed.get(name.as_str()).cloned().unwrap_or_default();
            let stands = self.standing(held, now);
            let last = self.0.get(&held.key).map(|(_, at)| *at);
            let basis = held.with_status(stands);
            let wanted = status(&basis, verdict, (version, &sidecars(programming)), &text);
            if covers(&basis.status, &wanted) {
                continue;
            }
            let urgent = !same_conditions(&basis.status, &wanted);
            let seldom = |last| now.duration_since(last).unwrap_or_default() < SELDOM;
            let early = !settled && falls(&basis.status, &wanted);
            if early || (!urgent && last.is_some_and(seldom)) {
                waits = true;
                continue;
            }
            due.push(Due { held: Arc::clone(held), status: wanted, urgent, last });
        }
        self.0.retain(|key, _| known.resources.iter().any(|one| one.held.key == *key));
        (due, waits)
    }

    /// The status that a resource has: what was written last, until the API server tells it back.
    fn standing(&mut self, held: &Held, now: SystemTime) -> Value {
        let Some((status, at)) = self.0.get(&held.key) else { return held.status.clone() };
        let lost = now.duration_since(*at).unwrap_or_default() >= ECHO;
        if lost || covers(&held.status, status) {
            return held.status.clone();
        }
        status.clone()
    }
}

fn sidecars(Programming { selected, running, refusing, refusal }: Programming) -> Sidecars {
    let refusal = refusal.map(|(id, reason)| format!("{id}: {reason}"));
    Sidecars { selected, running, refusing, refusal }
}

/// True when all of `wanted` stands in `stands`, whatever else does.
fn covers(stands: &Value, wanted: &Value) -> bool {
    match (stands, wanted) {
        (Value::Object(stands), Value::Object(wanted)) => wanted
            .iter()
            .all(|(name, wanted)| stands.get(name).is_some_and(|stands| covers(stands, wanted))),
        (Value::Array(stands), Value::Array(wanted)) => {
            wanted.iter().all(|wanted| stands.iter().any(|stands| covers(stands, wanted)))
        }
        (stands, wanted) => stands == wanted,
    }
}

/// True when what was in force everywhere would no longer be, although it says the same.
fn falls(stands: &Value, wanted: &Value) -> bool {
    let yes = serde_json::json!({
        "observedGeneration": wanted.get("observedGeneration"),
        "conditions": [{ "type": "Programmed", "status": "True" }],
    });
    covers(stands, &yes) && !covers(wanted, &yes)
}

/// True when no condition changed, and what they are about did not.
fn same_conditions(stands: &Value, wanted: &Value) -> bool {
    let told = |status: &Value| {
        let conditions = status.get("conditions").and_then(Value::as_array);
        let conditions = conditions.into_iter().flatten();
        conditions
            .map(|one| {
                ["type", "status", "reason", "observedGeneration"].map(|f| one.get(f).cloned())
            })
            .collect::<Vec<_>>()
    };
    stands.get("revision") == wanted.get("revision") && told(stands) == told(wanted)
}

#[cfg(test)]
mod tests;
