//! The tour: one thing tried after another, each with what should come of it.
//!
//! A step that cannot be tried is a step that failed; the tour goes on, because the other rows still tell something.

mod change;
mod fault;
mod header;
mod peer;
mod token;
mod user;

use std::future::Future;
use std::net::SocketAddr;

use serde_json::Value;

use super::fleet::{Fleet, FleetError};
use super::http::{Answer, HttpError};
use super::idp::{Account, Idp, KeyError};
use super::progress::Progress;
use super::report::Step;
use super::service::Name;
use super::wire::WireError;
use crate::identity::InvalidSpiffeId;
use crate::runtime::{FileError, with_causes};

/// Why a step could not be tried.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTried {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Fleet(#[from] FleetError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("not a SPIFFE ID: {0}")]
    SpiffeId(#[from] InvalidSpiffeId),
    #[error("the identity provider issued no token: {0}")]
    NoToken(String),
    #[error("a sidecar answered {0} to POST /renew")]
    NotRenewed(u16),
    #[error("no such account: {0}")]
    NoAccount(&'static str),
}

/// What came of a step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    AsExpected(String),
    Otherwise(String),
}

impl Seen {
    /// The texts must be equal.
    pub(super) fn exactly(expected: &str, seen: String) -> Self {
        if seen == expected { Self::AsExpected(seen) } else { Self::Otherwise(seen) }
    }
}

/// What the steps work on.
pub(super) struct World {
    pub(super) fleet: Fleet,
    pub(super) idp: Idp,
    pub(super) client: reqwest::Client,
}

/// The steps so far.
pub(super) struct Steps<'a> {
    taken: Vec<Step>,
    progress: &'a mut Progress,
}

/// Walks the whole tour.
pub(super) async fn walk(world: &mut World, progress: &mut Progress) -> Vec<Step> {
    let mut steps = Steps { taken: Vec::new(), progress };
    user::walk(&mut steps, world).await;
    token::walk(&mut steps, world).await;
    peer::walk(&mut steps, world).await;
    header::walk(&mut steps, world).await;
    change::walk(&mut steps, world).await;
    fault::walk(&mut steps, world).await;
    steps.progress.done();
    steps.taken
}

impl Steps<'_> {
    /// Takes one step.
    pub(super) async fn take(
        &mut self,
        [name, tried, expected]: [&str; 3],
        step: impl Future<Output = Result<Seen, NotTried>>,
    ) {
        self.progress.now(name);
        let (seen, ok) = match step.await {
            Ok(Seen::AsExpected(seen)) => (seen, true),
            Ok(Seen::Otherwise(seen)) => (seen, false),
            Err(error) => (with_causes(&error), false),
        };
        let [name, tried, expected] = [name, tried, expected].map(str::to_owned);
        self.taken.push(Step { name, tried, expected, seen, ok });
    }
}

impl World {
    /// A token for the shop, as an app of the user would get it.
    pub(super) async fn token(&self, name: &'static str) -> Result<String, NotTried> {
        self.token_for(name, "shop", 3600).await
    }

    /// A token for some audience and lifetime in seconds.
    pub(super) async fn token_for(
        &self,
        name: &'static str,
        audience: &str,
        lifetime: i64,
    ) -> Result<String, NotTried> {
        let account = Account::named(name).ok_or(NotTried::NoAccount(name))?;
        let mut form = account.credentials();
        let lifetime = lifetime.to_string();
        form.extend([("audience", audience), ("expires_in", &lifetime)]);
        let answer = Answer::to(self.client.post(self.idp.token_endpoint()).form(&form)).await?;
        let token = serde_json::from_str::<Value>(&answer.body)
            .ok()
            .and_then(|body| body.get("access_token")?.as_str().map(str::to_owned));
        token.ok_or(NotTried::NoToken(answer.body))
    }

    /// The claims of a token that would be in order.
    pub(super) fn claims(&self, name: &'static str) -> Result<Value, NotTried> {
        let account = Account::named(name).ok_or(NotTried::NoAccount(name))?;
        Ok(self.idp.claims(account, "shop", 3600))
    }

    /// Where people come in.
    pub(super) fn edge(&self) -> SocketAddr {
        self.fleet.site.doors.edge.address()
    }

    /// A GET through the front door.
    pub(super) async fn get(&self, path: &str, token: Option<&str>) -> Result<Answer, NotTried> {
        let request = self.client.get(format!("http://{}{path}", self.edge()));
        Ok(Answer::to(with_token(request, token)).await?)
    }

    /// A POST through the front door.
    pub(super) async fn post(&self, path: &str, token: Option<&str>) -> Result<Answer, NotTried> {
        let request = self.client.post(format!("http://{}{path}", self.edge()));
        Ok(Answer::to(with_token(request, token)).await?)
    }

    /// The outcome of a GET through the front door, by one of the users.
    pub(super) async fn read(&self, user: &'static str, path: &str) -> Result<String, NotTried> {
        let token = self.token(user).await?;
        Ok(self.get(path, Some(&token)).await?.outcome(Name::Web))
    }
}

fn with_token(request: reqwest::RequestBuilder, token: Option<&str>) -> reqwest::RequestBuilder {
    match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    }
}
