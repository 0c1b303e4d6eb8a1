//! What the API server says of a service-account token and of the pod that it is bound to (TokenReview,
//! `authentication.k8s.io/v1`). Facts only: whoever attests judges them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use serde::Deserialize;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::runtime::{
    AskCounts, Asker, Believed, Clock, Ended, Endpoint, Health, NotSent, Questions, Slots, Weight,
};

use super::pod_life::has_ended;
use super::{Cluster, is_name};

/// Fields that the API server adds for tokens that are bound to a pod.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
/// The user name of a service account: this, the namespace, a colon, the name.
const ACCOUNT: &str = "system:serviceaccount:";
/// The longest token that is sent on. Those of API servers stay below 2 KiB.
const MAX_TOKEN: usize = 16 * 1024;

/// Bounds of what is asked of the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tokens that are reviewed at the same time; more are told to come again.
    pub at_once: usize,
    /// From the question to the last answer.
    pub deadline: Duration,
    /// How long an answer about a live pod is used again. A deleted pod's token can be used for this long.
    pub remember: Duration,
}

/// What was learned of one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reviewed {
    /// The API server knows whose token it is.
    pub authenticated: bool,
    /// For which of the audiences that were asked for the token is good. Empty from an API server that knows no audiences.
    pub audiences: Vec<String>,
    /// The service account; none if the token is another user's.
    pub account: Option<Account>,
    /// The pod that the token is bound to.
    pub bound: Option<BoundPod>,
    /// The pod of that name as it is now. `None`: there is none, or it was not asked for.
    pub pod: Option<LivePod>,
    /// What the API server says is wrong; for the operator.
    pub error: Option<String>,
}

/// A service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The pod that a token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundPod {
    /// Its name, in the namespace of the service account.
    pub name: String,
    /// Which of all pods that ever had this name.
    pub uid: String,
}

/// A pod as the API server shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivePod {
    /// Which pod it is.
    pub uid: String,
    /// The service account that it runs as.
    pub service_account: String,
    /// It is being deleted, or all its containers have ended.
    pub ending: bool,
}

/// Nothing could be learned. Never a reason to believe a token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReviewError {
    /// No answer in time.
    #[error("no answer from the API server within {0:?}")]
    TimedOut(Duration),
    /// As many questions are out as may be.
    #[error("too many tokens are being reviewed")]
    Overloaded,
    /// It failed again and again.
    #[error("the API server failed several times and is left alone for a moment")]
    Resting,
    /// The API server refused or failed.
    #[error("the API server does not {action}; may the control plane's service account do this?")]
    Api {
        /// `review tokens` or `show pods`.
        action: &'static str,
        /// Its words.
        #[source]
        source: Arc<kube::Error>,
    },
    /// The answer has no status.
    #[error("the API server's answer has no status")]
    NoStatus,
}

/// Asks the API server of one cluster. Cloning shares what was learned.
#[derive(Clone)]
pub struct TokenReviewer {
    asker: Arc<Asker<Answer>>,
    endpoint: Endpoint,
    question: Question,
    limits: Limits,
    clock: Clock,
}

/// What came of a question, for all who asked it.
#[derive(Clone)]
pub struct Answer(Result<Arc<Reviewed>, ReviewError>);

#[derive(Clone)]
struct Question {
    cluster: Cluster,
    audience: Arc<str>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { at_once: 64, deadline: Duration::from_secs(5), remember: Duration::from_secs(10) }
    }
}

impl TokenReviewer {
    /// Reviews tokens that must be good for `audience`.
    #[must_use]
    pub fn new(cluster: Cluster, audience: &str, limits: Limits, clock: Clock) -> Self {
        let fingerprint = sha256(&format!("{cluster:?}"));
        Self {
            asker: Arc::default(),
            endpoint: Endpoint { fingerprint, slots: Slots::new(limits.at_once) },
            question: Question { cluster, audience: audience.into() },
            limits,
            clock,
        }
    }

    /// The task that carries questions to their end; once, then nothing.
    #[must_use]
    pub fn questions(&self) -> Option<Questions<Answer>> {
        self.asker.questions()
    }

    /// What was asked and answered so far.
    #[must_use]
    pub fn counts(&self) -> AskCounts {
        self.asker.counts()
    }

    /// What the API server says of `token`, now or a moment ago. Of many who show the same token, one asks.
    ///
    /// # Errors
    /// When it does not say anything in time.
    pub async fn review(&self, token: Zeroizing<String>) -> Result<Arc<Reviewed>, ReviewError> {
        if token.is_empty() || token.len() > MAX_TOKEN {
            return Ok(Arc::new(Reviewed::refused("no API server makes tokens of this length")));
        }
        let key = sha256(&token);
        let (question, clock) = (self.question.clone(), self.clock.clone());
        let remember = self.limits.remember;
        let send = move || async move {
            let answer = question.ask(&token).await;
            let until = believed(answer.as_deref(), &token, (clock.now(), remember));
            Ended {
                health: answer.as_ref().map_or_else(ReviewError::health, |_| Health::Up),
                failed: answer.as_ref().err().map(ReviewError::code),
                answer: Answer(answer),
                believed: Believed::Until(until),
            }
        };
        let times = (self.clock.now(), Instant::now() + self.limits.deadline);
        let Answer(answer) =
            self.asker.ask((key, &self.endpoint), send, times).await.map_err(|not| {
                let error = match not {
                    NotSent::Timeout => ReviewError::TimedOut(self.limits.deadline),
                    NotSent::Overloaded => ReviewError::Overloaded,
                    NotSent::Resting => ReviewError::Resting,
                };
                self.asker.failed(error.code());
                error
            })?;
        answer
    }
}

