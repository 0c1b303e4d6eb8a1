//! When a request that came to nothing is sent again. Only an answer counts: an API server that is throttled, restarts or
//! keeps silent has not said anything.

use std::time::Duration;

use tokio::time::Instant;

use crate::runtime::dice;

/// For how long one request is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// One attempt.
    pub attempt: Duration,
    /// All attempts and the pauses between them.
    pub whole: Duration,
}

/// There was no answer in time.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The API server's decision: trying again would not change it.
    Refused(kube::Error),
    /// Nothing that could be taken for an answer, in the whole time. The request may have been carried out all the same.
    Silent(Option<kube::Error>),
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

impl Default for Patience {
    fn default() -> Self {
        Self { attempt: Duration::from_secs(5), whole: Duration::from_secs(20) }
    }
}

/// What a failure tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Answer,
    /// Nothing; the server may have said when to come again.
    Nothing(Option<Duration>),
}

/// Sends a request until there is an answer. It may be carried out more than once, so it must be one of which a second
/// time does no harm: a read, or a write that names the version that it replaces.
pub(super) async fn until_answered<T, F>(
    patience: Patience,
    mut send: impl FnMut() -> F,
) -> Result<T, NoAnswer>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    let end = Instant::now() + patience.whole;
    let mut pause = FIRST_PAUSE;
    let mut last = None;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match tokio::time::timeout(patience.attempt.min(left), send()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => match told(&error) {
                Told::Answer => return Err(NoAnswer::Refused(error)),
                Told::Nothing(after) => {
                    pause = pause.max(after.unwrap_or_default());
                    last = Some(error);
                }
            },
            Err(_) => {}
        }
        // Half of it by chance: many who were told the same do not come back at once.
        let wait = pause.mul_f64(0.5 + dice() / 2.0);
        if Instant::now() + wait >= end {
            return Err(NoAnswer::Silent(last));
        }
        tokio::time::sleep(wait).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn told(error: &kube::Error) -> Told {
    match error {
        kube::Error::Api(status) => match status.code {
            429 | 500..=599 => {
                let details = status.details.as_ref();
                let after = details.map(|details| details.retry_after_seconds);
                let after = after.filter(|seconds| *seconds > 0);
                Told::Nothing(after.map(|seconds| Duration::from_secs(seconds.into())))
            }
            _ => Told::Answer,
        },
        // What cannot be built, or read when it came, does not get better; a connection does.
        kube::Error::BuildRequest(_) | kube::Error::HttpError(_) | kube::Error::FromUtf8(_) => {
            Told::Answer
        }
        _ => Told::Nothing(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, after: u32) -> kube::Error {
        let status = serde_json::json!({ "code": code, "details": { "retryAfterSeconds": after } });
        kube::Error::Api(serde_json::from_value(status).unwrap())
    }

    fn broken() -> kube::Error {
        kube::Error::Service("connection reset".into())
    }

    #[test]
    fn only_a_decision_is_an_answer() {
        for code in [400, 401, 403, 404, 409, 410, 422] {
            assert_eq!(told(&status(code, 0)), Told::Answer, "{code}");
        }
        for code in [429, 500, 502, 503, 504] {
            assert_eq!(told(&status(code, 0)), Told::Nothing(None), "{code}");
        }
        assert_eq!(told(&status(429, 7)), Told::Nothing(Some(Duration::from_secs(7))));
        assert_eq!(told(&broken()), Told::Nothing(None));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_tried_until_there_is_an_answer() {
        let mut failures = vec![status(503, 0), status(429, 1), broken()];
        let began = Instant::now();
        let answer = until_answered(Patience::default(), || {
            let failure = failures.pop();
            async move { failure.map_or(Ok(7), Err) }
        });
        assert_eq!(answer.await.ok(), Some(7));
        assert!(
            began.elapsed() >= Duration::from_millis(500),
            "what the server asks for is heeded"
        );
        let mut asked = 0;
        let refused = until_answered(Patience::default(), || {
            asked += 1;
            async { Err::<(), _>(status(403, 0)) }
        });
        assert!(matches!(refused.await, Err(NoAnswer::Refused(_))));
        assert_eq!(asked, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_in_time_whatever_the_server_does() {
        let patience = Patience::default();
        let began = Instant::now();
        let silent = until_answered(patience, std::future::pending::<Result<(), _>>);
        assert!(matches!(silent.await, Err(NoAnswer::Silent(None))));
        let busy = until_answered(patience, || async { Err::<(), _>(status(503, 600)) });
        assert!(matches!(busy.await, Err(NoAnswer::Silent(Some(_)))));
        assert!(began.elapsed() <= patience.whole * 2);
    }
}
