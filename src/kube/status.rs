//! What the control plane says of a resource: computed here, written by server-side apply under a name of our own.

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::Cluster;
use super::crd::{DEFINITIONS, GROUP, VERSION};
use super::index::{Held, ResourceKey, Verdict};
use super::watch::api_resource;

/// Under which name the API server keeps what is ours.
const MANAGER: &str = "hopgate-control";
/// How much of a message is kept.
const MAX_MESSAGE_CHARACTERS: usize = 2000;
/// How much of a version names a revision for people.
const REVISION_CHARACTERS: usize = 12;

/// How far a resource got among the connected sidecars.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sidecars {
    /// How many it is for.
    pub selected: usize,
    /// How many of them run it as it is now.
    pub running: usize,
    /// How many of them refuse it as it is now.
    pub refusing: usize,
    /// Who refuses it, for example, and why.
    pub refusal: Option<String>,
}

/// The status of a resource whose version on the way to sidecars is `version`. `now` is in RFC 3339.
#[must_use]
pub fn status(
    held: &Held,
    verdict: &Verdict,
    (version, sidecars): (&str, &Sidecars),
    now: &str,
) -> Value {
    let revision: String = version.chars().take(REVISION_CHARACTERS).collect();
    let conditions = [accepted(verdict), programmed(verdict, &revision, sidecars)];
    let conditions = conditions.map(|condition| condition.to_json(held, now));
    json!({
        "observedGeneration": held.generation,
        "revision": revision,
        "sidecars": {
            "selected": sidecars.selected,
            "running": sidecars.running,
            "refusing": sidecars.refusing,
        },
        "conditions": conditions,
    })
}

/// One condition.
struct Condition {
    name: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

fn accepted(verdict: &Verdict) -> Condition {
    let (status, reason, message) = match verdict {
        Verdict::Accepted => ("True", "Accepted", "it can be used".to_owned()),
        Verdict::Invalid(words) => ("False", "Invalid", words.clone()),
        Verdict::Displaced(words) => ("False", "Displaced", words.clone()),
    };
    Condition { name: "Accepted", status, reason, message }
}

fn programmed(verdict: &Verdict, revision: &str, sidecars: &Sidecars) -> Condition {
    let Sidecars { selected, running, refusing, refusal } = sidecars;
    let counts = format!("{running} of {selected} sidecars run revision {revision}");
    let (status, reason, message) = match verdict {
        Verdict::Displaced(_) => ("False", "Displaced", "no sidecar is told of it".to_owned()),
        Verdict::Accepted | Verdict::Invalid(_) if *selected == 0 => {
            ("Unknown", "NoSidecar", "it is for no sidecar that is connected".to_owned())
        }
        Verdict::Accepted | Verdict::Invalid(_) if running == selected => {
            ("True", "Running", counts)
        }
        Verdict::Accepted | Verdict::Invalid(_) if *refusing > 0 => {
            let why = refusal.as_deref().unwrap_or("it does not say why");
            (
                "False",
                "Refused",
                format!("{counts}, {refusing} refuse it and run what they had: {why}"),
            )
        }
        Verdict::Accepted | Verdict::Invalid(_) => ("False", "Pending", counts),
    };
    Condition { name: "Programmed", status, reason, message }
}

impl Condition {
    fn to_json(&self, held: &Held, now: &str) -> Value {
        let Self { name, status, reason, message } = self;
        let before = held.status.get("conditions").and_then(Value::as_array).into_iter().flatten();
        let before = before.filter(|condition| condition.get("type").is_some_and(|t| t == name));
        let same = before.filter(|condition| condition.get("status").is_some_and(|s| s == status));
        let since =
            same.filter_map(|condition| condition.get("lastTransitionTime")?.as_str()).next();
        json!({
            "type": name,
            "status": status,
            "observedGeneration": held.generation,
            "lastTransitionTime": since.unwrap_or(now),
            "reason": reason,
            "message": message.chars().take(MAX_MESSAGE_CHARACTERS).collect::<String>(),
        })
    }
}

/// Writes statuses.
#[derive(Clone)]
pub struct StatusWriter {
    cluster: Cluster,
}

/// A status cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the status of {key} cannot be written")]
pub struct Unwritten {
    key: ResourceKey,
    #[source]
    source: Box<kube::Error>,
}

impl Unwritten {
    /// True when there is no such resource any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(&*self.source, kube::Error::Api(status) if status.code == 404)
    }
}

