//! What a pod's owner may say of its gate: what is not captured, what its containers may use, how much they log. Anything
//! else under our name is refused, so that nothing is believed to hold that does not.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Deserialize;

use super::resources::Resources;
use super::seen::Seen;
use super::settings::{GateResources, Injection, LogLevel};
use super::{INJECT, INJECTED, REVISION, Refused};
use crate::mesh::capture::{Exclusions, InvalidExclusion};

const PREFIX: &str = "hopgate.dev/";
const INBOUND_PORTS: &str = "hopgate.dev/exclude-inbound-ports";
const OUTBOUND_PORTS: &str = "hopgate.dev/exclude-outbound-ports";
const OUTBOUND_CIDRS: &str = "hopgate.dev/exclude-outbound-cidrs";
const UIDS: &str = "hopgate.dev/exclude-uids";
const LOG_LEVEL: &str = "hopgate.dev/log-level";
const RESOURCES: &str = "hopgate.dev/resources";

const ANNOTATIONS: [&str; 8] =
    [INJECT, INJECTED, INBOUND_PORTS, OUTBOUND_PORTS, OUTBOUND_CIDRS, UIDS, LOG_LEVEL, RESOURCES];
const LABELS: [&str; 2] = [INJECT, REVISION];

/// The settings of the mesh with what the pod says instead, or beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Overrides {
    pub(super) exclusions: Exclusions,
    pub(super) log_level: LogLevel,
    pub(super) resources: GateResources,
}

impl Overrides {
    pub(super) fn read(seen: &Seen, injection: &Injection) -> Result<Self, Refused> {
        refuse_unknown("label", seen.labels(), &LABELS)?;
        refuse_unknown("annotation", seen.annotations(), &ANNOTATIONS)?;
        let own = Exclusions {
            inbound_ports: list(seen, INBOUND_PORTS)?,
            outbound_ports: list(seen, OUTBOUND_PORTS)?,
            outbound_networks: list(seen, OUTBOUND_CIDRS)?,
            uids: list(seen, UIDS)?,
        };
        let exclusions = injection.exclude.exclusions().and(own);
        let log_level = match seen.annotation(LOG_LEVEL) {
            None => injection.log_level,
            Some(text) => LogLevel::parse(text).ok_or_else(|| Refused::Value {
                place: "annotation",
                name: LOG_LEVEL,
                value: text.to_owned(),
                expected: "error, warn, info, debug or trace",
            })?,
        };
        let resources = match seen.annotation(RESOURCES) {
            None => injection.resources.clone(),
            Some(text) => injection.resources.clone().overridden(resources(text)?),
        };
        Ok(Self { exclusions, log_level, resources })
    }
}

/// `{"hopgate": {..}, "envoy": {..}}`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    hopgate: Option<Resources>,
    envoy: Option<Resources>,
}

fn resources(text: &str) -> Result<GateResources, Refused> {
    let mut json = serde_json::Deserializer::from_str(text);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|error| error.to_string());
    let read = read.and_then(|said: Said| json.end().map(|()| said).map_err(|e| e.to_string()));
    let Said { hopgate, envoy } = read.map_err(|problem| Refused::Resources {
        name: RESOURCES,
        problem: format!(
            "{problem}; write for example {{\"envoy\":{{\"requests\":{{\"cpu\":\"100m\"}},\"limits\":{{\"memory\":\"1Gi\"}}}}}}"
        ),
    })?;
    Ok(GateResources { hopgate: hopgate.unwrap_or_default(), envoy: envoy.unwrap_or_default() })
}

fn list<L>(seen: &Seen, name: &'static str) -> Result<L, Refused>
where
    L: FromStr<Err = InvalidExclusion> + Default,
{
    let Some(text) = seen.annotation(name) else { return Ok(L::default()) };
    text.parse().map_err(|problem| Refused::Exclusion { name, problem })
}

fn refuse_unknown(
    place: &'static str,
    written: &BTreeMap<String, String>,
    known: &[&str],
) -> Result<(), Refused> {
    let unknown =
        written.keys().find(|name| name.starts_with(PREFIX) && !known.contains(&name.as_str()));
    let Some(name) = unknown else { return Ok(()) };
    let hint = crate::policy::did_you_mean(name, known.iter().copied());
    let hint = hint.unwrap_or_else(|| format!("these are known: {}", known.join(", ")));
    Err(Refused::Unknown { place, name: name.clone(), hint })
}
