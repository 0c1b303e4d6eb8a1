//! A cluster as a person sees it: whatever is asked for, as JSON, with what the API server says where it says no.
//!
//! Nothing is changed here: what is created is created as a dry run.

use std::time::{Duration, SystemTime};

use http::{Method, Request, header};
use kube::client::Body;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::Cluster;
use super::rights::{Right, Scope};
use crate::runtime::{Clock, with_causes};

/// The longest that one question may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// So many objects come at once.
const PAGE: &str = "500";

/// Looks at a cluster. Cloning shares its connections.
#[derive(Debug, Clone)]
pub struct Viewer {
    cluster: Cluster,
    clock: Clock,
}

/// Something is not seen, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSeen {
    /// The API server says no.
    #[error("the API server says {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// It is not reached, or what it answers is not understood.
    #[error("{0}")]
    Unreached(String),
}

/// What the API server answered.
#[derive(Debug, Clone)]
struct Answer {
    status: u16,
    body: Value,
    /// Its clock and ours, half-way between question and answer.
    clocks: Option<Clocks>,
}

/// Two clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// What the other says, in whole seconds.
    pub theirs: SystemTime,
    /// What this machine says.
    pub ours: SystemTime,
}

/// Who is to have a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose<'a> {
    /// Whoever looks.
    Mine,
    /// A service account: namespace and name.
    Account(&'a str, &'a str),
}

impl NotSeen {
    /// True when there is no such thing.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
}

impl Clocks {
    /// What an HTTP answer says of its sender's clock; `None` if it says nothing that can be read.
    pub(super) fn read(
        headers: &http::HeaderMap,
        (asked, answered): (SystemTime, SystemTime),
    ) -> Option<Self> {
        let date = headers.get(header::DATE)?.to_str().ok()?;
        let theirs = OffsetDateTime::parse(&date.replace("GMT", "+0000"), &Rfc2822).ok()?.into();
        let way = answered.duration_since(asked).unwrap_or_default();
        Some(Self { theirs, ours: asked + way / 2 })
    }

    /// How far apart they are, and whether the other is ahead. What a date in whole seconds cannot tell is left out.
    #[must_use]
    pub fn apart(&self) -> (Duration, bool) {
        let second = Duration::from_secs(1);
        match self.theirs.duration_since(self.ours) {
            Ok(ahead) => (ahead, true),
            Err(behind) => (behind.duration().saturating_sub(second), false),
        }
    }
}

impl Viewer {
    /// Looks at this cluster.
    #[must_use]
    pub fn new(cluster: Cluster, clock: Clock) -> Self {
        Self { cluster, clock }
    }

    /// Where the cluster is.
    #[must_use]
    pub fn url(&self) -> &str {
        self.cluster.url()
    }

    /// The namespace that the kubeconfig names; `default` where it names none.
    #[must_use]
    pub fn namespace(&self) -> String {
        self.cluster.client().default_namespace().to_owned()
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What stands at a path.
    ///
    /// # Errors
    /// When it is not told.
    pub async fn get(&self, path: &str) -> Result<Value, NotSeen> {
        self.ask(Method::GET, path, None).await?.good()
    }

    /// The same with the API server's clock.
    ///
    /// # Errors
    /// When it is not told.
    pub async fn get_timed(&self, path: &str) -> Result<(Value, Option<Clocks>), NotSeen> {
        let answer = self.ask(Method::GET, path, None).await?;
        let clocks = answer.clocks;
        Ok((answer.good()?, clocks))
    }

    /// All objects of a collection, as far as `read` takes something from each; `query` may narrow it
    /// (`labelSelector=…`, encoded).
    ///
    /// # Errors
    /// When not all of them are told.
    pub async fn list<T>(
        &self,
        path: &str,
        query: &str,
        mut read: impl FnMut(Value) -> Option<T>,
    ) -> Result<Vec<T>, NotSeen> {
        let mut all = Vec::new();
        let mut rest = String::new();
        loop {
            let page = format!("{path}?limit={PAGE}&{query}{rest}");
            let mut page = self.get(&page).await?;
            let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) else {
                return Err(NotSeen::Unreached(format!("{path}: answers no list")));
            };
            all.extend(items.into_iter().filter_map(&mut read));
            match page.pointer("/metadata/continue").and_then(Value::as_str) {
                Some(token) if !token.is_empty() => {
                    let token: String = form_urlencoded::byte_serialize(token.as_bytes()).collect();
                    rest = format!("&continue={token}");
                }
                Some(_) | None => return Ok(all),
            }
        }
    }

