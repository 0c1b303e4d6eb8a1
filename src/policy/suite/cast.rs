//! The fields of a case, completed by the suite's defaults and users.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::raw::Unread;
use crate::policy::field::FieldPath;
use crate::policy::problem::{Problem, did_you_mean};
use crate::policy::resource::Checked;

/// Stands for no peer, user or client.
pub(super) const NOBODY: &str = "none";
const CALLERS: [&str; 2] = ["user", "client"];

/// What the cases of one suite share.
pub(super) struct Cast<'s> {
    pub(super) users: &'s BTreeMap<String, Value>,
    pub(super) defaults: Unread,
}

impl Cast<'_> {
    /// The fields of a case with the defaults below them and names replaced by whom they stand for.
    pub(super) fn complete(&self, mut case: Unread, at: &FieldPath) -> Checked<Unread> {
        long_form(&mut case, &at.field("request"))?;
        let mut defaults = self.defaults.clone();
        long_form(&mut defaults, &FieldPath::root().field("defaults").field("request"))?;
        // A connection is no request: the other's default does not stand beside it.
        for (one, other) in [("request", "connection"), ("connection", "request")] {
            if case.contains_key(one) {
                defaults.remove(other);
            }
        }
        for (name, default) in defaults {
            match (name.as_str(), case.get_mut(&name), default) {
                (_, None, default) => {
                    case.insert(name, default);
                }
                ("request", Some(Value::Object(request)), Value::Object(default)) => {
                    lay_under(request, default);
                }
                (_, Some(_), _) => {}
            }
        }
        for field in CALLERS {
            self.name(&mut case, field, &at.field(field))?;
        }
        if case.get("peer").and_then(Value::as_str) == Some(NOBODY) {
            case.remove("peer");
        }
        Ok(case)
    }

    /// `user: alice` is the user of this name, `user: none` is nobody.
    fn name(&self, case: &mut Unread, field: &str, at: &FieldPath) -> Checked<()> {
        let Some(Value::String(name)) = case.get(field) else { return Ok(()) };
        if name == NOBODY {
            case.remove(field);
            return Ok(());
        }
        let Some(user) = self.users.get(name) else {
            let known = self.users.keys().map(String::as_str);
            let hint = did_you_mean(name, known).unwrap_or_else(|| {
                "name users once in `users` of the suite, or write { sub: .. } here".to_owned()
            });
            let message = format!("there is no user `{name}` in `users`");
            return Err(Problem::new(at.clone(), message).hint(hint));
        };
        let user = user.clone();
        case.insert(field.to_owned(), user);
        Ok(())
    }
}

/// `request: GET /path` stands for method and path.
fn long_form(case: &mut Unread, at: &FieldPath) -> Checked<()> {
    let Some(Value::String(short)) = case.get("request") else { return Ok(()) };
    let Some((method, path)) = short.split_once(' ') else {
        return Err(Problem::new(at.clone(), format!("`{short}` is no request"))
            .hint("write GET /path, or { method: GET, path: /path }"));
    };
    let long = json!({ "method": method, "path": path.trim_start() });
    case.insert("request".to_owned(), long);
    Ok(())
}

/// Fields of the default that the case does not write; of headers each by itself.
fn lay_under(request: &mut Map<String, Value>, default: Map<String, Value>) {
    for (name, default) in default {
        match (name.as_str(), request.get_mut(&name), default) {
            (_, None, default) => {
                request.insert(name, default);
            }
            ("headers", Some(Value::Object(headers)), Value::Object(default)) => {
                for (header, value) in default {
                    headers.entry(header).or_insert(value);
                }
            }
            (_, Some(_), _) => {}
        }
    }
}
