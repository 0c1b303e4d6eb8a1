//! One server, compiled: where it is, how it is asked, and what its answers are remembered under.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use serde_json::Value;
use zeroize::Zeroizing;

use super::ext_authz::Server;
use super::http::Reach;
use super::said::{Fault, Said};
use super::set::InvalidEngine;
use super::{opa, open_fga, review};
use crate::authn::{Files, HttpClient, HttpOptions};
use crate::policy::{
    EngineFault, EngineKind, ExtAuthz, Facts, FileRef, InputParts, Opa, OpenFga, Patience,
    PolicyEngine, SubjectAccessReview,
};
use crate::runtime::{Believed, Ended, Endpoint, Health, Slots};

/// Questions to one server that are out at a time.
const MAX_OUT: usize = 256;
/// How long a failure is remembered, so that a dead server is not asked for every request.
const FAILURE_STAYS: Duration = Duration::from_secs(1);
/// The longest bearer token.
const MAX_TOKEN: usize = 64 * 1024;

/// One server.
pub(super) struct Remote {
    name: Arc<str>,
    endpoint: Endpoint,
    kind: Kind,
}

enum Kind {
    Http(Box<Api>),
    Grpc(Box<Server>),
}

/// A server that is asked over HTTP.
struct Api {
    asked: Asked,
    url: String,
    client: HttpClient,
    bearer: Option<Zeroizing<String>>,
    patience: Patience,
}

/// What is asked over HTTP.
enum Asked {
    Opa(Opa),
    Review(SubjectAccessReview),
    OpenFga(OpenFga),
}

/// One question to one server. Its key covers everything that is sent, and to whom.
#[derive(Clone)]
pub struct Question {
    remote: Arc<Remote>,
    pub(super) key: [u8; 32],
    body: Body,
}

#[derive(Clone)]
enum Body {
    Json(Value),
    Message(Bytes),
}

/// What a question is made from.
pub(super) struct Subject<'r> {
    pub(super) facts: &'r Facts<'r>,
    pub(super) parts: InputParts<'r>,
    /// The CheckRequest as it came; nothing in a rehearsal.
    pub(super) message: Option<&'r [u8]>,
}

impl Remote {
    /// Nothing when the engine has no server.
    pub(super) fn compile(
        resource: &PolicyEngine,
        files: &Files,
    ) -> Result<Option<Arc<Self>>, InvalidEngine> {
        let why = |why: String| InvalidEngine::new(resource, why);
        let (asked, url, token, patience) = match &resource.kind {
            EngineKind::Rego(_) | EngineKind::Casbin(_) => return Ok(None),
            EngineKind::Opa(spec) => {
                let token = spec.token.as_ref();
                (Asked::Opa(spec.clone()), opa::url(spec), token, spec.patience)
            }
            EngineKind::SubjectAccessReview(spec) => {
                let asked = Asked::Review(spec.clone());
                (asked, review::url(spec), Some(&spec.token), spec.patience)
            }
            EngineKind::OpenFga(spec) => {
                let token = spec.token.as_ref();
                (Asked::OpenFga(spec.clone()), open_fga::url(spec), token, spec.patience)
            }
            EngineKind::ExtAuthz(spec) => return Self::grpc(resource, spec, files).map(Some),
        };
        let bearer = token.map(|file| bearer(file, files)).transpose().map_err(why)?;
        let client = client(resource, files).map_err(why)?;
        client.check(&url).map_err(|error| why(error.to_string()))?;
        let kind = Kind::Http(Box::new(Api { asked, url, client, bearer, patience }));
        Self::new(resource, files, kind).map(Some)
    }

    fn grpc(
        resource: &PolicyEngine,
        spec: &ExtAuthz,
        files: &Files,
    ) -> Result<Arc<Self>, InvalidEngine> {
        let why = |why: String| InvalidEngine::new(resource, why);
        // The same URLs as for everything else that is asked.
        let client = client(resource, files).map_err(why)?;
        client.check(&spec.url).map_err(|error| why(error.to_string()))?;
        let ca = resource.http.ca.as_ref().map(|file| files.content(file));
        let ca = ca.transpose().map_err(|error| why(error.to_string()))?;
        let server = Server::new(&spec.url, ca, spec.timeout).map_err(why)?;
        Self::new(resource, files, Kind::Grpc(Box::new(server)))
    }

    fn new(resource: &PolicyEngine, files: &Files, kind: Kind) -> Result<Arc<Self>, InvalidEngine> {
        let mut hash = Context::new(&SHA256);
        // Everything that is written, so that another version of the resource remembers nothing of this one. Our own
        // token changes by the hour and changes no answer.
        let PolicyEngine { metadata, kind: written, http, .. } = resource;
        hash.update(format!("{metadata:?}\n{written:?}\n{http:?}").as_bytes());
        if let Some(file) = &http.ca {
            let content = files.content(file);
            hash.update(content.map_err(|e| InvalidEngine::new(resource, e.to_string()))?);
        }
        Ok(Arc::new(Self {
            name: metadata.name.as_str().into(),
            endpoint: Endpoint { fingerprint: finish(hash), slots: Slots::new(MAX_OUT) },
            kind,
        }))
    }

