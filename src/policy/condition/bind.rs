//! Facts as CEL values, looked up when a condition asks and borrowed where they can be.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::UNIX_EPOCH;

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use serde_json::Value;

use crate::identity::SpiffeId;
use crate::policy::decide::UndecidableReason;
use crate::policy::facts::{Confirmation, Facts, Groups, HeaderValue, UserFacts, UserForCel};
use crate::policy::template::PathTemplate;

/// The facts of one request, under the names of the condition language.
///
/// The interpreter asks for the longest name first, `user.sub` before `user`, so most look-ups borrow one text.
pub(super) struct Bound<'a> {
    peer: Option<&'a SpiffeId>,
    user: Option<&'a UserFacts>,
    client: Option<&'a UserFacts>,
    request: Option<Request<'a>>,
    template: Option<&'a PathTemplate>,
    now: i64,
}

struct Request<'a> {
    method: &'a str,
    host: &'a str,
    path: &'a str,
    query: &'a str,
    segments: &'a [Cow<'a, str>],
    headers: CelMap<'a>,
}

impl<'a> Bound<'a> {
    pub(super) fn new(
        facts: &Facts<'a>,
        template: Option<&'a PathTemplate>,
        headers: CelMap<'a>,
    ) -> Self {
        let request = facts.request.map(|request| Request {
            method: request.method,
            host: request.host,
            path: request.path,
            query: request.query.unwrap_or_default(),
            segments: request.segments,
            headers,
        });
        let now = facts.now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        Self { peer: facts.peer, user: facts.user, client: facts.client, request, template, now }
    }

    fn of_peer(&self, field: &str) -> Option<CowVal<'_, '_>> {
        let peer = self.peer?;
        match field {
            "id" => Some(text(peer.as_str())),
            "trustDomain" => Some(owned(peer.trust_domain().as_str())),
            "namespace" => peer.service_account().map(|(namespace, _)| text(namespace)),
            "serviceAccount" => peer.service_account().map(|(_, account)| text(account)),
            _ => None,
        }
    }

    /// A field of the user or the client. What the provider does not say is not there.
    fn of_user(user: Option<&'a UserFacts>, field: &str) -> Option<CowVal<'a, 'a>> {
        let user = user?;
        match field {
            "sub" => Some(text(user.subject())),
            "provider" => Some(text(user.provider())),
            "roles" => Some(CowVal::Borrowed(&user.for_cel().roles)),
            "scopes" => Some(CowVal::Borrowed(&user.for_cel().scopes)),
            "groups" => {
                let groups: &'a CelList<'static> = user.for_cel().groups.as_ref()?;
                Some(CowVal::Borrowed(groups))
            }
            "tenant" => user.tenant().map(text),
            "email" => user.email().map(text),
            "boundBy" => user.confirmation().map(|way| {
                text(match way {
                    Confirmation::Dpop => "dpop",
                    Confirmation::Certificate => "certificate",
                })
            }),
            "claims" => Some(CowVal::Borrowed(&user.for_cel().claims)),
            _ => None,
        }
    }

    fn of_request(&self, field: &str) -> Option<CowVal<'_, '_>> {
        let request = self.request.as_ref()?;
        match field {
            "method" => Some(text(request.method)),
            "host" => Some(text(request.host)),
            "path" => Some(text(request.path)),
            "query" => Some(text(request.query)),
            "headers" => Some(CowVal::Borrowed(&request.headers)),
            _ => None,
        }
    }

    fn of_path(&self, variable: &str) -> Option<CowVal<'_, '_>> {
        let place = self.template?.place_of(variable)?;
        self.request.as_ref()?.segments.get(place).map(|segment| text(segment))
    }

    /// The peer as a map, which only `has(peer.namespace)` and an absent namespace ask for.
    fn peer(&self) -> Option<CowVal<'_, '_>> {
        let peer = self.peer?;
        let mut map: HashMap<CelMapKey<'static>, Box<dyn Val>> = HashMap::new();
        if let Some((namespace, account)) = peer.service_account() {
            map.insert(key("namespace"), Box::new(CelString::from(namespace.to_owned())));
            map.insert(key("serviceAccount"), Box::new(CelString::from(account.to_owned())));
        }
        Some(CowVal::owned(CelMap::from(map)))
    }
}

