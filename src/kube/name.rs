//! Names of objects.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest name of a Kubernetes object (RFC 1123 subdomain).
const MAX_NAME: usize = 253;

/// A name that can stand in the path of a request (RFC 1123 subdomain).
#[must_use]
pub fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    (1..=MAX_NAME).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with(['.', '-'])
        && !text.ends_with(['.', '-'])
}

/// The name of an object in a namespace, as a configuration says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw")]
pub struct ObjectName {
    /// Without one, that of the pod that this process runs in, or of the kubeconfig's context.
    pub namespace: Option<String>,
    /// The object's own name.
    pub name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    namespace: Option<String>,
    name: String,
}

impl TryFrom<Raw> for ObjectName {
    type Error = String;

    fn try_from(Raw { namespace, name }: Raw) -> Result<Self, String> {
        let bad = namespace.iter().chain([&name]).find(|text| !is_name(text)).cloned();
        match bad {
            None => Ok(Self { namespace, name }),
            Some(bad) => Err(format!(
                "{bad:?} is no name of a Kubernetes object: lower-case letters, digits, - and ."
            )),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_the_path_of_its_request() {
        let read = |json: &str| serde_json::from_str::<ObjectName>(json);
        let good = read(r#"{"namespace":"hopgate-system","name":"hopgate-ca"}"#).unwrap();
        assert_eq!(good.to_string(), "hopgate-system/hopgate-ca");
        assert_eq!(read(r#"{"name":"hopgate-ca"}"#).unwrap().namespace, None);
        for bad in ["", "A", "a/b", "..", "a b", "-a", "a."] {
            assert!(!is_name(bad), "{bad}");
            for json in
                [format!(r#"{{"name":"{bad}"}}"#), format!(r#"{{"namespace":"{bad}","name":"a"}}"#)]
            {
                assert!(read(&json).is_err(), "{json}");
            }
        }
        assert!(read(r#"{"name":"a","kind":"b"}"#).is_err());
    }
}