/// Until when an answer counts. Only what was learned of a live pod is used again, for a short time and never past the
/// token's own end.
fn believed(
    answer: Result<&Reviewed, &ReviewError>,
    token: &str,
    (now, remember): (SystemTime, Duration),
) -> SystemTime {
    let live = |reviewed: &Reviewed| {
        reviewed.authenticated && reviewed.pod.as_ref().is_some_and(|pod| !pod.ending)
    };
    match (answer, expiry(token)) {
        (Ok(reviewed), Some(ends)) if live(reviewed) => {
            now.checked_add(remember).unwrap_or(now).min(ends)
        }
        (Ok(_) | Err(_), _) => now,
    }
}

impl Question {
    async fn ask(&self, token: &str) -> Result<Arc<Reviewed>, ReviewError> {
        let spec = TokenReviewSpec {
            audiences: Some(vec![self.audience.to_string()]),
            token: Some(token.to_owned()),
        };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviews: Api<TokenReview> = Api::all(self.cluster.client());
        let answer = reviews.create(&PostParams::default(), &review).await.map_err(|source| {
            ReviewError::Api { action: "review tokens", source: source.into() }
        })?;
        let mut reviewed = Reviewed::read(answer.status.ok_or(ReviewError::NoStatus)?);
        let ours = reviewed.audiences.iter().any(|audience| **audience == *self.audience);
        if let (true, true, Some(account), Some(bound)) =
            (reviewed.authenticated, ours, &reviewed.account, &reviewed.bound)
        {
            reviewed.pod = self.pod(&account.namespace, &bound.name).await?;
        }
        Ok(Arc::new(reviewed))
    }

    async fn pod(&self, namespace: &str, name: &str) -> Result<Option<LivePod>, ReviewError> {
        let pods: Api<Pod> = Api::namespaced(self.cluster.client(), namespace);
        let found = pods
            .get_opt(name)
            .await
            .map_err(|source| ReviewError::Api { action: "show pods", source: source.into() })?;
        Ok(found.map(|pod| LivePod::read(&pod)))
    }
}

impl ReviewError {
    /// A word for metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TimedOut(_) => "timeout",
            Self::Overloaded => "overloaded",
            Self::Resting => "resting",
            Self::Api { source, .. } => match &**source {
                kube::Error::Api(_) => "refused",
                _ => "unreachable",
            },
            Self::NoStatus => "unreadable",
        }
    }

    /// A refusal is an answer; only silence and failures of the server itself say that it is down.
    fn health(&self) -> Health {
        match self {
            Self::Api { source, .. } => match &**source {
                kube::Error::Api(status) if status.code < 500 && status.code != 429 => Health::Up,
                _ => Health::Down,
            },
            Self::NoStatus => Health::Up,
            Self::TimedOut(_) | Self::Overloaded | Self::Resting => Health::Down,
        }
    }
}

impl Weight for Answer {
    fn weight(&self) -> usize {
        let Ok(reviewed) = &self.0 else { return 0 };
        reviewed.audiences.iter().map(String::len).sum::<usize>() + 1024
    }
}

impl Reviewed {
    fn refused(error: &str) -> Self {
        Self {
            authenticated: false,
            audiences: Vec::new(),
            account: None,
            bound: None,
            pod: None,
            error: Some(error.to_owned()),
        }
    }

    /// What is absent or odd in the answer is absent here: nothing is supposed.
    fn read(status: TokenReviewStatus) -> Self {
        let TokenReviewStatus { audiences, authenticated, error, user } = status;
        let user = user.unwrap_or_default();
        let extra = user.extra.unwrap_or_default();
        // Two values would mean two pods: that is as good as none.
        let only = |name: &str| match extra.get(name).map(Vec::as_slice) {
            Some([value]) if !value.is_empty() => Some(value.clone()),
            Some(_) | None => None,
        };
        let name = only(POD_NAME).filter(|name| is_name(name));
        let bound = name.zip(only(POD_UID)).map(|(name, uid)| BoundPod { name, uid });
        Self {
            authenticated: authenticated == Some(true),
            audiences: audiences.unwrap_or_default(),
            account: user.username.as_deref().and_then(Account::read),
            bound,
            pod: None,
            error: error.filter(|error| !error.is_empty()),
        }
    }
}

impl Account {
    fn read(username: &str) -> Option<Self> {
        let (namespace, name) = username.strip_prefix(ACCOUNT)?.split_once(':')?;
        (is_name(namespace) && is_name(name))
            .then(|| Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl LivePod {
    fn read(pod: &Pod) -> Self {
        let spec = pod.spec.as_ref();
        Self {
            // An empty one equals no token's.
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            service_account: spec
                .and_then(|spec| spec.service_account_name.clone())
                .unwrap_or_default(),
            ending: has_ended(pod) || pod.metadata.deletion_timestamp.is_some(),
        }
    }
}

/// The end that stands in a JWT. Read without verification, of tokens only that the API server took.
fn expiry(token: &str) -> Option<SystemTime> {
    #[derive(Deserialize)]
    struct Claims {
        exp: u64,
    }
    let body = token.split('.').nth(1)?;
    let Claims { exp } = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(exp))
}

fn sha256(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    for (to, from) in hash.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    hash
}

#[cfg(test)]
mod tests;
