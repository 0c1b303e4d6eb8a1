//! What an authority is at one moment: its generations and how far a change of the root has come. Pure: a step is a
//! function from one state to the next, and refuses what must not follow.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::enrolment::Enrolment;

mod check;
mod step;

pub use step::IllegalStep;

/// The only format there is.
const FORMAT: u32 = 1;
/// How many retired generations are remembered.
const REMEMBERED: usize = 8;

/// The journal's content: what is in force. It is replaced as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct State {
    format: u32,
    /// Whose authority this is.
    pub trust_domain: String,
    /// Grows with each change of the bundle (SPIFFE Trust Domain and Bundle, section 4.1.1).
    pub sequence: u64,
    /// Oldest first. None at all only before the first one was made.
    pub generations: Vec<Record>,
    /// A change of the root that is under way.
    pub rotation: Option<Change>,
    /// An order to replace certificates, while it stands.
    pub reissue: Option<Order>,
    /// A certificate that another authority was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolment: Option<Enrolment>,
}

/// What a generation may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// It exists, and nobody was told.
    Prepared,
    /// Its root and JWT key stand in the bundles; it signs nothing for workloads.
    Published,
    /// As published, and it signs. Exactly one generation is active.
    Active,
    /// It stands in no bundle and its keys are destroyed.
    Retired,
}

/// One generation: a root, an issuing certificate below it, a key for JWT-SVIDs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Record {
    /// Counted from 1, never used twice.
    pub number: u32,
    /// What it may do.
    pub phase: Phase,
    /// When it was made, in seconds since 1970.
    pub made: u64,
    /// The subject of its root.
    pub subject: String,
    /// The first and the last second of its root.
    pub validity: (u64, u64),
    /// The last second of its issuing certificate.
    pub issuing_until: u64,
    /// The key identifiers of the issuing keys it ever had, newest last, in lower-case hexadecimal.
    pub issuing_keys: Vec<String>,
    /// The name of its JWT-SVID key.
    pub kid: String,
    /// The longest lifetime of a leaf that it signed, in seconds.
    pub longest_leaf: u64,
    /// The longest lifetime of a JWT-SVID that it signed, in seconds; 0 if it signed none.
    #[serde(default)]
    pub longest_token: u64,
    /// The SHA-256 of each of its files, by name. None once it is retired.
    pub files: BTreeMap<String, String>,
}

/// A change from one generation to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Change {
    /// The generation that goes.
    pub from: u32,
    /// The generation that comes.
    pub to: u32,
    /// How far it is.
    pub step: Step,
    /// When this step began, in seconds since 1970.
    pub since: u64,
    /// The operator went back after the new generation had signed already.
    pub going_back: bool,
    /// The operator said that sidecars which are not connected do not count.
    pub without_absent: bool,
    /// Over how many seconds the leaves are to be replaced, if the operator said so.
    pub within: Option<u32>,
}

/// How far a change of the root is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// The new generation exists; nobody was told.
    Prepared,
    /// Both roots stand in the bundles; the old generation signs. Waits until the sidecars trust the new root.
    Publishing,
    /// Both roots stand in the bundles; the new generation signs. Waits until no leaf of the old one is left.
    Reissuing,
}

/// Leaves that must be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Order {
    /// A leaf obtained before this second is due.
    pub issued_before: u64,
    /// Over how many seconds the renewals are spread.
    pub within: u32,
}

impl State {
    /// The state before the first generation was made.
    pub(super) fn unborn(trust_domain: &str) -> Self {
        Self {
            format: FORMAT,
            trust_domain: trust_domain.to_owned(),
            sequence: 0,
            generations: Vec::new(),
            rotation: None,
            reissue: None,
            enrolment: None,
        }
    }

    /// The generation that signs.
    #[must_use]
    pub fn active(&self) -> Option<&Record> {
        self.generations.iter().find(|record| record.phase == Phase::Active)
    }

    /// The generation of that number.
    #[must_use]
    pub fn generation(&self, number: u32) -> Option<&Record> {
        self.generations.iter().find(|record| record.number == number)
    }

    /// Since when whoever is still waited for holds things up: the begin of a step, and where leaves are replaced over
    /// some time, the end of that time. May lie ahead.
    #[must_use]
    pub fn overdue_since(&self) -> Option<SystemTime> {
        let step = self.rotation.as_ref().map(|change| (change.step, change.since));
        let replaced = step.is_none_or(|(step, _)| step == Step::Reissuing);
        let order = self.reissue.filter(|_| replaced);
        let due = order.map(|order| order.issued_before.saturating_add(order.within.into()));
        step.map(|(_, since)| since).max(due).map(at)
    }

    /// The number that the next generation gets.
    pub(super) fn next_number(&self) -> u32 {
        self.generations.last().map_or(0, |record| record.number).saturating_add(1)
    }

    /// The generation that signs the control plane's own certificate: the oldest that is trusted. Who starts with
    /// nothing but the old root can so reach the control plane until that root is retired.
    pub(super) fn oldest_trusted(&self) -> Option<&Record> {
        self.generations.iter().find(|record| record.phase.is_trusted())
    }
}

impl Phase {
    /// True if the root stands in the bundles.
    #[must_use]
    pub fn is_trusted(self) -> bool {
        matches!(self, Self::Published | Self::Active)
    }

    /// As a word of the log and of `ca status`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Published => "published",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

/// Whole seconds since 1970, rounded down.
pub(super) fn unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The moment of a number of seconds since 1970.
pub(super) fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
