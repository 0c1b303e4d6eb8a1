//! Engines that are evaluated here, and the questions that are put to others.

mod casbin;
mod input;
mod questions;
mod rego;
mod resources;

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::identity::SpiffeId;
use crate::policy::{
    EngineAnswer, EngineKind, Facts, Groups, HeaderValue, Headers, NoBody, PolicyEngine,
    RequestFacts, Resource, UserFacts, UserParts, parse,
};

/// The time of every decision here.
const NOW: Duration = Duration::from_secs(1_790_000_000);

/// A request of somebody.
struct Told {
    method: &'static str,
    path: &'static str,
    query: Option<&'static str>,
    headers: Vec<(&'static str, &'static [u8])>,
    user: Option<UserFacts>,
    peer: Option<SpiffeId>,
}

impl Told {
    fn by(subject: &str, method: &'static str, path: &'static str) -> Self {
        let parts = UserParts {
            roles: vec!["support".to_owned()],
            groups: Groups::Known(vec!["staff".to_owned()]),
            claims: json!({ "sub": subject, "tenant": "acme" }).as_object().unwrap().clone(),
            ..UserParts::of("sso", subject)
        };
        let user = Some(UserFacts::new(parts));
        let peer = SpiffeId::parse("spiffe://demo.mesh/ns/shop/sa/web").ok();
        Self { method, path, query: None, headers: Vec::new(), user, peer }
    }

    /// By nobody that is known.
    fn anonymous(method: &'static str, path: &'static str) -> Self {
        Self { user: None, peer: None, ..Self::by("", method, path) }
    }

    fn with<T>(&self, then: impl FnOnce(&Facts<'_>) -> T) -> T {
        let segments: Vec<Cow<'_, str>> =
            self.path.trim_start_matches('/').split('/').map(Cow::Borrowed).collect();
        then(&Facts {
            peer: self.peer.as_ref(),
            user: self.user.as_ref(),
            request: Some(RequestFacts {
                method: self.method,
                host: "orders.shop",
                path: self.path,
                segments: &segments,
                query: self.query,
                headers: self,
                body: &NoBody,
            }),
            ..Facts::at(now())
        })
    }
}

impl Headers for Told {
    fn value(&self, name: &str) -> HeaderValue<'_> {
        let mut lines = self.headers.iter().filter(|(line, _)| *line == name);
        match (lines.next(), lines.next()) {
            (None, _) => HeaderValue::Absent,
            (Some((_, one)), None) => HeaderValue::One(one),
            (Some(_), Some(_)) => HeaderValue::Many,
        }
    }
}

fn now() -> SystemTime {
    UNIX_EPOCH + NOW
}

fn engine(spec: &str) -> PolicyEngine {
    let text = format!(
        "apiVersion: hopgate.dev/v1alpha1\nkind: PolicyEngine\nmetadata: {{ name: other, namespace: shop }}\nspec:\n{spec}"
    );
    let mut resources = parse("shop/engines.yaml", &text).unwrap_or_else(|error| panic!("{error}"));
    match resources.remove(0) {
        Resource::PolicyEngine(engine) => engine,
        other => panic!("{other:?}"),
    }
}

fn kind(spec: &str) -> EngineKind {
    engine(spec).kind
}

fn failed(answer: &EngineAnswer) -> Option<&str> {
    match answer {
        EngineAnswer::Failed(why) => Some(why),
        EngineAnswer::Yes | EngineAnswer::No | EngineAnswer::Undefined | EngineAnswer::NotAsked => {
            None
        }
    }
}
