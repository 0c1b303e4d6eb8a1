//! The validating admission webhook, as a function: an `AdmissionReview` (`admission.k8s.io/v1`) in, one out.
//!
//! It judges by the parser of the data plane. What nobody could use is refused before it is stored, in the words of
//! `hopgate policy check`; what probably was not meant is let in with a warning.

use serde_json::{Map, Value, json};

use super::index::{Held, Neighbours, ResourceKey, document};
use crate::policy::lint::{self, Checked, Finding, Level, Lint};

const API_VERSION: &str = "admission.k8s.io/v1";
/// `kubectl` cuts longer warnings.
const MAX_WARNING_CHARACTERS: usize = 250;
const MAX_WARNINGS: usize = 8;

/// What was posted is no review that could be answered.
#[derive(Debug, thiserror::Error)]
pub enum InvalidReview {
    /// It is no JSON.
    #[error("the review is no JSON")]
    Json(#[from] serde_json::Error),
    /// Something is missing in it.
    #[error("the review has no {0}")]
    Missing(&'static str),
    /// It is of a version that this function does not know.
    #[error("{0:?} is not {API_VERSION}")]
    Version(String),
}

/// Answers a review of a resource among `neighbours`.
///
/// # Errors
/// When it is no review. The API server must not take that for a yes.
pub fn validate(review: &[u8], neighbours: &Neighbours) -> Result<Value, InvalidReview> {
    let review: Value = serde_json::from_slice(review)?;
    let version = review.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    if version != API_VERSION {
        return Err(InvalidReview::Version(version.chars().take(100).collect()));
    }
    let request = review.get("request").ok_or(InvalidReview::Missing("request"))?;
    let uid = request.get("uid").and_then(Value::as_str);
    let uid = uid.ok_or(InvalidReview::Missing("request.uid"))?;
    let answer = judge(request, neighbours)?;
    Ok(answer.to_json(uid))
}

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// It may be stored, with these warnings.
    Allowed(Vec<String>),
    /// It may not.
    Denied(String),
}

fn judge(request: &Value, neighbours: &Neighbours) -> Result<Answer, InvalidReview> {
    let operation = request.get("operation").and_then(Value::as_str);
    match operation.ok_or(InvalidReview::Missing("request.operation"))? {
        "CREATE" | "UPDATE" => {}
        // What goes, or is connected to, is not judged by what it says.
        _ => return Ok(Answer::Allowed(Vec::new())),
    }
    let object = request.get("object").ok_or(InvalidReview::Missing("request.object"))?;
    let object = &named(object, request);
    let Some(key) = ResourceKey::of(object) else {
        // A webhook that is asked about what it does not know must not wave it through.
        return Ok(Answer::Denied("this is none of the kinds that hopgate knows".to_owned()));
    };
    let document = document(object, &key);
    // Whoever takes a finalizer or label off a bad resource changes nothing of what it says.
    let before = request.get("oldObject").filter(|before| before.is_object());
    if before.is_some_and(|before| self::document(before, &key) == document) {
        return Ok(Answer::Allowed(Vec::new()));
    }
    if let Some(words) = neighbours.displaced(&key) {
        return Ok(Answer::Denied(words));
    }
    let held = Held::read(object).ok_or(InvalidReview::Missing("request.object.metadata"))?;
    match held.problem() {
        Some(words) => Ok(Answer::Denied(words.to_owned())),
        None => Ok(Answer::Allowed(warnings(object, &key))),
    }
}

/// The object with the namespace of the request: an object that is being made need not say its own.
fn named(object: &Value, request: &Value) -> Value {
    let mut object = object.clone();
    let namespace = request.get("namespace").cloned();
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    if let (Some(namespace), Some(metadata)) = (namespace, metadata) {
        metadata.entry("namespace").or_insert(namespace);
        // The API server chooses one, after this.
        let name = metadata.get("generateName").and_then(Value::as_str);
        if let Some(name) = name.map(|name| format!("{name}x")) {
            metadata.entry("name").or_insert(name.into());
        }
    }
    object
}

/// What `hopgate policy check` would warn of in this resource alone.
fn warnings(object: &Value, key: &ResourceKey) -> Vec<String> {
    let mut whole = document(object, key);
    let annotations = object.get("metadata").and_then(|metadata| metadata.get("annotations"));
    if let (Some(annotations), Some(metadata)) =
        (annotations, whole.get_mut("metadata").and_then(Value::as_object_mut))
    {
        metadata.insert("annotations".to_owned(), annotations.clone());
    }
    let texts = [(key.to_string(), whole.to_string())];
    let found = lint::check(&Checked { texts: &texts, ..Checked::default() });
    let found = found.into_iter().filter(|finding| finding.lint.level() == Level::Warning);
    // Whether a provider is used, this resource alone does not tell.
    let found = found.filter(|finding| finding.lint != Lint::UnusedProvider);
    found.map(|finding| warning(&finding)).take(MAX_WARNINGS).collect()
}

fn warning(Finding { subject, message, hint, .. }: &Finding) -> String {
    let hint = hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    format!("{subject}: {message}{hint}").chars().take(MAX_WARNING_CHARACTERS).collect()
}

impl Answer {
    fn to_json(&self, uid: &str) -> Value {
        let mut response = Map::new();
        response.insert("uid".to_owned(), uid.into());
        match self {
            Self::Allowed(warnings) => {
                response.insert("allowed".to_owned(), true.into());
                if !warnings.is_empty() {
                    response.insert("warnings".to_owned(), json!(warnings));
                }
            }
            Self::Denied(message) => {
                response.insert("allowed".to_owned(), false.into());
                let status = json!({ "code": 422, "reason": "Invalid", "message": message });
                response.insert("status".to_owned(), status);
            }
        }
        json!({ "apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response })
    }
}

#[cfg(test)]
mod tests;
