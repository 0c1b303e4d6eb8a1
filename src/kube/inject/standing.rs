//! How a pod that is there stands to its gate: what `hopgate check` and `hopgate status` tell.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::seen::Seen;
use super::wish::{self, Asked, Namespace};
use super::{INJECTED, Refused, Skip, skip};

/// Who put a gate into a pod, as it stands in the annotation `hopgate.dev/injected`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Injected {
    /// The revision of the control plane.
    pub revision: String,
    /// Its version.
    pub version: String,
}

/// How a pod stands to its gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It has one.
    Guarded {
        /// Who put it there; nothing where the annotation is not readable.
        by: Injected,
        /// The revision that is asked for now, if one is.
        asked: Option<String>,
    },
    /// Nobody wants one.
    Unwanted(Skip),
    /// It should have one, and cannot.
    Impossible(Skip),
    /// It should have one of this revision, and has none: it was made before anybody asked, or by whoever is not asked about.
    Unguarded {
        /// The revision.
        asked: String,
    },
}

impl Standing {
    /// How a pod of a namespace stands.
    ///
    /// # Errors
    /// When what its labels and annotations ask for is not understood.
    pub fn of(pod: &Value, namespace: &Namespace) -> Result<Self, Refused> {
        let seen = Seen::read(pod)?;
        let asked = wish::asked(&seen, namespace)?;
        if seen.has_gate() {
            let said = seen.annotation(INJECTED).unwrap_or_default();
            let by = serde_json::from_str(said).unwrap_or_default();
            let asked = match asked {
                Asked::None(_) => None,
                Asked::Gate(revision) => Some(revision),
            };
            return Ok(Self::Guarded { by, asked });
        }
        match asked {
            Asked::None(skip) => Ok(Self::Unwanted(skip)),
            Asked::Gate(asked) => Ok(match skip::impossible(&seen) {
                Some(skip) => Self::Impossible(skip),
                None => Self::Unguarded { asked },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(annotations: &Value, spec: &Value, labels: &[(&str, &str)]) -> Standing {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let pod = json!({ "metadata": { "annotations": annotations }, "spec": spec });
        Standing::of(&pod, &Namespace { labels: labels.collect() }).unwrap()
    }

    #[test]
    fn a_pod_has_its_gate_or_it_is_said_why_not() {
        let bare = json!({ "containers": [{ "name": "app" }] });
        let gate = json!({
            "containers": [{ "name": "app" }],
            "initContainers": [
                { "name": "hopgate-capture" },
                { "name": "hopgate", "restartPolicy": "Always" },
                { "name": "envoy", "restartPolicy": "Always" },
            ],
        });
        let asking = [("hopgate.dev/inject", "enabled"), ("hopgate.dev/revision", "blue")];
        let by =
            json!({ "hopgate.dev/injected": "{\"revision\":\"green\",\"version\":\"1.2.3\"}" });
        let injected = Injected { revision: "green".to_owned(), version: "1.2.3".to_owned() };
        let guarded = |asked: Option<&str>| Standing::Guarded {
            by: injected.clone(),
            asked: asked.map(str::to_owned),
        };
        assert_eq!(of(&by, &gate, &asking), guarded(Some("blue")));
        assert_eq!(of(&by, &gate, &[]), guarded(None));
        assert_eq!(
            of(&json!({}), &bare, &asking),
            Standing::Unguarded { asked: "blue".to_owned() }
        );
        // The annotation alone is no gate.
        assert_eq!(of(&by, &bare, &asking), Standing::Unguarded { asked: "blue".to_owned() });
        assert_eq!(of(&json!({}), &bare, &[]), Standing::Unwanted(Skip::NotAsked));
        let host = json!({ "containers": [{ "name": "app" }], "hostNetwork": true });
        assert_eq!(of(&json!({}), &host, &asking), Standing::Impossible(Skip::HostNetwork));
        let mistyped =
            Namespace { labels: [("hopgate.dev/inject".to_owned(), "on".to_owned())].into() };
        assert!(Standing::of(&json!({ "spec": bare }), &mistyped).is_err());
    }
}
