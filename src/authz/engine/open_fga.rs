//! OpenFGA's check API: `POST /stores/<store>/check`.

use serde_json::{Map, Value, json};

use super::http::Reach;
use super::said::{Fault, Said};
use crate::policy::{Consistency, EngineFault, OpenFga, Tuple};

/// Where it is asked.
pub(super) fn url(fga: &OpenFga) -> String {
    format!("{}/stores/{}/check", fga.url.trim_end_matches('/'), fga.store)
}

/// The question about one relation.
pub(super) fn question(fga: &OpenFga, tuple: Tuple) -> Value {
    let Tuple { user, relation, object } = tuple;
    json!({
        "tuple_key": { "user": user, "relation": relation, "object": object },
        "authorization_model_id": fga.model,
        "consistency": match fga.consistency {
            Consistency::MinimizeLatency => "MINIMIZE_LATENCY",
            Consistency::HigherConsistency => "HIGHER_CONSISTENCY",
        },
    })
}

pub(super) async fn ask(reach: &Reach<'_>, url: &str, question: &Value) -> Result<Said, Fault> {
    read(&reach.ask(url, question, &[200]).await?)
}

fn read(answer: &Map<String, Value>) -> Result<Said, Fault> {
    match answer.get("allowed") {
        Some(Value::Bool(true)) => Ok(Said::Yes),
        // It is left out when it is false, by readers of protobuf; then something else of the answer must be there.
        Some(Value::Bool(false)) => Ok(Said::No),
        None if answer.contains_key("resolution") => Ok(Said::No),
        Some(_) | None => Err(Fault::once(EngineFault::Unusable)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_true_is_yes() {
        let said = |answer: Value| read(answer.as_object().unwrap()).ok();
        assert_eq!(said(json!({ "allowed": true, "resolution": "" })), Some(Said::Yes));
        assert_eq!(said(json!({ "allowed": false, "resolution": "" })), Some(Said::No));
        assert_eq!(said(json!({ "resolution": "" })), Some(Said::No));
        assert_eq!(said(json!({})), None);
        assert_eq!(said(json!({ "allowed": "true" })), None);
        assert_eq!(said(json!({ "code": "validation_error" })), None);
    }
}
