//! Whether connections that this workload's Envoy admitted before may stand.
//!
//! Envoy asks by health checks (`mesh::standing`), one stream of questions for each cluster. An answer is held back until
//! something changes, and for [`HOLD`] at most; then it is yes. What is refused:
//!
//! - `inbound`: once, when a peer is revoked whose TCP connection may be open (the peer's next connection is the gate's
//!   affair); and for as long as the workload itself is revoked;
//! - `outbound`: for as long as any identity that may answer there is revoked, or the workload itself is.

mod connection;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use tokio::sync::watch;

use crate::runtime::Drain;

pub(super) use connection::Asking;
use connection::Prompt;

/// How long an answer is held back; well below the time that Envoy waits.
const HOLD: Duration = Duration::from_secs(20);

/// Says whether connections may stand. Cloning shares it.
#[derive(Clone)]
pub(super) struct Standing(Arc<Inner>);

struct Inner {
    orders: watch::Sender<Orders>,
    /// Up to which cut each inbound listener was told.
    told: Mutex<BTreeMap<String, u64>>,
    drain: Drain,
}

/// What holds now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Orders {
    /// How often inbound connections had to end.
    pub(super) cuts: u64,
    /// The workload itself is revoked.
    pub(super) own_revoked: bool,
    /// Outbound listeners whose server is revoked.
    pub(super) refused: BTreeSet<String>,
    /// How many lists of revocations came.
    pub(super) lists: u64,
}

/// One question.
struct Question {
    direction: Direction,
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Inbound,
    Outbound,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    MayStand,
    MustEnd,
}

impl Standing {
    /// Everything may stand.
    pub(super) fn new(drain: Drain) -> Self {
        let orders = watch::Sender::new(Orders::default());
        Self(Arc::new(Inner { orders, told: Mutex::default(), drain }))
    }

    /// Changes what holds; whoever waits for an answer hears of it at once.
    pub(super) fn change(&self, change: impl FnOnce(&mut Orders)) {
        self.0.orders.send_if_modified(|orders| {
            let before = orders.clone();
            change(orders);
            *orders != before
        });
    }

    /// What holds, for those who follow it.
    pub(super) fn orders(&self) -> watch::Receiver<Orders> {
        self.0.orders.subscribe()
    }

    /// The routes under `/standing`.
    pub(super) fn routes(self) -> Router {
        Router::new()
            .route("/standing/inbound/{name}", get(inbound))
            .route("/standing/outbound/{name}", get(outbound))
            .with_state(self)
    }

    async fn answer(&self, question: &Question, prompt: Option<Prompt>) -> StatusCode {
        // Without a connection to remember it (which is not ours), every answer is given at once.
        let at_once = prompt.as_ref().is_none_or(Prompt::take);
        let mut orders = self.0.orders.subscribe();
        let held = tokio::time::sleep(HOLD);
        tokio::pin!(held);
        loop {
            let answer = self.judge(question, &orders.borrow_and_update());
            if answer == Answer::MustEnd {
                if let Some(prompt) = &prompt {
                    prompt.next();
                }
                return StatusCode::SERVICE_UNAVAILABLE;
            }
            if at_once {
                return StatusCode::OK;
            }
            tokio::select! {
                changed = orders.changed() => if changed.is_err() {
                    return StatusCode::OK;
                },
                () = self.0.drain.begun() => return StatusCode::OK,
                () = &mut held => return StatusCode::OK,
            }
        }
    }

    fn judge(&self, question: &Question, orders: &Orders) -> Answer {
        let Question { direction, name } = question;
        if orders.own_revoked {
            return Answer::MustEnd;
        }
        match direction {
            Direction::Outbound if orders.refused.contains(name) => Answer::MustEnd,
            Direction::Outbound => Answer::MayStand,
            Direction::Inbound => {
                let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
                // Whoever asks for the first time has no connection of before.
                match told.insert(name.clone(), orders.cuts) {
                    Some(before) if before != orders.cuts => Answer::MustEnd,
                    Some(_) | None => Answer::MayStand,
                }
            }
        }
    }
}

