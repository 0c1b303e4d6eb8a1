//! Asks the network what judging could not know.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::learned::{Learned, Need};
use super::online::{Asked, Endpoint, Online};
use super::refresh::{KeyHandle, KeyWait};
use crate::policy::Question;
use crate::runtime::Clock;

/// Asks the network. Cloning shares it.
#[derive(Clone)]
pub struct Resolver {
    keys: KeyHandle,
    online: Arc<Online>,
    clock: Clock,
}

impl Resolver {
    /// Asks for keys through `keys`, and servers with the memory of `verifier`.
    #[must_use]
    pub fn new(keys: KeyHandle, verifier: &super::Verifier, clock: Clock) -> Self {
        Self { keys, online: Arc::clone(verifier.online()), clock }
    }

    /// Asks for everything at once and waits until `deadline` at most. However many requests need the same, it is asked
    /// for once.
    pub async fn resolve(&self, needs: Vec<Need>, learned: &mut Learned, deadline: Instant) {
        // Begun together: the first is not waited for before the second is asked.
        let (mut fetches, mut questions) = (Vec::new(), Vec::new());
        for need in needs {
            match need {
                Need::Keys(provider) => {
                    if let KeyWait::Fetching(fetch) = self.keys.unknown_key(&provider) {
                        // One that takes longer goes on for others; this request is refused with what is known.
                        fetches.push(timeout_at(deadline, fetch.ended()));
                    }
                    learned.keys(provider);
                }
                Need::Online { asked, digest, token } => questions.push((asked, digest, token)),
            }
        }
        let now = self.clock.now();
        let questions = questions.into_iter().map(|(asked, digest, token)| async move {
            let endpoint = self.endpoint_in_time(&asked, deadline).await;
            let credential = (&digest, token);
            let known = self.online.ask(&asked, credential, endpoint, (now, deadline)).await;
            (asked, digest, known)
        });
        let (answers, _fetched) = tokio::join!(
            futures_util::future::join_all(questions),
            futures_util::future::join_all(fetches)
        );
        for (asked, digest, known) in answers {
            learned.online(asked, digest, known);
        }
    }

    /// The task that carries questions to their end; once, then nothing.
    #[must_use]
    pub fn questions(&self) -> Option<super::Questions> {
        self.online.questions()
    }

    /// What servers were asked and answered so far.
    #[must_use]
    pub fn counts(&self) -> super::OnlineCounts {
        self.online.counts()
    }

    /// Waits for the provider's metadata document where it was not read yet, as after a start.
    async fn endpoint_in_time(&self, asked: &Asked, deadline: Instant) -> Endpoint {
        let endpoint = self.endpoint(asked);
        let Endpoint::Discovered(None) = endpoint else { return endpoint };
        let KeyWait::Fetching(fetch) = self.keys.unknown_key(asked.provider()) else {
            return endpoint;
        };
        match timeout_at(deadline, fetch.ended()).await {
            Ok(()) => self.endpoint(asked),
            Err(_) => endpoint,
        }
    }

    fn endpoint(&self, asked: &Asked) -> Endpoint {
        let Some(question) = asked.question() else { return Endpoint::Written };
        let endpoints = self.keys.endpoints(asked.provider());
        Endpoint::Discovered(endpoints.and_then(|endpoints| match question {
            Question::Introspection { .. } => endpoints.introspection,
            Question::Userinfo { .. } => endpoints.userinfo,
            Question::TokenReview { .. } => None,
        }))
    }
}
