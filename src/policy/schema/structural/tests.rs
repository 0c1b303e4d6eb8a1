use super::*;
use crate::policy::KINDS;

/// Every schema below `at`, with its path.
fn walk(schema: &Value, at: &str, see: &mut dyn FnMut(&str, &Map<String, Value>)) {
    let schema = schema.as_object().unwrap_or_else(|| panic!("{at} is no schema"));
    see(at, schema);
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(inner) {
            walk(inner, &format!("{at}[]"), see);
        }
    }
    for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        walk(inner, &format!("{at}.{name}"), see);
    }
}

fn of(kind: &str) -> Value {
    structural(kind).unwrap().unwrap()
}

#[test]
fn every_kind_has_one_and_what_is_no_kind_has_none() {
    for kind in KINDS {
        assert_eq!(of(kind)["type"], "object");
    }
    assert!(structural("Suite").unwrap().is_none());
}

/// A field that is dropped is a restriction that is gone.
#[test]
fn no_object_drops_what_it_does_not_know() {
    let mut objects = 0;
    for kind in KINDS {
        walk(&of(kind), kind, &mut |at, schema| {
            for keyword in ["$ref", "title", "uniqueItems", "const"] {
                assert!(!schema.contains_key(keyword), "{at} has {keyword}");
            }
            let keeps = schema.get(KEEPS_UNKNOWN) == Some(&Value::Bool(true));
            match schema.get("type").and_then(Value::as_str) {
                None => assert!(keeps, "{at} has no type"),
                Some("object") => {
                    objects += 1;
                    let is_map = schema.contains_key("additionalProperties");
                    assert_eq!(keeps, !is_map, "{at}");
                    assert_eq!(schema.contains_key("x-kubernetes-map-type"), is_map, "{at}");
                }
                Some("array") => assert_eq!(schema["x-kubernetes-list-type"], "atomic", "{at}"),
                Some("string" | "integer") => assert!(!keeps, "{at}"),
                Some(other) => panic!("{at} is {other}"),
            }
        });
    }
    assert!(objects > 50, "{objects}");
}

#[test]
fn choices_become_rules() {
    let rules = |schema: &Value| schema[VALIDATIONS].as_array().cloned().unwrap_or_default();
    let policy = of("AccessPolicy");
    let any = &rules(&policy)[0];
    assert_eq!(any["rule"], "has(self.rules) || has(self.identity) || has(self.response)");
    let rule = &policy["properties"]["rules"]["items"];
    assert_eq!(rules(rule)[0]["rule"], "has(self.allow) != has(self.deny)");
    assert_eq!(rules(rule)[1]["fieldPath"], ".deny.stepUp");
    assert_eq!(rules(&rule["properties"]["allow"]).len(), 1);
    assert!(rules(&rule["properties"]["deny"]).is_empty());
    let engine = &rules(&of("PolicyEngine"))[0];
    assert!(engine["rule"].as_str().unwrap().ends_with(".filter(one, one).size() == 1"));
    // `from` is text or a claim: CEL does not see it.
    let header = &policy["properties"]["response"]["properties"]["headers"]["items"];
    assert_eq!(header["oneOf"][1]["required"][0], "from");
    assert_eq!(header["properties"]["from"][KEEPS_UNKNOWN], true);
    assert!(rules(header).is_empty());
}

#[test]
fn what_is_written_beside_a_reference_wins() {
    let policy = of("AccessPolicy");
    let rule = &policy["properties"]["rules"]["items"]["properties"];
    assert_eq!(rule["allow"]["description"], "Admits, unless something refuses.");
    assert_eq!(rule["allow"]["minProperties"], 1);
    assert_eq!(rule["deny"].get("minProperties"), None);
}
