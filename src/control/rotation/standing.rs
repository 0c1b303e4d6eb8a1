//! What the operator is told of the authority: its generations, and how far a change of the root is.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::ca::rotation::{self, Awaited, FleetView, Next};
use crate::ca::{Phase, Record, State, Step};

use crate::control::replicas::Replicas;

use super::{at, word};

/// Where the authority stands. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Standing {
    /// The trust domain.
    pub trust_domain: String,
    /// Grows with each change of the bundle.
    pub sequence: u64,
    /// Oldest first.
    pub generations: Vec<GenerationStanding>,
    /// A change of the root that is under way.
    pub change: Option<ChangeStanding>,
    /// An order to replace leaves.
    pub reissue: Option<ReissueStanding>,
    /// A certificate that another authority was asked for.
    pub request: Option<RequestStanding>,
    /// Why the last one was not taken, while none was taken since.
    pub refusal: Option<String>,
    /// True when the replica that says this is the one that leads, or the only one.
    pub leads: bool,
    /// How many sidecars are connected, to whichever replica.
    pub connected: usize,
    /// How many of them acknowledged the bundle of now.
    pub acknowledged: usize,
    /// How many of them have done what the step, or the order, waits for.
    pub done: usize,
    /// What is waited for.
    pub awaited: Vec<AwaitedStanding>,
    /// How many absent sidecars are not waited for, as their pods are over.
    pub let_go: usize,
}

/// One generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GenerationStanding {
    /// Counted from 1.
    pub number: u32,
    /// `prepared`, `published`, `active` or `retired`.
    pub phase: String,
    /// The subject of the root.
    pub subject: String,
    /// The first second of the root.
    pub not_before: String,
    /// The last second of the root.
    pub not_after: String,
    /// The last second of the issuing certificate.
    pub issuing_not_after: String,
    /// The key identifier in the leaves that it signs, or signed last.
    pub key_id: String,
    /// The name of its JWT-SVID key.
    pub kid: String,
}

/// A change of the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ChangeStanding {
    /// The generation that goes.
    pub from: u32,
    /// The generation that comes.
    pub to: u32,
    /// `prepared`, `publishing` or `reissuing`.
    pub step: String,
    /// Since when.
    pub since: String,
    /// It was aborted after the new generation had signed.
    pub going_back: bool,
    /// Sidecars that are not connected do not count.
    pub without_absent: bool,
}

/// An order to replace leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ReissueStanding {
    /// Leaves obtained before then are due.
    pub issued_before: String,
    /// Over how many seconds they are replaced.
    pub within_seconds: u32,
    /// When all connected sidecars should have replaced theirs.
    pub due: String,
}

/// A certificate that another authority was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RequestStanding {
    /// The name of the request.
    pub name: String,
    /// Since when.
    pub since: String,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", deny_unknown_fields)]
pub enum AwaitedStanding {
    /// A connected sidecar.
    #[serde(rename_all = "camelCase")]
    Sidecar {
        /// Its SPIFFE ID.
        id: String,
        /// For how many seconds it has been waited for.
        for_seconds: u64,
    },
    /// A sidecar that is not connected.
    #[serde(rename_all = "camelCase")]
    Gone {
        /// Its SPIFFE ID.
        id: String,
        /// What is known of its pod: `there` or `notKnown`.
        pod: String,
        /// Until when its certificate is valid.
        until: String,
    },
    /// Sidecars of another replica, which it does not name.
    #[serde(rename_all = "camelCase")]
    Others {
        /// The replica.
        replica: String,
        /// How many.
        count: usize,
    },
    /// A replica that has not followed yet.
    Behind {
        /// Which.
        replica: String,
    },
    /// A replica that says nothing.
    Silent {
        /// Which.
        replica: String,
        /// Until when it may serve sidecars.
        until: String,
    },
    /// Sidecars that have yet to come back after a start or an end of the control plane, or of a replica of it.
    Reconnect {
        /// Until when.
        until: String,
    },
    /// Leaves of sidecars that are not connected.
    Absent {
        /// Until when one can be valid.
        until: String,
    },
    /// JWT-SVIDs of the generation that goes.
    Tokens {
        /// Until when one can be valid.
        until: String,
    },
    /// Foreign trust domains that read the bundle.
    Readers {
        /// Until when they may not have looked again.
        until: String,
    },
}

