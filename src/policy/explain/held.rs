//! What a request has, in few words.

use serde_json::Value;

use super::wording::{binding, list};
use crate::policy::access::Users;
use crate::policy::facts::{Facts, Forwarded, Groups, HeaderValue, RpcFacts, UserFacts};
use crate::policy::rule::StepUp;
use crate::policy::template::PathTemplate;

/// Longer texts are cut: they come from strangers.
const MAX_SHOWN: usize = 200;

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
    }
}

pub(super) fn peer(facts: &Facts<'_>) -> String {
    facts.peer.map_or_else(|| "no workload certificate".to_owned(), |peer| peer.as_str().to_owned())
}

pub(super) fn host(facts: &Facts<'_>) -> String {
    facts.request.as_ref().map(|request| cut(request.host)).unwrap_or_default()
}

pub(super) fn path(facts: &Facts<'_>) -> String {
    facts.request.as_ref().map(|request| cut(request.path)).unwrap_or_default()
}

pub(super) fn method(facts: &Facts<'_>) -> String {
    facts.request.as_ref().map(|request| cut(request.method)).unwrap_or_default()
}

pub(super) fn port(facts: &Facts<'_>) -> String {
    facts.connection.port.map(|port| port.to_string()).unwrap_or_default()
}

pub(super) fn sni(facts: &Facts<'_>) -> String {
    facts.connection.sni.map_or_else(|| "none".to_owned(), cut)
}

pub(super) fn header(name: &str, facts: &Facts<'_>) -> String {
    let value = facts.request.as_ref().map(|request| request.headers.value(name));
    match value {
        None | Some(HeaderValue::Absent) => "absent".to_owned(),
        Some(HeaderValue::One(bytes)) => cut(&String::from_utf8_lossy(bytes)),
        Some(HeaderValue::Many) => "several".to_owned(),
    }
}

pub(super) fn call(facts: &Facts<'_>) -> String {
    match facts.request.as_ref().map(|request| request.body.rpc()) {
        None => String::new(),
        Some(RpcFacts::Unreadable(why)) => why.to_owned(),
        Some(RpcFacts::Call { method, tool: Some(tool) }) => cut(&format!("{method} of {tool}")),
        Some(RpcFacts::Call { method, tool: None }) => cut(method),
    }
}

pub(super) fn source(facts: &Facts<'_>) -> String {
    facts.connection.source.map_or_else(|| "none".to_owned(), |address| address.to_string())
}

pub(super) fn forwarded(facts: &Facts<'_>) -> String {
    match facts.connection.forwarded {
        Forwarded::Known(address) => address.to_string(),
        Forwarded::Unknown => "not told".to_owned(),
    }
}

pub(super) fn now(facts: &Facts<'_>) -> String {
    time::OffsetDateTime::from(facts.now)
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap_or_default()
}

pub(super) fn somebody(user: Option<&UserFacts>) -> String {
    user.map_or_else(
        || "nobody is signed in".to_owned(),
        |user| cut(&format!("{} of {}", user.subject(), user.provider())),
    )
}

/// How the user signed in, as far as it is asked for.
pub(super) fn sign_in(asked: &StepUp, facts: &Facts<'_>) -> String {
    let Some(user) = facts.user else { return "nobody is signed in".to_owned() };
    let claim = |name: &str| user.claims().get(name).map(|value| cut(&value.to_string()));
    let StepUp { amr, acr, max_age } = asked;
    let mut told = Vec::new();
    if amr.is_some() {
        told.push(claim("amr").map_or("not told how".to_owned(), |held| format!("by {held}")));
    }
    if acr.is_some() {
        told.push(
            claim("acr").map_or("no level told".to_owned(), |held| format!("at level {held}")),
        );
    }
    if max_age.is_some() {
        let at = user.claims().get("auth_time").and_then(serde_json::Value::as_u64);
        let ago = at.and_then(|at| {
            let at = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(at))?;
            facts.now.duration_since(at).ok()
        });
        told.push(ago.map_or("not told when".to_owned(), |ago| {
            let ago = std::time::Duration::from_secs(ago.as_secs());
            format!("{} ago", humantime_serde::re::humantime::format_duration(ago))
        }));
    }
    told.join(", ")
}

