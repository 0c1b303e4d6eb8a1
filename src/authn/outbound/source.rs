//! The task that keeps the token of one target.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use zeroize::Zeroizing;

use super::config::{InvalidTarget, TargetConfig};
use super::grant::{Grant, GrantError, Granted};
use super::schedule::{Life, life, pause};
use crate::runtime::{Clock, Drain, dice};

/// The longest sleep: a clock that jumped is noticed within it.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Keeps the token of one target.
pub struct TokenSource {
    target: TargetConfig,
    place: usize,
    grant: Grant,
    clock: Clock,
    state: watch::Sender<State>,
}

/// What is known of one token.
#[derive(Default)]
pub(super) struct State {
    token: Option<(Zeroizing<String>, Life)>,
    grants: u64,
    failures: u64,
    /// Failures since the last grant.
    in_a_row: u32,
    last_error: Option<GrantError>,
}

/// How the token of one target is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenStatus {
    /// The target.
    pub target: String,
    /// When the present token is no longer given out; nothing without one.
    pub until: Option<SystemTime>,
    /// Tokens that came.
    pub grants: u64,
    /// Requests that brought none.
    pub failures: u64,
    /// Why the last request failed; nothing when it did not.
    pub last_error: Option<GrantError>,
}

impl State {
    /// The value of the header, while it holds.
    pub(super) fn token(&self, now: SystemTime) -> Option<Zeroizing<String>> {
        let (value, life) = self.token.as_ref()?;
        (now < life.until).then(|| value.clone())
    }

    pub(super) fn status(&self, target: &str) -> TokenStatus {
        TokenStatus {
            target: target.to_owned(),
            until: self.token.as_ref().map(|(_, life)| life.until),
            grants: self.grants,
            failures: self.failures,
            last_error: self.last_error.clone(),
        }
    }
}

impl TokenSource {
    pub(super) fn new(
        target: &TargetConfig,
        place: usize,
        clock: Clock,
    ) -> Result<(Self, watch::Receiver<State>), InvalidTarget> {
        let grant = Grant::compile(target, place)?;
        let (state, receiver) = watch::channel(State::default());
        Ok((Self { target: target.clone(), place, grant, clock, state }, receiver))
    }

    /// Asks with what stands in the files at this moment: secrets, keys and certificates are renewed while we run.
    async fn ask(&mut self, now: SystemTime) -> Result<Granted, GrantError> {
        let (target, place) = (self.target.clone(), self.place);
        // A file may be slow to read.
        let read = tokio::task::spawn_blocking(move || Grant::compile(&target, place)).await;
        match read {
            Ok(Ok(grant)) => self.grant = grant,
            // What was read before may still do.
            Ok(Err(error)) => {
                tracing::warn!(target = self.target.name, %error, "the files were not read again");
            }
            Err(error) => {
                tracing::error!(target = self.target.name, %error, "reading files stopped");
            }
        }
        self.grant.ask(now).await
    }

    /// Asks for tokens until draining begins.
    ///
    /// # Errors
    /// Never: an endpoint that fails is asked again.
    pub async fn run(mut self, drain: Drain) -> Result<(), Infallible> {
        loop {
            let now = self.clock.now();
            let due = self.state.borrow().token.as_ref().map(|(_, life)| life.renew);
            let wait = match due {
                None => Duration::ZERO,
                Some(at) => at.duration_since(now).unwrap_or(Duration::ZERO),
            };
            if !wait.is_zero() {
                tokio::select! {
                    () = drain.begun() => return Ok(()),
                    () = tokio::time::sleep(wait.min(LONGEST_SLEEP)) => continue,
                }
            }
            let asked = tokio::select! {
                () = drain.begun() => return Ok(()),
                asked = self.ask(now) => asked,
            };
            let rest = match asked {
                Ok(granted) => {
                    // Its seconds count from when it was made, and that may be the moment it was asked for.
                    let life = life(granted.expires_in, now, dice());
                    self.state.send_modify(|state| {
                        state.token = Some((granted.value, life));
                        state.grants += 1;
                        (state.in_a_row, state.last_error) = (0, None);
                    });
                    // Whatever the endpoint says of its tokens, it is not asked all the time.
                    Duration::from_millis(500)
                }
                Err(error) => {
                    tracing::warn!(target = self.target.name, code = error.code(), %error, "no token");
                    self.state.send_modify(|state| {
                        state.failures += 1;
                        state.in_a_row = state.in_a_row.saturating_add(1);
                        state.last_error = Some(error);
                    });
                    pause(self.state.borrow().in_a_row, dice())
                }
            };
            tokio::select! {
                () = drain.begun() => return Ok(()),
                () = tokio::time::sleep(rest) => {}
            }
        }
    }
}
