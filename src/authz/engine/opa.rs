//! The data API of an Open Policy Agent: `POST /v1/data/<path>`.

use serde_json::{Map, Value};

use super::http::Reach;
use super::said::{Fault, Said};
use crate::policy::{EngineFault, Opa};

/// Where a rule is asked for.
pub(super) fn url(opa: &Opa) -> String {
    format!("{}/v1/data/{}", opa.url.trim_end_matches('/'), opa.path)
}

/// The question about an input.
pub(super) fn question(input: Value) -> Value {
    let mut question = Map::new();
    question.insert("input".to_owned(), input);
    Value::Object(question)
}

pub(super) async fn ask(reach: &Reach<'_>, url: &str, question: &Value) -> Result<Said, Fault> {
    read(&reach.ask(url, question, &[200]).await?)
}

/// Undefined is an answer without `result`.
fn read(answer: &Map<String, Value>) -> Result<Said, Fault> {
    let allowed = match answer.get("result") {
        None => return Ok(Said::Undefined),
        Some(Value::Object(result)) => result.get("allowed"),
        result => result,
    };
    match allowed {
        Some(Value::Bool(true)) => Ok(Said::Yes),
        Some(Value::Bool(false)) => Ok(Said::No),
        Some(_) | None => Err(Fault::once(EngineFault::Unusable)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_true_is_yes_and_only_absence_is_undefined() {
        let said = |answer: Value| read(answer.as_object().unwrap()).ok();
        assert_eq!(said(json!({ "result": true })), Some(Said::Yes));
        assert_eq!(said(json!({ "result": { "allowed": true, "headers": {} } })), Some(Said::Yes));
        assert_eq!(said(json!({ "result": false })), Some(Said::No));
        assert_eq!(said(json!({ "result": { "allowed": false } })), Some(Said::No));
        assert_eq!(said(json!({})), Some(Said::Undefined));
        assert_eq!(said(json!({ "decision_id": "7" })), Some(Said::Undefined));
        for odd in [
            json!({ "result": null }),
            json!({ "result": "true" }),
            json!({ "result": 1 }),
            json!({ "result": [true] }),
            json!({ "result": {} }),
            json!({ "result": { "allowed": "yes" } }),
        ] {
            assert_eq!(said(odd.clone()), None, "{odd}");
        }
    }
}
