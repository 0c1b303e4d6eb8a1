//! JSON-RPC 2.0 calls, of which the Model Context Protocol is made.

use serde_json::Value;

/// The one call that a document is.
pub(super) fn read(document: &Value) -> Result<(&str, Option<&str>), &'static str> {
    let call = match document {
        Value::Object(call) => call,
        Value::Array(_) => return Err("a batch of calls cannot be judged as one"),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return Err("the body is no JSON-RPC call");
        }
    };
    if call.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err("the body is no JSON-RPC 2.0 call");
    }
    let method = call.get("method").and_then(Value::as_str);
    let method = method.ok_or("the body is no JSON-RPC call: it names no method")?;
    if call.contains_key("result") || call.contains_key("error") {
        return Err("the body is a JSON-RPC call and an answer at once");
    }
    let tool = match method {
        "tools/call" => {
            let name = call.get("params").and_then(|params| params.get("name"));
            let name = name.and_then(Value::as_str);
            Some(name.ok_or("the body calls a tool and does not name it")?)
        }
        _ => None,
    };
    Ok((method, tool))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_has_a_method_and_a_call_of_a_tool_its_name() {
        let call = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "search" },
        });
        assert_eq!(read(&call), Ok(("tools/call", Some("search"))));
        let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
        assert_eq!(read(&list), Ok(("tools/list", None)));
        let notified = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(read(&notified), Ok(("notifications/initialized", None)));
        for bad in [
            json!([call]),
            json!([]),
            json!("tools/call"),
            json!({ "method": "tools/list", "id": 1 }),
            json!({ "jsonrpc": "1.0", "method": "tools/list" }),
            json!({ "jsonrpc": "2.0", "id": 1, "result": {} }),
            json!({ "jsonrpc": "2.0", "method": "tools/list", "id": 1, "result": {} }),
            json!({ "jsonrpc": "2.0", "method": 7 }),
            json!({ "jsonrpc": "2.0", "method": ["tools/list"] }),
            json!({ "jsonrpc": "2.0", "method": "tools/call" }),
            json!({ "jsonrpc": "2.0", "method": "tools/call", "params": ["search"] }),
            json!({ "jsonrpc": "2.0", "method": "tools/call", "params": { "name": ["search"] } }),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }
}
