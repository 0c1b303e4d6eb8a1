//! One clause of a policy: whom it is for, what, from where and when.

mod addresses;
mod check;
mod peers;
mod query;
mod raw;
mod request_names;
mod requests;
mod roles;
mod step_up;
mod times;
mod truth;

use ipnet::IpNet;
use jiff::Timestamp;

pub use peers::PeerPattern;
pub(super) use peers::{PeerKind, Peers};
pub(super) use raw::{RawAnonymous, RawConfirmed, RawRule, RawUsers};
pub use requests::{HostPattern, RequestPattern, RpcPattern};
pub(super) use roles::check_roles;
pub use step_up::StepUp;
pub use times::TimeWindow;
pub(super) use truth::Truth;

use super::access::UserPattern;
use super::condition::Condition;
use super::decide::{Difference, UndecidableReason};
use super::facts::{Facts, Forwarded};
use super::problem::Origin;

/// One named clause: all of its parts must match; a part that is absent does not restrict.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name, unique in the policy.
    pub name: String,
    /// What it does when it matches.
    pub effect: Effect,
    /// The workload on the wire must be one of these.
    pub peers: Option<Vec<PeerPattern>>,
    /// The user must be all of this.
    pub users: Option<UserPattern>,
    /// The program that calls for the user must be all of this, by a credential of its own.
    pub clients: Option<UserPattern>,
    /// The request or connection must be one of these.
    pub requests: Option<Vec<RequestPattern>>,
    /// The address on the wire must be in one of these ranges.
    pub sources: Option<Vec<IpNet>>,
    /// The address of the client in front of the trusted proxies must be in one of these ranges.
    pub forwarded_for: Option<Vec<IpNet>>,
    /// The time must be in one of these.
    pub times: Option<Vec<TimeWindow>>,
    /// None of this may match.
    pub except: Except,
    /// This policy engine must say yes.
    pub engine: Option<String>,
    /// This must be true.
    pub when: Option<Condition>,
    /// Where all else matches, the user must have signed in like this.
    pub step_up: Option<StepUp>,
    pub(super) origin: Origin,
}

/// What must not match. Nobody is no member of any of it: a rule with `notPeers` matches a caller without certificate,
/// one with `notUsers` a request without token.
#[derive(Debug, Clone, Default)]
pub struct Except {
    /// `notPeers`.
    pub peers: Option<Vec<PeerPattern>>,
    /// `notUsers`.
    pub users: Option<UserPattern>,
    /// `notClients`.
    pub clients: Option<UserPattern>,
    /// `notRequests`.
    pub requests: Option<Vec<RequestPattern>>,
    /// `notSources`.
    pub sources: Option<Vec<IpNet>>,
    /// `notForwardedFor`.
    pub forwarded_for: Option<Vec<IpNet>>,
    /// `notTimes`.
    pub times: Option<Vec<TimeWindow>>,
}

/// What a rule does when it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Admits, unless something refuses.
    Allow,
    /// Refuses, whatever else matches.
    Deny,
}

impl Rule {
    /// Where it was written.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Addresses and time.
    pub(super) fn matches_surroundings(&self, facts: &Facts<'_>) -> Truth {
        source(self.sources.as_deref(), facts)
            .and(|| forwarded(self.forwarded_for.as_deref(), facts))
            .and(|| time(self.times.as_deref(), facts))
    }

    /// True when something it asks may be unknown, so that whoever fits the rest may have to be refused.
    pub(super) fn may_be_unknown(&self) -> bool {
        let asks_groups = |pattern: &Option<UserPattern>| match pattern {
            Some(UserPattern::Verified(users)) => users.groups.is_some(),
            Some(UserPattern::Anonymous) | None => false,
        };
        let requests = |patterns: &Option<Vec<RequestPattern>>| {
            patterns.iter().flatten().any(RequestPattern::may_be_unknown)
        };
        let Except { peers: _, users, clients, requests: not_requests, .. } = &self.except;
        self.when.is_some()
            || self.engine.is_some()
            || self.sources.is_some()
            || self.forwarded_for.is_some()
            || self.except.sources.is_some()
            || self.except.forwarded_for.is_some()
            || self.times.is_some()
            || self.except.times.is_some()
            || [&self.users, &self.clients, users, clients].into_iter().any(asks_groups)
            || requests(&self.requests)
            || requests(not_requests)
    }
}

impl Except {
    /// True when nothing is excepted.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        let Self { peers, users, clients, requests, sources, forwarded_for, times } = self;
        peers.is_none()
            && users.is_none()
            && clients.is_none()
            && requests.is_none()
            && sources.is_none()
            && forwarded_for.is_none()
            && times.is_none()
    }

    /// Addresses and time.
    pub(super) fn matches_surroundings(&self, facts: &Facts<'_>) -> Truth {
        let mut truth = Truth::Holds;
        if self.sources.is_some() {
            let inside = || source(self.sources.as_deref(), facts);
            truth = truth.and(|| inside().not(Difference::NotSource));
        }
        if self.forwarded_for.is_some() {
            let inside = || forwarded(self.forwarded_for.as_deref(), facts);
            truth = truth.and(|| inside().not(Difference::NotForwarded));
        }
        if self.times.is_some() {
            let inside = || time(self.times.as_deref(), facts);
            truth = truth.and(|| inside().not(Difference::NotTime));
        }
        truth
    }
}

fn source(ranges: Option<&[IpNet]>, facts: &Facts<'_>) -> Truth {
    match (ranges, facts.connection.source) {
        (None, _) => Truth::Holds,
        (Some(_), None) => Truth::Unknown(UndecidableReason::NoSource),
        (Some(ranges), Some(address)) => {
            Truth::of(addresses::holds(ranges, address), Difference::Source)
        }
    }
}

fn forwarded(ranges: Option<&[IpNet]>, facts: &Facts<'_>) -> Truth {
    match (ranges, facts.connection.forwarded) {
        (None, _) => Truth::Holds,
        (Some(_), Forwarded::Unknown) => Truth::Unknown(UndecidableReason::NoForwarded),
        (Some(ranges), Forwarded::Known(address)) => {
            Truth::of(addresses::holds(ranges, address), Difference::Forwarded)
        }
    }
}

fn time(windows: Option<&[TimeWindow]>, facts: &Facts<'_>) -> Truth {
    let Some(windows) = windows else { return Truth::Holds };
    // A clock beyond the year 9999 is no clock.
    let Ok(now) = Timestamp::try_from(facts.now) else {
        return Truth::Unknown(UndecidableReason::NoTime);
    };
    Truth::of(windows.iter().any(|window| window.holds(now)), Difference::Time)
}