/// The fields of a user that may be absent, which only `has(user.tenant)` and an absent field ask for.
fn optional_fields<'a>(user: &'a UserFacts) -> CowVal<'a, 'a> {
    let mut map: HashMap<CelMapKey<'static>, Box<dyn Val>> = HashMap::new();
    let texts = [
        ("tenant", user.tenant().is_some()),
        ("email", user.email().is_some()),
        ("boundBy", user.confirmation().is_some()),
        ("groups", matches!(user.groups(), Groups::Known(_))),
    ];
    for (name, _) in texts.iter().filter(|(_, there)| *there) {
        map.insert(key(name), Box::new(CelBool::from(true)));
    }
    CowVal::owned(CelMap::from(map))
}

impl VariableResolver for Bound<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        match variable.split_once('.') {
            Some(("peer", field)) => self.of_peer(field),
            Some(("user", field)) => Self::of_user(self.user, field),
            Some(("client", field)) => Self::of_user(self.client, field),
            Some(("request", field)) => self.of_request(field),
            Some(("path", variable)) => self.of_path(variable),
            None if variable == "now" => Some(CowVal::owned(CelInt::from(self.now))),
            None if variable == "peer" => self.peer(),
            None if variable == "user" => self.user.map(optional_fields),
            None if variable == "client" => self.client.map(optional_fields),
            Some(_) | None => None,
        }
    }
}

/// Refuses headers that a condition names and that have no one text. One that is sent twice makes the condition
/// undecidable, whatever else it says: which of the values counts is not for us to guess.
pub(super) fn check_headers(names: &[String], facts: &Facts<'_>) -> Result<(), UndecidableReason> {
    let Some(request) = facts.request else { return Ok(()) };
    for name in names {
        match request.headers.value(name) {
            HeaderValue::Absent => {}
            HeaderValue::Many => return Err(UndecidableReason::HeaderRepeated(name.clone())),
            HeaderValue::One(bytes) => {
                std::str::from_utf8(bytes)
                    .map_err(|_| UndecidableReason::HeaderNotText(name.clone()))?;
            }
        }
    }
    Ok(())
}

/// The headers a condition names, once they are checked.
pub(super) fn headers<'a>(names: &[String], facts: &Facts<'a>) -> CelMap<'a> {
    let mut map: HashMap<CelMapKey<'a>, Box<dyn Val + 'a>> = HashMap::new();
    let Some(request) = facts.request else { return CelMap::from(map) };
    for name in names {
        if let HeaderValue::One(bytes) = request.headers.value(name)
            && let Ok(value) = std::str::from_utf8(bytes)
        {
            map.insert(key(name), Box::new(CelString::from(value)));
        }
    }
    CelMap::from(map)
}

/// Converts what conditions may ask of a user.
pub(in crate::policy) fn claims_for_cel(user: &UserFacts) -> UserForCel {
    let list = |texts: &[String]| {
        let items: Vec<Box<dyn Val>> = texts
            .iter()
            .map(|item| -> Box<dyn Val> { Box::new(CelString::from(item.clone())) })
            .collect();
        CelList::from(items)
    };
    UserForCel {
        claims: map(user.claims()),
        roles: list(user.roles()),
        scopes: list(user.scopes()),
        groups: match user.groups() {
            Groups::Known(groups) => Some(list(groups)),
            Groups::Unknown => None,
        },
    }
}

fn map(object: &serde_json::Map<String, Value>) -> CelMap<'static> {
    let entries: HashMap<CelMapKey<'static>, Box<dyn Val>> =
        object.iter().map(|(name, value)| (key(name), json(value))).collect();
    CelMap::from(entries)
}

fn json(value: &Value) -> Box<dyn Val> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(truth) => Box::new(CelBool::from(*truth)),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Box::new(CelInt::from(number)),
            (None, Some(number)) => Box::new(CelUInt::from(number)),
            (None, None) => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Value::String(text) => Box::new(CelString::from(text.clone())),
        Value::Array(items) => {
            Box::new(CelList::from(items.iter().map(json).collect::<Vec<Box<dyn Val>>>()))
        }
        Value::Object(object) => Box::new(map(object)),
    }
}

fn key(name: &str) -> CelMapKey<'static> {
    CelMapKey::String(CelString::from(name.to_owned()))
}

fn text(borrowed: &str) -> CowVal<'_, '_> {
    CowVal::owned(CelString::from(borrowed))
}

fn owned<'b>(borrowed: &str) -> CowVal<'b, 'b> {
    CowVal::owned(CelString::from(borrowed.to_owned()))
}
