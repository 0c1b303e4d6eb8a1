//! Certificates that cert-manager's issuers sign (`CertificateRequest`, `cert-manager.io/v1`).
//!
//! A request has a name that whoever asks chose, so that asking twice is asking once. What stands in its status is read
//! strictly: anything but a clear answer is no answer yet.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use serde::Deserialize;
use serde_json::{Value, json};

use super::retry::{NoAnswer, Patience, until_answered};
use super::{Cluster, ObjectName};

/// The longest chain that is read.
const MAX_CHAIN: usize = 64 * 1024;

/// Who signs: the `issuerRef` of cert-manager.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct IssuerRef {
    /// Its name.
    pub name: String,
    /// `Issuer`, `ClusterIssuer`, or the kind of an external issuer.
    #[serde(default = "issuer")]
    pub kind: String,
    /// Its API group.
    #[serde(default = "cert_manager")]
    pub group: String,
}

fn issuer() -> String {
    "Issuer".to_owned()
}

fn cert_manager() -> String {
    "cert-manager.io".to_owned()
}

/// How far a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestStanding {
    /// There is none of that name.
    Missing,
    /// No answer yet; what stands in its conditions, for people.
    Waiting(String),
    /// It will not be signed; why, for people.
    Refused(String),
    /// It is signed.
    Signed {
        /// The certificate and those between it and the root, in PEM.
        chain: String,
        /// The root, in PEM, if the issuer tells it.
        root: Option<String>,
    },
}

/// A request cannot be made or looked at.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The API server refuses.
    #[error(
        "the API server does not {action} CertificateRequest {name}; is cert-manager installed, and may the \
         control plane's service account do this?"
    )]
    Refused {
        /// `make` or `show`.
        action: &'static str,
        /// Namespace and name.
        name: String,
        /// Its words.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server does not answer.
    #[error("the API server gives no answer about CertificateRequest {name}")]
    Silent {
        /// Namespace and name.
        name: String,
        /// What the last attempt came to, if it came to anything.
        #[source]
        source: Option<Box<kube::Error>>,
    },
}

/// The requests of one namespace to one issuer. Cloning shares the connections.
#[derive(Clone)]
pub struct CertificateRequests {
    api: Api<DynamicObject>,
    kind: ApiResource,
    namespace: String,
    issuer: IssuerRef,
    duration: Duration,
}

impl CertificateRequests {
    /// Requests in the namespace of `beside`, for certificates that live for `duration`.
    #[must_use]
    pub fn new(
        cluster: &Cluster,
        beside: &ObjectName,
        issuer: &IssuerRef,
        duration: Duration,
    ) -> Self {
        let client = cluster.client();
        let namespace = beside.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        let kind = GroupVersionKind::gvk("cert-manager.io", "v1", "CertificateRequest");
        let kind = ApiResource::from_gvk_with_plural(&kind, "certificaterequests");
        let api = Api::namespaced_with(client, &namespace, &kind);
        Self { api, kind, namespace, issuer: issuer.clone(), duration }
    }

    /// Asks for a certificate of an authority, for the key of `request` (PKCS #10 in PEM). If there is a request of that
    /// name already, it stays.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn ask(&self, name: &str, request: &str) -> Result<(), RequestError> {
        let mut object = DynamicObject::new(name, &self.kind);
        object.metadata.labels =
            Some([("app.kubernetes.io/managed-by".to_owned(), "hopgate".to_owned())].into());
        let IssuerRef { name: issuer, kind, group } = &self.issuer;
        object.data = json!({ "spec": {
            "request": STANDARD.encode(request),
            "isCA": true,
            // What stands in the request, as cert-manager checks.
            "usages": ["cert sign", "crl sign"],
            "duration": format!("{}s", self.duration.as_secs()),
            "issuerRef": { "name": issuer, "kind": kind, "group": group },
        } });
        let post = PostParams::default();
        match until_answered(Patience::default(), || self.api.create(&post, &object)).await {
            Ok(_) => Ok(()),
            Err(NoAnswer::Refused(kube::Error::Api(status))) if status.code == 409 => Ok(()),
            Err(error) => Err(self.failed("make", name, error)),
        }
    }

    /// How far the request of that name is.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn look(&self, name: &str) -> Result<RequestStanding, RequestError> {
        match until_answered(Patience::default(), || self.api.get_opt(name)).await {
            Ok(None) => Ok(RequestStanding::Missing),
            Ok(Some(object)) => Ok(read(&object.data)),
            // There is no such resource: cert-manager is not installed, or is being replaced.
            Err(error) => Err(self.failed("show", name, error)),
        }
    }

    fn failed(&self, action: &'static str, name: &str, error: NoAnswer) -> RequestError {
        let name = format!("{}/{name}", self.namespace);
        match error {
            NoAnswer::Refused(source) => {
                RequestError::Refused { action, name, source: source.into() }
            }
            NoAnswer::Silent(source) => RequestError::Silent { name, source: source.map(Box::new) },
        }
    }
}