impl StatusWriter {
    /// Writes to this cluster.
    #[must_use]
    pub fn new(cluster: Cluster) -> Self {
        Self { cluster }
    }

    /// Writes the whole status of a resource. What others wrote into it stays.
    ///
    /// # Errors
    /// When the API server does not take it.
    pub async fn write(&self, held: &Held, status: &Value) -> Result<(), Unwritten> {
        let ResourceKey { namespace, kind, name } = &held.key;
        let Some(definition) = DEFINITIONS.iter().find(|definition| definition.kind == *kind)
        else {
            return Ok(());
        };
        let resource = api_resource(definition);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.cluster.client(), namespace, &resource);
        let patch = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": kind,
            // The UID: never of another one that has taken the name meanwhile.
            "metadata": { "name": name, "namespace": namespace, "uid": held.uid },
            "status": status,
        });
        let ours = PatchParams::apply(MANAGER).force();
        let written = api.patch_status(name, &ours, &Patch::Apply(patch)).await;
        written
            .map(|_| ())
            .map_err(|source| Unwritten { key: held.key.clone(), source: source.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(status: &Value) -> Held {
        let object = json!({
            "apiVersion": "hopgate.dev/v1alpha1",
            "kind": "MeshPolicy",
            "metadata": { "name": "mesh", "namespace": "root", "generation": 7 },
            "spec": {},
            "status": status,
        });
        Held::read(&object).unwrap()
    }

    fn said(verdict: &Verdict, sidecars: &Sidecars) -> Vec<String> {
        let status = status(&held(&Value::Null), verdict, ("0123456789abcdef", sidecars), "now");
        assert_eq!(status["observedGeneration"], 7);
        assert_eq!(status["revision"], "0123456789ab");
        let text = |condition: &Value| {
            ["type", "status", "reason", "message"]
                .map(|field| condition[field].as_str().unwrap().to_owned())
                .join(" ")
        };
        status["conditions"].as_array().unwrap().iter().map(text).collect()
    }

    fn sidecars(selected: usize, running: usize, refusing: usize) -> Sidecars {
        let refusal = (refusing > 0).then(|| "web: no provider sso".to_owned());
        Sidecars { selected, running, refusing, refusal }
    }

    #[test]
    fn each_state_has_its_words() {
        let ok = &Verdict::Accepted;
        assert_eq!(
            said(ok, &sidecars(3, 3, 0)),
            [
                "Accepted True Accepted it can be used",
                "Programmed True Running 3 of 3 sidecars run revision 0123456789ab"
            ]
        );
        let programmed = |verdict: &Verdict, sidecars: &Sidecars| said(verdict, sidecars).remove(1);
        assert_eq!(
            programmed(ok, &sidecars(3, 2, 0)),
            "Programmed False Pending 2 of 3 sidecars run revision 0123456789ab"
        );
        assert_eq!(
            programmed(ok, &sidecars(3, 1, 1)),
            "Programmed False Refused 1 of 3 sidecars run revision 0123456789ab, 1 refuse it and run what they had: web: no provider sso"
        );
        assert_eq!(
            programmed(ok, &sidecars(0, 0, 0)),
            "Programmed Unknown NoSidecar it is for no sidecar that is connected"
        );
        let bad = &Verdict::Invalid("spec.a: no".to_owned());
        assert_eq!(said(bad, &sidecars(1, 0, 1))[0], "Accepted False Invalid spec.a: no");
        let displaced = &Verdict::Displaced("two".to_owned());
        assert_eq!(
            said(displaced, &sidecars(0, 0, 0))[1],
            "Programmed False Displaced no sidecar is told of it"
        );
    }

    #[test]
    fn a_transition_is_when_the_status_of_a_condition_changed() {
        let first =
            status(&held(&Value::Null), &Verdict::Accepted, ("a", &sidecars(2, 1, 0)), "first");
        let again = status(&held(&first), &Verdict::Accepted, ("a", &sidecars(2, 1, 0)), "now");
        assert_eq!(first, again, "nothing changed");
        let done = status(&held(&first), &Verdict::Accepted, ("a", &sidecars(2, 2, 0)), "now");
        assert_eq!(done["conditions"][0]["lastTransitionTime"], "first");
        assert_eq!(done["conditions"][1]["lastTransitionTime"], "now");
    }
}
