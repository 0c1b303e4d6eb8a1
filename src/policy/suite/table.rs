//! Tables: one case for each row of `each`, with `{placeholders}` in its place.

use serde_json::{Map, Value};

use super::raw::Unread;
use crate::policy::field::FieldPath;
use crate::policy::problem::{Problem, did_you_mean, quoted};
use crate::policy::resource::Checked;

const TABLE: &str = "each";

/// The fields of each case, with the place of its row; a case without a table is its own only row.
pub(super) fn rows(mut case: Unread, at: &FieldPath) -> Checked<Vec<(FieldPath, Unread)>> {
    let Some(table) = case.remove(TABLE) else { return Ok(vec![(at.clone(), case)]) };
    let at_table = at.field(TABLE);
    let Value::Array(rows) = table else {
        return Err(
            Problem::new(at_table, "is no list of rows").hint("write - {a: 1, b: 2} for each")
        );
    };
    if rows.is_empty() {
        return Err(Problem::new(at_table, "is empty"));
    }
    let mut read = Vec::with_capacity(rows.len());
    for (place, row) in rows.into_iter().enumerate() {
        let at_row = at_table.item(place);
        let Value::Object(row) = row else {
            return Err(Problem::new(at_row, "is no mapping from columns to values"));
        };
        let mut filling = Filling { row: &row, used: Vec::new() };
        let filled = filling.map(&case, at)?;
        if let Some(column) = row.keys().find(|column| !filling.used.contains(column)) {
            let message = format!("the case has no placeholder {{{column}}}");
            return Err(Problem::new(at_row.field(column), message));
        }
        read.push((at_row, filled));
    }
    Ok(read)
}

/// One row on its way into a case.
struct Filling<'r> {
    row: &'r Map<String, Value>,
    used: Vec<&'r String>,
}

impl<'r> Filling<'r> {
    fn map(&mut self, fields: &Map<String, Value>, at: &FieldPath) -> Checked<Map<String, Value>> {
        let filled = fields.iter().map(|(name, value)| {
            let value = self.value(value, &at.field(name))?;
            Ok((name.clone(), value))
        });
        filled.collect()
    }

    fn value(&mut self, value: &Value, at: &FieldPath) -> Checked<Value> {
        match value {
            Value::String(text) => self.text(text, at),
            Value::Array(items) => {
                let items = items.iter().enumerate();
                let filled = items.map(|(place, item)| self.value(item, &at.item(place)));
                filled.collect::<Checked<Vec<_>>>().map(Value::Array)
            }
            Value::Object(fields) => self.map(fields, at).map(Value::Object),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(value.clone()),
        }
    }

    /// A text that is one placeholder becomes the row's value as it is, any other a text.
    fn text(&mut self, text: &str, at: &FieldPath) -> Checked<Value> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, name, behind)) = placeholder(rest) {
            let value = self.column(name, at)?;
            if before.is_empty() && behind.is_empty() && filled.is_empty() {
                return Ok(value.clone());
            }
            filled.push_str(before);
            match value {
                Value::String(text) => filled.push_str(text),
                Value::Bool(_) | Value::Number(_) => filled.push_str(&value.to_string()),
                Value::Null | Value::Array(_) | Value::Object(_) => {
                    let message = format!("{{{name}}} is no text here and stands inside of one");
                    return Err(Problem::new(at.clone(), message));
                }
            }
            rest = behind;
        }
        filled.push_str(rest);
        Ok(Value::String(filled))
    }

    fn column(&mut self, name: &str, at: &FieldPath) -> Checked<&'r Value> {
        let Some((column, value)) = self.row.get_key_value(name) else {
            let columns = self.row.keys().map(String::as_str);
            let message =
                format!("the row has no column `{name}`, only {}", quoted(columns.clone()));
            return Err(Problem::new(at.clone(), message).maybe_hint(did_you_mean(name, columns)));
        };
        self.used.push(column);
        Ok(value)
    }
}

/// What stands before the first `{name}` of a text, the name, and what stands behind it.
fn placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let open = from + text.get(from..)?.find('{')?;
        let inside = text.get(open + 1..)?;
        let length =
            inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len());
        let (name, behind) = inside.split_at_checked(length)?;
        match behind.strip_prefix('}') {
            Some(behind) if !name.is_empty() => return Some((text.get(..open)?, name, behind)),
            Some(_) | None => from = open + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_in_braces_is_a_placeholder() {
        assert_eq!(placeholder("/a/{b}/c{d}"), Some(("/a/", "b", "/c{d}")));
        assert_eq!(placeholder("{b}"), Some(("", "b", "")));
        assert_eq!(placeholder(r#"{"a": {}, {b c} {x}"#), Some((r#"{"a": {}, {b c} "#, "x", "")));
        for text in ["", "{", "{}", "}{", "{a", "{\"a\": 1}", "é{é}"] {
            assert_eq!(placeholder(text), None, "{text}");
        }
    }
}
