//! Kubernetes `SubjectAccessReview` (`authorization.k8s.io/v1`).

use serde_json::{Map, Value, json};

use super::http::Reach;
use super::said::{Fault, Said};
use crate::policy::{EngineFault, SubjectAccessReview};

/// Where it is asked.
pub(super) fn url(review: &SubjectAccessReview) -> String {
    let base = review.url.trim_end_matches('/');
    format!("{base}/apis/authorization.k8s.io/v1/subjectaccessreviews")
}

/// The question with this `spec`.
pub(super) fn question(spec: &Value) -> Value {
    json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": spec,
    })
}

pub(super) async fn ask(reach: &Reach<'_>, url: &str, question: &Value) -> Result<Said, Fault> {
    read(&reach.ask(url, question, &[200, 201]).await?)
}

fn read(review: &Map<String, Value>) -> Result<Said, Fault> {
    let unusable = || Fault::once(EngineFault::Unusable);
    // Whatever else answers there has not judged.
    if review.get("kind").and_then(Value::as_str) != Some("SubjectAccessReview") {
        return Err(unusable());
    }
    let status = review.get("status").and_then(Value::as_object).ok_or_else(unusable)?;
    let flag = |name: &str| match status.get(name) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(unusable()),
    };
    let (allowed, denied) = (flag("allowed")?, flag("denied")?);
    let error = status.get("evaluationError").and_then(Value::as_str).unwrap_or_default();
    match (allowed, denied) {
        (true, false) => Ok(Said::Yes),
        (_, true) => Ok(Said::No),
        // A part of its rules could not be looked at: that is not the same as no.
        (false, false) if !error.is_empty() => Err(Fault::once(EngineFault::Unusable)),
        (false, false) => Ok(Said::No),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_yes_only_if_it_is_allowed_and_not_denied() {
        let said = |status: Value| {
            let review = json!({ "kind": "SubjectAccessReview", "status": status });
            read(review.as_object().unwrap()).ok()
        };
        assert_eq!(said(json!({ "allowed": true })), Some(Said::Yes));
        assert_eq!(said(json!({ "allowed": true, "reason": "RBAC" })), Some(Said::Yes));
        assert_eq!(said(json!({ "allowed": true, "denied": true })), Some(Said::No));
        assert_eq!(said(json!({ "allowed": false })), Some(Said::No));
        assert_eq!(said(json!({})), Some(Said::No));
        assert_eq!(said(json!({ "allowed": false, "evaluationError": "no such role" })), None);
        assert_eq!(said(json!({ "allowed": "true" })), None);
        assert_eq!(read(json!({ "status": { "allowed": true } }).as_object().unwrap()).ok(), None);
        let other = json!({ "kind": "Status", "status": "Failure" });
        assert_eq!(read(other.as_object().unwrap()).ok(), None);
    }
}