    /// The question about a request; nothing when it cannot be put.
    pub(super) fn question(
        self: &Arc<Self>,
        subject: &Subject<'_>,
    ) -> Result<Option<Question>, EngineFault> {
        let body = match &self.kind {
            Kind::Grpc(_) => {
                let message = subject.message.ok_or(EngineFault::NotAsked)?;
                Body::Message(Bytes::copy_from_slice(message))
            }
            Kind::Http(api) => match api.asked.question(subject)? {
                Some(question) => Body::Json(question),
                None => return Ok(None),
            },
        };
        let mut hash = Context::new(&SHA256);
        hash.update(&self.endpoint.fingerprint);
        match &body {
            Body::Json(json) => {
                hash.update(&serde_json::to_vec(json).map_err(|_| EngineFault::Evaluation)?);
            }
            Body::Message(message) => hash.update(message),
        }
        Ok(Some(Question { remote: Arc::clone(self), key: finish(hash), body }))
    }
}

impl Asked {
    fn question(&self, subject: &Subject<'_>) -> Result<Option<Value>, EngineFault> {
        let facts = subject.facts;
        Ok(match self {
            Self::Opa(spec) => Some(opa::question(subject.parts.lasting(facts, &spec.sent)?)),
            Self::Review(spec) => spec.question(facts)?.map(|spec| review::question(&spec)),
            Self::OpenFga(spec) => {
                spec.question(facts)?.map(|tuple| open_fga::question(spec, tuple))
            }
        })
    }
}

impl Question {
    /// The name of the engine.
    #[must_use]
    pub fn engine(&self) -> &str {
        &self.remote.name
    }

    pub(in crate::authz) fn key(&self) -> [u8; 32] {
        self.key
    }

    pub(in crate::authz) fn endpoint(&self) -> Endpoint {
        self.remote.endpoint.clone()
    }

    /// Asks, and says how long the answer is believed.
    pub(in crate::authz) async fn ask(self) -> Ended<Said> {
        let asked = self.send().await;
        let (answer, believed, health, failed) = match (asked, &self.remote.kind) {
            (Ok(said @ Said::Yes), Kind::Http(api)) => {
                (said, Believed::SinceAsked(api.patience.ttl), Health::Up, None)
            }
            (Ok(said), Kind::Http(api)) => {
                (said, Believed::SinceAnswered(api.patience.negative_ttl), Health::Up, None)
            }
            // No other CheckRequest is the same.
            (Ok(said), Kind::Grpc(_)) => {
                (said, Believed::SinceAsked(Duration::ZERO), Health::Up, None)
            }
            (Err(Fault { fault, health }), _) => {
                let code = fault.code();
                tracing::warn!(engine = self.engine(), code, "an engine had no answer");
                let stays = Believed::SinceAnswered(FAILURE_STAYS);
                (Said::Failed(fault), stays, health, Some(code))
            }
        };
        Ended { answer, believed, health, failed }
    }

    async fn send(&self) -> Result<Said, Fault> {
        match (&self.remote.kind, &self.body) {
            (Kind::Http(api), Body::Json(question)) => {
                let Api { asked, url, client, bearer, patience } = &**api;
                let bearer = bearer.as_ref().map(|token| token.as_str());
                let reach = Reach { client, bearer, timeout: patience.timeout };
                match asked {
                    Asked::Opa(_) => opa::ask(&reach, url, question).await,
                    Asked::Review(_) => review::ask(&reach, url, question).await,
                    Asked::OpenFga(_) => open_fga::ask(&reach, url, question).await,
                }
            }
            (Kind::Grpc(server), Body::Message(message)) => server.ask(message.clone()).await,
            // Cannot be: a question is made by its own server.
            (Kind::Http(_), Body::Message(_)) | (Kind::Grpc(_), Body::Json(_)) => {
                Err(Fault::once(EngineFault::NotAsked))
            }
        }
    }
}

fn client(resource: &PolicyEngine, files: &Files) -> Result<HttpClient, String> {
    let options = HttpOptions::of(&resource.http, files).map_err(|error| error.to_string())?;
    HttpClient::new(&options.unwrap_or_else(HttpOptions::system)).map_err(|error| error.to_string())
}

fn bearer(file: &FileRef, files: &Files) -> Result<Zeroizing<String>, String> {
    let content = files.content(file).map_err(|error| error.to_string())?;
    let text = std::str::from_utf8(content).map(str::trim).unwrap_or_default();
    let plain =
        !text.is_empty() && text.len() <= MAX_TOKEN && text.bytes().all(|b| b.is_ascii_graphic());
    if plain {
        Ok(Zeroizing::new(text.to_owned()))
    } else {
        Err(format!("tokenFile: {file} holds no token"))
    }
}

fn finish(hash: Context) -> [u8; 32] {
    let mut digest = [0; 32];
    for (into, from) in digest.iter_mut().zip(hash.finish().as_ref()) {
        *into = *from;
    }
    digest
}
