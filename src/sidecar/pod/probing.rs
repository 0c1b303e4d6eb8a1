//! The table of probes, and one question at a time for each.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use http::StatusCode;

use super::ask::{Asker, Outcome};
use crate::mesh::probe::{Probe, Probes};
use crate::sidecar::StartError;

/// All probes of the pod, by their paths.
pub(super) struct Probing(HashMap<String, Line>);

/// One probe. Whoever asks while a question is under way hears its answer: the application is asked no more often than it
/// answers, by however many.
struct Line {
    probe: Probe,
    target: SocketAddr,
    asker: Arc<Asker>,
    under_way: Mutex<Option<Weak<Question>>>,
}

/// Gone once nobody waits for it any more.
struct Question(Shared<BoxFuture<'static, Outcome>>);

impl Probing {
    pub(super) fn new(probes: &Probes, address: IpAddr) -> Result<Self, StartError> {
        let asker = Arc::new(Asker::new()?);
        let line = |(path, probe): (String, &Probe)| {
            let target = SocketAddr::new(address, probe.ask.port());
            let (probe, asker) = (probe.clone(), Arc::clone(&asker));
            (path, Line { probe, target, asker, under_way: Mutex::default() })
        };
        Ok(Self(probes.by_path().map(line).collect()))
    }

    pub(super) async fn answer(&self, path: &str) -> Response {
        let Some(line) = self.0.get(path) else {
            return (StatusCode::NOT_FOUND, "no such probe\n").into_response();
        };
        let question = line.question();
        match question.0.clone().await {
            Outcome::Good(what) => (StatusCode::OK, format!("{what}\n")).into_response(),
            Outcome::Bad(what) => {
                tracing::debug!(probe = line.probe.name, %what, "a probe failed");
                (StatusCode::SERVICE_UNAVAILABLE, format!("{what}\n")).into_response()
            }
        }
    }
}

impl Line {
    /// The question that is under way, or a new one.
    fn question(&self) -> Arc<Question> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let current = under_way.as_ref().and_then(Weak::upgrade);
        // One that is answered already tells of the past.
        if let Some(current) = current.filter(|question| question.0.peek().is_none()) {
            return current;
        }
        let (probe, target, asker) = (self.probe.clone(), self.target, Arc::clone(&self.asker));
        let asked = async move { asker.ask(&probe, target).await };
        let question = Arc::new(Question(asked.boxed().shared()));
        *under_way = Some(Arc::downgrade(&question));
        question
    }
}
