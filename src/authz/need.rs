//! What only the network can tell, of callers and of engines alike: asked before a request is judged again.

use std::sync::Arc;

use tokio::time::Instant;

use super::engine::{Question, Said};
use super::gate::Gate;
use crate::authn;
use crate::policy::EngineFault;
use crate::runtime::{AskCounts, Asker, Clock, NotSent, Questions};

/// Something that only the network can tell.
pub enum Need {
    /// Who is calling.
    Caller(authn::Need),
    /// What another engine says.
    Engine(Question),
}

/// What was asked for one request, and what came of it.
#[derive(Default)]
pub struct Learned {
    callers: authn::Learned,
    engines: Vec<([u8; 32], Said)>,
    last: bool,
}

/// Asks the network. Cloning shares it.
#[derive(Clone)]
pub struct Resolver {
    callers: authn::Resolver,
    engines: Arc<Asker<Said>>,
    clock: Clock,
}

impl Learned {
    /// Nothing was asked yet.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Whatever is unknown from now on stays unknown, and the request is refused for it.
    pub fn end(&mut self) {
        self.last = true;
        self.callers.end();
    }

    /// Of callers.
    pub(super) fn callers(&self) -> &authn::Learned {
        &self.callers
    }

    /// What an engine said to this question.
    pub(super) fn said(&self, key: &[u8; 32]) -> Option<Said> {
        self.engines.iter().find(|(known, _)| known == key).map(|(_, said)| *said)
    }

    /// True when a server may still be asked.
    pub(super) fn may_ask(&self) -> bool {
        !self.last
    }
}

impl Resolver {
    /// Asks for callers through `callers`, and engines with the memory of `gate`.
    #[must_use]
    pub fn new(callers: authn::Resolver, gate: &Gate) -> Self {
        Self { callers, engines: Arc::clone(gate.engines()), clock: gate.clock().clone() }
    }

    /// Asks for everything at once and waits until `deadline` at most. However many requests need the same, it is asked
    /// for once.
    pub async fn resolve(&self, needs: Vec<Need>, learned: &mut Learned, deadline: Instant) {
        let (mut callers, mut questions) = (Vec::new(), Vec::new());
        for need in needs {
            match need {
                Need::Caller(need) => callers.push(need),
                Need::Engine(question) => questions.push(self.ask(question, deadline)),
            }
        }
        let said = futures_util::future::join_all(questions);
        if callers.is_empty() {
            learned.engines.extend(said.await);
            return;
        }
        let callers = self.callers.resolve(callers, &mut learned.callers, deadline);
        let ((), said) = tokio::join!(callers, said);
        learned.engines.extend(said);
    }

    /// The task that carries questions to engines to their end; once, then nothing.
    #[must_use]
    pub fn engine_questions(&self) -> Option<Questions<Said>> {
        self.engines.questions()
    }

    /// What engines were asked and answered so far.
    #[must_use]
    pub fn engine_counts(&self) -> AskCounts {
        self.engines.counts()
    }

    /// Whoever asks about callers.
    #[must_use]
    pub fn callers(&self) -> &authn::Resolver {
        &self.callers
    }

    async fn ask(&self, question: Question, deadline: Instant) -> ([u8; 32], Said) {
        let (key, endpoint) = (question.key(), question.endpoint());
        let times = (self.clock.now(), deadline);
        let asked = self.engines.ask((key, &endpoint), || question.ask(), times).await;
        let fault = match asked {
            Ok(said) => return (key, said),
            Err(NotSent::Timeout) => EngineFault::Timeout,
            Err(NotSent::Overloaded) => EngineFault::Overloaded,
            Err(NotSent::Resting) => EngineFault::Resting,
        };
        self.engines.failed(fault.code());
        (key, Said::Failed(fault))
    }
}