/// What a user has of the one list that is asked for.
pub(super) fn attribute(asked: &Users, user: &UserFacts) -> String {
    let names = |names: &[String]| match names {
        [] => "none".to_owned(),
        names => cut(&list(names).replace(" or ", " and ")),
    };
    let text = |text: Option<&str>| text.map_or_else(|| "none".to_owned(), cut);
    if asked.providers.is_some() {
        return text(Some(user.provider()));
    }
    if asked.subjects.is_some() {
        return text(Some(user.subject()));
    }
    if asked.roles.is_some() {
        return names(user.roles());
    }
    if asked.groups.is_some() {
        return match user.groups() {
            Groups::Known(known) => names(known),
            Groups::Unknown => "not told by the provider".to_owned(),
        };
    }
    if asked.scopes.is_some() {
        return names(user.scopes());
    }
    if asked.tenants.is_some() {
        return text(user.tenant());
    }
    if asked.emails.is_some() {
        return text(user.email());
    }
    if asked.bound_by.is_some() {
        return user.confirmation().map_or("not bound", binding).to_owned();
    }
    let claim = asked.claims.first().map(|(name, _)| user.claims().get(name));
    match claim.flatten() {
        None => "absent".to_owned(),
        Some(Value::String(text)) => cut(&format!("{text:?}")),
        Some(value) => cut(&value.to_string()),
    }
}

/// The values of the names in a condition that are one text each.
pub(super) fn names(condition: &str, facts: &Facts<'_>, template: Option<&PathTemplate>) -> String {
    let mut shown = Vec::new();
    let mut show = |name: &str, value: Option<String>| {
        if uses(condition, name) {
            shown.push(match value {
                Some(value) => format!("{name} is {}", cut(&value)),
                None => format!("{name} is not there"),
            });
        }
    };
    let quoted = |text: &str| format!("{text:?}");
    for (root, user) in [("user", facts.user), ("client", facts.client)] {
        show(&format!("{root}.sub"), user.map(|user| quoted(user.subject())));
        show(&format!("{root}.provider"), user.map(|user| quoted(user.provider())));
        show(&format!("{root}.tenant"), user.and_then(|user| user.tenant().map(quoted)));
        show(&format!("{root}.email"), user.and_then(|user| user.email().map(quoted)));
        show(&format!("{root}.roles"), user.map(|user| format!("{:?}", user.roles())));
        show(&format!("{root}.scopes"), user.map(|user| format!("{:?}", user.scopes())));
    }
    let account = facts.peer.and_then(|peer| peer.service_account());
    show("peer.id", facts.peer.map(|peer| quoted(peer.as_str())));
    show("peer.namespace", account.map(|(namespace, _)| quoted(namespace)));
    show("peer.serviceAccount", account.map(|(_, account)| quoted(account)));
    if let Some(request) = &facts.request {
        show("request.method", Some(quoted(request.method)));
        show("request.host", Some(quoted(request.host)));
        show("request.path", Some(quoted(request.path)));
        for variable in template.into_iter().flat_map(PathTemplate::variables) {
            let place = template.and_then(|template| template.place_of(variable));
            let segment = place.and_then(|place| request.segments.get(place));
            show(&format!("path.{variable}"), segment.map(|segment| quoted(segment)));
        }
    }
    shown.join(", ")
}

/// True when the text holds the name by itself: `user.sub` and not `user.subject`.
fn uses(condition: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    condition.match_indices(name).any(|(at, _)| {
        let before = condition.get(..at).and_then(|before| before.chars().next_back());
        let behind = condition.get(at + name.len()..).and_then(|rest| rest.chars().next());
        !before.is_some_and(|c| is_part(c) || c == '.') && !behind.is_some_and(is_part)
    })
}
