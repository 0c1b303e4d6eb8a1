//! Small pieces of conditions.

/// A text as a literal. The escapes of JSON are among those of CEL.
pub(super) fn literal(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Joined by *or*; brackets where there are several.
pub(super) fn any(alternatives: &[String]) -> String {
    match alternatives {
        [only] => only.clone(),
        several => format!("({})", several.join(" || ")),
    }
}
