//! Watching a change: one line on stderr for each thing that changed.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use crate::control::{AwaitedStanding, Standing};

/// How often it is asked.
const PAUSE: Duration = Duration::from_millis(300);
/// For how long a sidecar may be late before it is named.
pub(super) const LATE: u64 = 10;
/// How often a late one is named again.
const AGAIN: u64 = 60;
/// So many failures in a row are borne: the control plane may be restarted meanwhile.
const PATIENCE: u32 = 100;

/// What a moment says of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It goes on.
    NotYet,
    /// It ended well.
    Done,
    /// It ended otherwise.
    Failed,
}

/// A moment in this process's time.
pub(super) struct Deadline(Instant);
pub(super) fn deadline(after: Duration) -> Deadline {
    let now = Instant::now();
    Deadline(now.checked_add(after).unwrap_or(now))
}

impl Deadline {
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.0
    }
}

/// Asks until the outcome is known; true for a good one.
pub(super) fn follow(
    first: Standing,
    ask: impl Fn() -> anyhow::Result<Standing>,
    judge: impl Fn(&Standing) -> Outcome,
    err: &mut impl Write,
) -> anyhow::Result<(Standing, bool)> {
    let mut lines = Lines::default();
    let mut standing = first;
    let mut failures = 0;
    loop {
        for line in lines.changes(&standing) {
            writeln!(err, "{line}")?;
        }
        match judge(&standing) {
            Outcome::NotYet => {}
            Outcome::Done => return Ok((standing, true)),
            Outcome::Failed => return Ok((standing, false)),
        }
        pause();
        match ask() {
            Ok(next) => {
                if failures > 0 {
                    writeln!(err, "the control plane answers again")?;
                }
                (standing, failures) = (next, 0);
            }
            Err(error) if failures < PATIENCE => {
                if failures == 0 {
                    writeln!(err, "{error:#}; trying on")?;
                }
                failures += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a command line has nothing else to do meanwhile")]
fn pause() {
    std::thread::sleep(PAUSE);
}

/// What was said already.
#[derive(Default)]
pub(super) struct Lines {
    said: Option<(String, usize, usize)>,
    other: Option<String>,
    let_go: usize,
    late: BTreeMap<String, u64>,
}

impl Lines {
    /// The lines for what is new.
    pub(super) fn changes(&mut self, standing: &Standing) -> Vec<String> {
        let mut lines = Vec::new();
        let step = step(standing);
        let (done, connected) = (standing.done, standing.connected);
        let now = (step, done, connected);
        if self.said.as_ref() != Some(&now) {
            let of_sidecars = standing.change.is_some() || standing.reissue.is_some();
            lines.push(if standing.request.is_some() || !of_sidecars {
                now.0.clone()
            } else {
                format!("{}: {done} of {connected} sidecars", now.0)
            });
            if self.said.as_ref().is_none_or(|said| said.0 != now.0) {
                self.late.clear();
                self.other = None;
            }
            self.said = Some(now);
        }
        let waits: Vec<String> = standing.awaited.iter().filter_map(wait).collect();
        let waits = waits.join("; ");
        if self.other.as_ref().is_none_or(|said| *said != waits) {
            if !waits.is_empty() {
                lines.push(format!("waits {waits}"));
            }
            self.other = Some(waits);
        }
        if standing.let_go > 0 && standing.let_go != self.let_go {
            let count = standing.let_go;
            lines.push(format!("not waited for, as their pods are gone: {count} sidecars"));
        }
        self.let_go = standing.let_go;
        for one in &standing.awaited {
            let AwaitedStanding::Sidecar { id, for_seconds } = one else { continue };
            let due = self.late.get(id).map_or(LATE, |said| said.saturating_add(AGAIN));
            if *for_seconds >= due {
                self.late.insert(id.clone(), *for_seconds);
                lines.push(format!("stuck for {for_seconds}s: {id}"));
            }
        }
        lines
    }
}

fn step(standing: &Standing) -> String {
    let Some(change) = &standing.change else {
        if let Some(request) = &standing.request {
            return format!("CertificateRequest {} is not answered yet", request.name);
        }
        return match &standing.reissue {
            Some(order) => format!("leaves replaced (due {})", order.due),
            None => {
                let active = standing.generations.iter().find(|one| one.phase == "active");
                let number = active.map_or(0, |one| one.number);
                format!("root {number} signs; no change of the root is under way")
            }
        };
    };
    let (from, to) = (change.from, change.to);
    match (change.step.as_str(), change.going_back) {
        ("prepared", _) => format!("root {to} is prepared"),
        ("publishing", _) => format!("root {to} is published; acknowledged"),
        (_, false) => format!("root {to} signs; leaves of root {from} replaced"),
        (_, true) => format!("going back, root {to} signs; leaves of root {from} replaced"),
    }
}

fn wait(awaited: &AwaitedStanding) -> Option<String> {
    match awaited {
        AwaitedStanding::Sidecar { .. } => None,
        AwaitedStanding::Gone { id, pod, until } => {
            let pod = match pod.as_str() {
                "there" => "whose pod is there",
                _ => "of whose pod nothing is known",
            };
            Some(format!(
                "for {id}, which is not connected and {pod}, until its certificate ends at {until}"
            ))
        }
        AwaitedStanding::Others { replica, count } => {
            Some(format!("for {count} more sidecars of replica {replica}"))
        }
        AwaitedStanding::Behind { replica } => Some(format!("for replica {replica} to follow")),
        AwaitedStanding::Silent { replica, until } => Some(format!(
            "for replica {replica}, which says nothing, until it must have ended at {until}"
        )),
        AwaitedStanding::Reconnect { until } => {
            Some(format!("until {until} for sidecars to come back"))
        }
        AwaitedStanding::Absent { until } => Some(format!(
            "until {until}, when certificates of sidecars that are not connected have ended (--without-absent waives it)"
        )),
        AwaitedStanding::Tokens { until } => {
            Some(format!("until {until} for JWT-SVIDs of the old root to end"))
        }
        AwaitedStanding::Readers { until } => {
            Some(format!("until {until} for foreign trust domains to read the new bundle"))
        }
    }
}

#[cfg(test)]
mod tests;