type Asked = Option<axum::Extension<Prompt>>;

async fn inbound(
    State(standing): State<Standing>,
    Path(name): Path<String>,
    prompt: Asked,
) -> StatusCode {
    let question = Question { direction: Direction::Inbound, name };
    standing.answer(&question, prompt.map(|axum::Extension(prompt)| prompt)).await
}

async fn outbound(
    State(standing): State<Standing>,
    Path(name): Path<String>,
    prompt: Asked,
) -> StatusCode {
    let question = Question { direction: Direction::Outbound, name };
    standing.answer(&question, prompt.map(|axum::Extension(prompt)| prompt)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(direction: Direction) -> Question {
        Question { direction, name: "orders".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_held_until_something_changes() {
        let standing = Standing::new(Drain::new());
        let prompt = Prompt::new();
        let asked = question(Direction::Inbound);
        let ask = || standing.answer(&asked, Some(prompt.clone()));
        let began = tokio::time::Instant::now();
        assert_eq!(ask().await, StatusCode::OK);
        assert_eq!(began.elapsed(), Duration::ZERO, "the first is answered at once");
        assert_eq!(ask().await, StatusCode::OK);
        assert_eq!(began.elapsed(), HOLD);
        let change = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            standing.change(|orders| orders.cuts += 1);
        };
        let (answer, ()) = tokio::join!(ask(), change);
        assert_eq!(answer, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(began.elapsed(), HOLD + Duration::from_secs(1));
        // Once, and then at once that all is well.
        assert_eq!(ask().await, StatusCode::OK);
        assert_eq!(began.elapsed(), HOLD + Duration::from_secs(1));
        // Somebody who never asked before has nothing to end.
        let other = Question { direction: Direction::Inbound, name: "other".to_owned() };
        assert_eq!(standing.answer(&other, Some(Prompt::new())).await, StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_between_two_connections_is_not_lost() {
        let standing = Standing::new(Drain::new());
        let asked = question(Direction::Inbound);
        assert_eq!(standing.answer(&asked, Some(Prompt::new())).await, StatusCode::OK);
        standing.change(|orders| orders.cuts += 1);
        let answer = standing.answer(&asked, Some(Prompt::new())).await;
        assert_eq!(answer, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_revoked_server_is_refused_as_long_as_it_is() {
        let standing = Standing::new(Drain::new());
        let asked = question(Direction::Outbound);
        let ask = || standing.answer(&asked, Some(Prompt::new()));
        assert_eq!(ask().await, StatusCode::OK);
        standing.change(|orders| {
            orders.refused.insert("orders".to_owned());
        });
        for _ in 0..3 {
            assert_eq!(ask().await, StatusCode::SERVICE_UNAVAILABLE);
        }
        let other = Question { direction: Direction::Outbound, name: "mail".to_owned() };
        assert_eq!(standing.answer(&other, Some(Prompt::new())).await, StatusCode::OK);
        standing.change(|orders| orders.refused.clear());
        assert_eq!(ask().await, StatusCode::OK);
        // Whose own workload is revoked has no connections at all.
        standing.change(|orders| orders.own_revoked = true);
        for direction in [Direction::Inbound, Direction::Outbound] {
            let answer = standing.answer(&question(direction), Some(Prompt::new())).await;
            assert_eq!(answer, StatusCode::SERVICE_UNAVAILABLE, "{direction:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_does_not_delay_the_end_of_the_process() {
        let drain = Drain::new();
        let standing = Standing::new(drain.clone());
        let prompt = Prompt::new();
        assert!(prompt.take());
        let asked = question(Direction::Inbound);
        let began = tokio::time::Instant::now();
        let end = async { drain.begin() };
        let (answer, ()) = tokio::join!(standing.answer(&asked, Some(prompt)), end);
        assert_eq!(answer, StatusCode::OK);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
