//! A review by a mutating or validating webhook (`admission.k8s.io/v1`), as far as an answer needs it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
/// The API server cuts longer warnings.
const WARNING: usize = 250;
const WARNINGS: usize = 8;

/// What is asked: may this object be made?
#[derive(Debug, Clone)]
pub struct Review {
    /// By which the answer is known.
    uid: String,
    /// Group, version and kind of the object.
    pub kind: GroupVersionKind,
    /// What is done to it: `CREATE`, `UPDATE`, `DELETE`, `CONNECT`.
    pub operation: String,
    /// Its namespace; nothing for objects without one.
    pub namespace: Option<String>,
    /// A part of it that is meant instead of the whole.
    pub sub_resource: Option<String>,
    /// True when nothing will come of it, and so nothing may be done beside answering.
    pub dry_run: bool,
    /// The object.
    pub object: Value,
}

/// What kind of object.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GroupVersionKind {
    /// Empty for the oldest kinds.
    pub group: String,
    /// Its version.
    pub version: String,
    /// Its name.
    pub kind: String,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Admission {
    /// As it is, or changed, with what its owner should know.
    Allowed {
        /// The object afterwards, if it is to be another.
        changed: Option<Value>,
        /// Each a sentence.
        warnings: Vec<String>,
    },
    /// Not at all.
    Denied {
        /// An HTTP status: whose fault it is.
        code: u16,
        /// Why, and what to do.
        message: String,
    },
}

/// What was posted is no review, so it cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum NoReview {
    /// It cannot be read.
    #[error("not a review")]
    Unreadable(#[from] serde_json::Error),
    /// It is something else, or of a version that is not known.
    #[error("{0:?} is no {KIND} of {API_VERSION}")]
    Other(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawReview {
    api_version: String,
    kind: String,
    request: RawRequest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRequest {
    uid: String,
    kind: GroupVersionKind,
    operation: String,
    namespace: Option<String>,
    sub_resource: Option<String>,
    dry_run: Option<bool>,
    #[serde(default)]
    object: Value,
}

impl Review {
    /// Reads what an API server posted.
    ///
    /// # Errors
    /// When it is no review of the version that is known here. The API server must not take that for a yes.
    pub fn read(body: &[u8]) -> Result<Self, NoReview> {
        let RawReview { api_version, kind, request } = serde_json::from_slice(body)?;
        if api_version != API_VERSION || kind != KIND {
            let other = format!("{kind} {api_version}").chars().take(100).collect();
            return Err(NoReview::Other(other));
        }
        let RawRequest { uid, kind, operation, namespace, sub_resource, dry_run, object } = request;
        Ok(Self {
            uid,
            kind,
            operation,
            namespace: namespace.filter(|name| !name.is_empty()),
            sub_resource: sub_resource.filter(|name| !name.is_empty()),
            dry_run: dry_run.unwrap_or(false),
            object,
        })
    }

    /// Whether a pod is being made, and no part of one.
    #[must_use]
    pub fn makes_a_pod(&self) -> bool {
        let GroupVersionKind { group, version, kind } = &self.kind;
        (group.as_str(), version.as_str(), kind.as_str()) == ("", "v1", "Pod")
            && self.operation == "CREATE"
            && self.sub_resource.is_none()
    }

    /// The answer as the API server reads it.
    #[must_use]
    pub fn answered(&self, answer: &Admission) -> Value {
        let response = match answer {
            Admission::Allowed { changed, warnings } => {
                let mut response = Map::new();
                response.insert("uid".to_owned(), json!(self.uid));
                response.insert("allowed".to_owned(), json!(true));
                let cut = |text: &String| text.chars().take(WARNING).collect::<String>();
                let warnings: Vec<String> = warnings.iter().take(WARNINGS).map(cut).collect();
                if !warnings.is_empty() {
                    response.insert("warnings".to_owned(), json!(warnings));
                }
                if let Some(changed) = changed {
                    let patch = json!(json_patch::diff(&self.object, changed)).to_string();
                    response.insert("patchType".to_owned(), json!("JSONPatch"));
                    response.insert("patch".to_owned(), json!(STANDARD.encode(patch)));
                }
                Value::Object(response)
            }
            Admission::Denied { code, message } => json!({
                "uid": self.uid,
                "allowed": false,
                "status": { "code": code, "message": message },
            }),
        };
        json!({ "apiVersion": API_VERSION, "kind": KIND, "response": response })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(change: &[(&str, Value)]) -> Vec<u8> {
        let mut review = json!({
            "apiVersion": API_VERSION, "kind": KIND,
            "request": {
                "uid": "u", "kind": { "group": "", "version": "v1", "kind": "Pod" }, "operation": "CREATE",
                "namespace": "shop", "object": { "a": [1, 2], "b": {} },
            },
        });
        for (pointer, value) in change {
            *review.pointer_mut(pointer).unwrap() = value.clone();
        }
        review.to_string().into_bytes()
    }

    #[test]
    fn only_whole_pods_that_are_made_are_pods() {
        let makes = |change: &[(&str, Value)]| Review::read(&body(change)).unwrap().makes_a_pod();
        assert!(makes(&[]));
        assert!(!makes(&[("/request/operation", json!("UPDATE"))]));
        assert!(!makes(&[("/request/kind/kind", json!("Deployment"))]));
        assert!(!makes(&[("/request/kind/group", json!("apps"))]));
        let mut part: Value = serde_json::from_slice(&body(&[])).unwrap();
        part["request"]["subResource"] = json!("ephemeralcontainers");
        assert!(!Review::read(part.to_string().as_bytes()).unwrap().makes_a_pod());
        for bad in [
            body(&[("/apiVersion", json!("admission.k8s.io/v1beta1"))]),
            body(&[("/kind", json!("Pod"))]),
            body(&[("/request", json!({}))]),
            body(&[("/request/uid", json!(1))]),
            b"{".to_vec(),
            Vec::new(),
        ] {
            assert!(Review::read(&bad).is_err());
        }
    }

    #[test]
    fn an_answer_carries_the_way_to_the_changed_object() {
        let review = Review::read(&body(&[])).unwrap();
        let changed = json!({ "a": [0, 1, 2], "b": { "c/d~": null }, "e": 1 });
        let warnings = vec!["x".repeat(300); 10];
        let answer =
            review.answered(&Admission::Allowed { changed: Some(changed.clone()), warnings });
        assert_eq!(
            (&answer["response"]["uid"], &answer["response"]["allowed"]),
            (&json!("u"), &json!(true))
        );
        let patch = answer["response"]["patch"].as_str().unwrap();
        let patch = STANDARD.decode(patch).unwrap();
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        let mut object = review.object.clone();
        json_patch::patch(&mut object, &patch).unwrap();
        assert_eq!(object, changed);
        let warnings = answer["response"]["warnings"].as_array().unwrap();
        assert_eq!((warnings.len(), warnings[0].as_str().unwrap().len()), (8, 250));

        let denied = review.answered(&Admission::Denied { code: 403, message: "no".into() });
        assert_eq!(
            denied["response"],
            json!({ "uid": "u", "allowed": false, "status": { "code": 403, "message": "no" } })
        );
        let allowed = review.answered(&Admission::Allowed { changed: None, warnings: Vec::new() });
        assert_eq!(allowed["response"], json!({ "uid": "u", "allowed": true }));
    }
}