    /// Has the API server do everything but store an object; what it would be then.
    ///
    /// # Errors
    /// With its words, when it refuses the object.
    pub async fn try_create(&self, path: &str, object: &Value) -> Result<Value, NotSeen> {
        let path = format!("{path}?dryRun=All&fieldManager=hopgate-check");
        self.ask(Method::POST, &path, Some(object)).await?.good()
    }

    /// Whether somebody has a right (SelfSubjectAccessReview and SubjectAccessReview, `authorization.k8s.io/v1`).
    ///
    /// # Errors
    /// When the API server does not say.
    pub async fn has(&self, whose: Whose<'_>, right: &Right) -> Result<bool, NotSeen> {
        let (resource, subresource) =
            right.resource.split_once('/').unwrap_or((right.resource, ""));
        let namespace = match &right.scope {
            Scope::Cluster => "",
            Scope::Namespace(namespace) => namespace,
        };
        let attributes = json!({
            "group": right.group, "resource": resource, "subresource": subresource,
            "verb": right.verb, "namespace": namespace,
            "name": right.name.as_deref().unwrap_or_default(),
        });
        let (kind, path, spec) = match whose {
            Whose::Mine => (
                "SelfSubjectAccessReview",
                "selfsubjectaccessreviews",
                json!({ "resourceAttributes": attributes }),
            ),
            Whose::Account(namespace, name) => (
                "SubjectAccessReview",
                "subjectaccessreviews",
                json!({
                    "user": format!("system:serviceaccount:{namespace}:{name}"),
                    "groups": [
                        "system:serviceaccounts",
                        format!("system:serviceaccounts:{namespace}"),
                        "system:authenticated",
                    ],
                    "resourceAttributes": attributes,
                }),
            ),
        };
        let review = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec });
        let path = format!("/apis/authorization.k8s.io/v1/{path}");
        let answer = self.ask(Method::POST, &path, Some(&review)).await?.good()?;
        let allowed = answer.pointer("/status/allowed").and_then(Value::as_bool);
        allowed.ok_or_else(|| NotSeen::Unreached(format!("{path}: says neither yes nor no")))
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, NotSeen> {
        let words = |error: &dyn std::error::Error| {
            NotSeen::Unreached(format!("{path}: {}", with_causes(error)))
        };
        let bytes = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(bytes))
            .map_err(|error| words(&error))?;
        let asked = self.clock.now();
        let client = self.cluster.client();
        let answered = async {
            let response = client.send(request).await.map_err(|error| words(&error))?;
            let clocks = Clocks::read(response.headers(), (asked, self.clock.now()));
            let status = response.status().as_u16();
            let body = response.into_body().collect_bytes().await.map_err(|error| words(&error))?;
            Ok((status, clocks, body))
        };
        let (status, clocks, body) = tokio::time::timeout(PATIENCE, answered)
            .await
            .map_err(|_| NotSeen::Unreached(format!("{path}: no answer within {PATIENCE:?}")))??;
        let body = match serde_json::from_slice(&body) {
            Ok(body) => body,
            Err(_) if status >= 400 => Value::Null,
            Err(error) => return Err(words(&error)),
        };
        Ok(Answer { status, body, clocks })
    }
}

impl Answer {
    fn good(self) -> Result<Value, NotSeen> {
        let Self { status, body, clocks: _ } = self;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let message = body.get("message").and_then(Value::as_str).unwrap_or("without a word");
        Err(NotSeen::Refused { status, message: message.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_told_by_the_date_of_an_answer() {
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut headers = http::HeaderMap::new();
        headers.insert(header::DATE, "Mon, 21 Sep 2026 14:13:20 GMT".parse().unwrap());
        let read = |asked, answered| Clocks::read(&headers, (at(asked), at(answered))).unwrap();
        let now = 1_790_000_000;
        assert_eq!(read(now, now).apart(), (Duration::ZERO, true));
        // The date is cut to whole seconds: it may be one behind and say nothing.
        assert_eq!(read(now, now + 2).apart(), (Duration::ZERO, false));
        assert_eq!(read(now - 90, now - 90).apart(), (Duration::from_secs(90), true));
        assert_eq!(read(now + 61, now + 61).apart(), (Duration::from_secs(60), false));
        headers.insert(header::DATE, "soon".parse().unwrap());
        assert_eq!(Clocks::read(&headers, (at(now), at(now))), None);
    }
}
