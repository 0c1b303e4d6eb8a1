//! A rule as it is written becomes a rule.

use super::addresses::check_addresses;
use super::raw::{RawMatch, RawRule};
use super::{Effect, Except, PeerPattern, RequestPattern, Rule, StepUp, TimeWindow};
use crate::policy::access::UserPattern;
use crate::policy::condition::Condition;
use crate::policy::field::FieldPath;
use crate::policy::problem::{Origin, Problem};
use crate::policy::resource::{Checked, is_dns_label};

const MAX_RULE_NAME: usize = 128;

impl Rule {
    pub(in crate::policy) fn check(raw: RawRule, at: &FieldPath, origin: Origin) -> Checked<Self> {
        let RawRule { name, allow, deny } = raw;
        check_rule_name(&name, at.field("name"))?;
        let (effect, matcher, at) = match (allow, deny) {
            (Some(matcher), None) => (Effect::Allow, matcher, at.field("allow")),
            (None, Some(matcher)) => (Effect::Deny, matcher, at.field("deny")),
            (Some(_), Some(_)) => {
                return Err(Problem::new(
                    at.clone(),
                    "has both `allow` and `deny`: write two rules",
                ));
            }
            (None, None) => return Err(Problem::new(at.clone(), "needs `allow` or `deny`")),
        };
        let rule = Self::check_match((name, effect), matcher, &at, origin)?;
        match effect {
            Effect::Allow => rule.check_allow(&at)?,
            Effect::Deny if rule.step_up.is_some() => {
                return Err(Problem::new(at.field("stepUp"), "stands in a `deny`")
                    .hint("write it in the `allow` that needs the stronger sign-in"));
            }
            Effect::Deny => {}
        }
        Ok(rule)
    }

    fn check_match(
        (name, effect): (String, Effect),
        raw: RawMatch,
        at: &FieldPath,
        origin: Origin,
    ) -> Checked<Self> {
        let RawMatch {
            peers,
            not_peers,
            users,
            not_users,
            clients,
            not_clients,
            requests,
            not_requests,
            sources,
            not_sources,
            forwarded_for,
            not_forwarded_for,
            times,
            not_times,
            engine,
            when,
            step_up,
        } = raw;
        let at_field = |field: &str| at.field(field);
        let peers_of = |raw: Option<Vec<String>>, field: &str| {
            raw.map(|raw| PeerPattern::check_all(raw, &at_field(field))).transpose()
        };
        let users_of = |raw, field: &str| {
            Option::map(raw, |raw| UserPattern::check(raw, &at_field(field))).transpose()
        };
        let requests_of = |raw, field: &str| {
            Option::map(raw, |raw| RequestPattern::check_all(raw, &at_field(field))).transpose()
        };
        let addresses_of = |raw, field: &str| {
            Option::map(raw, |raw| check_addresses(raw, &at_field(field))).transpose()
        };
        let times_of = |raw, field: &str| {
            Option::map(raw, |raw| TimeWindow::check_all(raw, &at_field(field))).transpose()
        };
        let requests = requests_of(requests, "requests")?;
        Ok(Self {
            name,
            effect,
            peers: peers_of(peers, "peers")?,
            users: users_of(users, "users")?,
            clients: users_of(clients, "clients")?,
            when: when.map(|text| check_when(&text, requests.as_deref(), at)).transpose()?,
            requests,
            sources: addresses_of(sources, "sources")?,
            forwarded_for: addresses_of(forwarded_for, "forwardedFor")?,
            times: times_of(times, "times")?,
            except: Except {
                peers: peers_of(not_peers, "notPeers")?,
                users: users_of(not_users, "notUsers")?,
                clients: users_of(not_clients, "notClients")?,
                requests: requests_of(not_requests, "notRequests")?,
                sources: addresses_of(not_sources, "notSources")?,
                forwarded_for: addresses_of(not_forwarded_for, "notForwardedFor")?,
                times: times_of(not_times, "notTimes")?,
            },
            engine: engine.map(|name| check_engine(name, at)).transpose()?,
            step_up: step_up.map(|raw| StepUp::check(raw, &at_field("stepUp"))).transpose()?,
            origin,
        })
    }

    /// An allow says whom or what it admits.
    fn check_allow(&self, at: &FieldPath) -> Checked<()> {
        let admits = self.peers.is_some()
            || self.users.is_some()
            || self.clients.is_some()
            || self.requests.is_some()
            || self.sources.is_some()
            || self.forwarded_for.is_some()
            || self.engine.is_some()
            || self.when.is_some();
        if admits {
            return Ok(());
        }
        let message = if self.except.is_nothing() && self.times.is_none() && self.step_up.is_none()
        {
            "would allow everybody everything"
        } else {
            "says whom it does not admit, but not whom it does"
        };
        Err(Problem::new(at.clone(), message).hint(
            "say whom or what: `peers: [\"*\"]` is any workload of the mesh, `users: {}` any verified user, \
             `requests: [{ paths: [\"/**\"] }]` any request, even anonymous",
        ))
    }
}

fn check_when(
    text: &str,
    requests: Option<&[RequestPattern]>,
    at: &FieldPath,
) -> Checked<Condition> {
    let at = at.field("when");
    let condition =
        Condition::compile(text).map_err(|error| Problem::new(at.clone(), error.to_string()))?;
    condition.check_variables(requests).map_err(|error| Problem::new(at, error.to_string()))?;
    Ok(condition)
}

fn check_engine(name: String, at: &FieldPath) -> Checked<String> {
    if name.split('.').all(is_dns_label) {
        return Ok(name);
    }
    Err(Problem::new(at.field("engine"), format!("`{name}` is no name of a PolicyEngine")))
}

fn check_rule_name(name: &str, at: FieldPath) -> Checked<()> {
    let shaped =
        name.chars().all(|c| matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.'));
    if name.is_empty() || name.len() > MAX_RULE_NAME || !shaped {
        let message = format!(
            "`{name}` is no name of letters, digits, `-`, `_` and `.`, at most {MAX_RULE_NAME} long"
        );
        return Err(Problem::new(at, message));
    }
    Ok(())
}