impl Standing {
    pub(super) fn new(state: State, fleet: &FleetView, now: SystemTime) -> Self {
        let awaited = match rotation::next(&state, fleet, now) {
            Next::Wait(awaited) => awaited,
            Next::Nothing | Next::Publish | Next::Activate | Next::Retire | Next::Reissued => {
                lagging_behind_order(&state, fleet)
            }
        };
        let waited = awaited.iter().map(|one| fleet.weight(one)).sum();
        let connected = fleet.size();
        let let_go = rotation::let_go(&state, fleet, now);
        Self {
            sequence: state.sequence,
            generations: state.generations.iter().map(GenerationStanding::new).collect(),
            change: state.rotation.as_ref().map(|change| ChangeStanding {
                from: change.from,
                to: change.to,
                step: word(change.step).to_owned(),
                since: text(at(change.since)),
                going_back: change.going_back,
                without_absent: change.without_absent,
            }),
            reissue: state.reissue.map(|order| ReissueStanding {
                issued_before: text(at(order.issued_before)),
                within_seconds: order.within,
                due: text(at(order.issued_before.saturating_add(order.within.into()))),
            }),
            request: state.enrolment.as_ref().map(|request| RequestStanding {
                name: request.name.clone(),
                since: text(at(request.since)),
            }),
            refusal: None,
            leads: true,
            connected,
            acknowledged: fleet.acknowledged(),
            done: connected.saturating_sub(waited),
            let_go,
            awaited: awaited.into_iter().map(|one| AwaitedStanding::new(one, now)).collect(),
            trust_domain: state.trust_domain,
        }
    }

    /// The same, after another authority refused.
    pub(super) fn after(self, refusal: Option<String>) -> Self {
        Self { refusal, ..self }
    }

    /// The same, said by a replica that leads or does not.
    pub(super) fn said_by(self, replicas: &Replicas) -> Self {
        Self { leads: replicas.leads(), ..self }
    }

    /// Names in the log who holds a change up.
    pub(super) fn remind(&self) {
        for one in &self.awaited {
            if let AwaitedStanding::Sidecar { id, for_seconds } = one {
                tracing::warn!(
                    workload.id = id,
                    for_seconds,
                    "a sidecar holds up the change of the authority"
                );
            }
        }
    }
}

/// Without a change of the root: who has a leaf that the order is about.
fn lagging_behind_order(state: &State, fleet: &FleetView) -> Vec<Awaited> {
    let Some(active) = state.active().filter(|_| state.reissue.is_some()) else {
        return Vec::new();
    };
    if state.rotation.as_ref().is_some_and(|change| change.step != Step::Reissuing) {
        return Vec::new();
    }
    fleet.lagging(|_, key_id| active.issuing_keys.last().is_some_and(|newest| newest == key_id))
}

impl GenerationStanding {
    fn new(record: &Record) -> Self {
        let (first, last) = record.validity;
        let phase: Phase = record.phase;
        Self {
            number: record.number,
            phase: phase.as_str().to_owned(),
            subject: record.subject.clone(),
            not_before: text(at(first)),
            not_after: text(at(last)),
            issuing_not_after: text(at(record.issuing_until)),
            key_id: record.issuing_keys.last().cloned().unwrap_or_default(),
            kid: record.kid.clone(),
        }
    }
}

impl AwaitedStanding {
    fn new(awaited: Awaited, now: SystemTime) -> Self {
        match awaited {
            Awaited::Sidecar(id, since) => Self::Sidecar {
                id: id.to_string(),
                for_seconds: now.duration_since(since).map_or(0, |passed| passed.as_secs()),
            },
            Awaited::Gone(id, pod, until) => {
                Self::Gone { id: id.to_string(), pod: pod.as_str().to_owned(), until: text(until) }
            }
            Awaited::Others(replica, count) => Self::Others { replica, count },
            Awaited::Behind(replica) => Self::Behind { replica },
            Awaited::Silent(replica, until) => Self::Silent { replica, until: text(until) },
            Awaited::Reconnect(until) => Self::Reconnect { until: text(until) },
            Awaited::Absent(until) => Self::Absent { until: text(until) },
            Awaited::Tokens(until) => Self::Tokens { until: text(until) },
            Awaited::Readers(until) => Self::Readers { until: text(until) },
        }
    }
}

/// Whole seconds; a time that no calendar has is said to be unknown.
fn text(time: SystemTime) -> String {
    let whole = OffsetDateTime::from(time).replace_nanosecond(0);
    whole.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| "unknown".to_owned())
}