impl fmt::Debug for CertificateRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateRequests").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// Reads the status of a request: a denial or an invalid request counts whatever else stands there, a certificate only
/// beside `Ready`.
fn read(object: &Value) -> RequestStanding {
    let status = object.get("status").unwrap_or(&Value::Null);
    let empty = Vec::new();
    let conditions = status.get("conditions").and_then(Value::as_array).unwrap_or(&empty);
    let find = |kind: &str| {
        conditions.iter().find(|one| one.get("type").and_then(Value::as_str) == Some(kind))
    };
    let text = |one: &Value, field: &str| {
        one.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let words = |one: &Value| format!("{}: {}", text(one, "reason"), text(one, "message"));
    let is_true = |one: &&Value| text(one, "status") == "True";
    for (kind, what) in [("Denied", "denied"), ("InvalidRequest", "found invalid")] {
        if let Some(one) = find(kind).filter(is_true) {
            return RequestStanding::Refused(format!("it was {what} ({})", words(one)));
        }
    }
    let Some(ready) = find("Ready") else {
        let approved = find("Approved").filter(is_true).is_some();
        let words =
            if approved { "it is approved, and not signed yet" } else { "nobody approved it yet" };
        return RequestStanding::Waiting(words.to_owned());
    };
    if !is_true(&ready) {
        return match text(ready, "reason").as_str() {
            "Failed" | "Denied" => {
                RequestStanding::Refused(format!("it failed ({})", words(ready)))
            }
            _ => RequestStanding::Waiting(words(ready)),
        };
    }
    let pem = |field: &str| {
        let text = status.get(field).and_then(Value::as_str).filter(|text| !text.is_empty())?;
        if text.len() > MAX_CHAIN {
            return Some(Err(format!("its {field} is longer than {MAX_CHAIN} characters")));
        }
        let bytes = STANDARD.decode(text).map_err(|_| format!("its {field} is not base64"));
        Some(bytes.and_then(|bytes| {
            String::from_utf8(bytes).map_err(|_| format!("its {field} is no text"))
        }))
    };
    match (pem("certificate"), pem("ca").transpose()) {
        (Some(Ok(chain)), Ok(root)) => RequestStanding::Signed { chain, root },
        (Some(Err(words)), _) | (_, Err(words)) => RequestStanding::Refused(words),
        (None, Ok(_)) => RequestStanding::Refused("it is ready without a certificate".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(status: &Value) -> RequestStanding {
        read(&json!({ "status": status }))
    }

    fn condition(kind: &str, status: &str, reason: &str) -> Value {
        json!({ "type": kind, "status": status, "reason": reason, "message": "words" })
    }

    #[test]
    fn only_a_clear_answer_is_one() {
        let certificate = STANDARD.encode("pem");
        let signed = RequestStanding::Signed { chain: "pem".to_owned(), root: None };
        let ready = condition("Ready", "True", "Issued");
        let answer = |conditions: &Value| {
            standing(&json!({ "conditions": conditions, "certificate": certificate }))
        };
        assert_eq!(answer(&json!([ready])), signed);
        assert!(matches!(read(&json!({})), RequestStanding::Waiting(_)));
        for waiting in [
            json!([]),
            json!([condition("Approved", "True", "x")]),
            json!([condition("Ready", "False", "Pending")]),
            json!([condition("Ready", "Unknown", "")]),
            json!([condition("Denied", "False", "x"), condition("Ready", "False", "Pending")]),
        ] {
            assert!(matches!(answer(&waiting), RequestStanding::Waiting(_)), "{waiting}");
        }
        for refused in [
            json!([condition("Denied", "True", "policy"), ready]),
            json!([ready, condition("InvalidRequest", "True", "x")]),
            json!([condition("Ready", "False", "Failed")]),
            json!([condition("Ready", "False", "Denied")]),
        ] {
            let RequestStanding::Refused(words) = answer(&refused) else {
                panic!("{refused}");
            };
            assert!(words.contains("words"), "{words}");
        }
        for odd in [
            json!({ "conditions": [ready] }),
            json!({ "conditions": [ready], "certificate": "" }),
            json!({ "conditions": [ready], "certificate": "%" }),
            json!({ "conditions": [ready], "certificate": "/w==" }),
            json!({ "conditions": [ready], "certificate": certificate, "ca": "%" }),
            json!({ "conditions": [ready], "certificate": STANDARD.encode("x".repeat(MAX_CHAIN)) }),
        ] {
            assert!(matches!(standing(&odd), RequestStanding::Refused(_)), "{odd}");
        }
    }

    #[test]
    fn an_issuer_is_named_as_cert_manager_does() {
        let read = serde_json::from_str::<IssuerRef>;
        let short = read(r#"{"name":"corp"}"#).unwrap();
        assert_eq!((&*short.kind, &*short.group), ("Issuer", "cert-manager.io"));
        assert!(read(r#"{"name":"corp","kind":"ClusterIssuer"}"#).is_ok());
        assert!(read(r#"{"kind":"Issuer"}"#).is_err());
        assert!(read(r#"{"name":"corp","namespace":"x"}"#).is_err());
    }
}
