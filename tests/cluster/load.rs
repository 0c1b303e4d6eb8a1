//! Callers that ask again and again, and remember everything that was not answered as it should be.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinSet;

use super::world::{ALICES, REFUND, World};

/// Between two requests of a caller: the machine has other things to do as well.
const PAUSE: Duration = Duration::from_millis(15);
/// Some of them keep their connections, and some open one for each request.
const CALLERS: [bool; 4] = [true, true, false, false];

#[derive(Debug, Default)]
struct Shared {
    answered: AtomicUsize,
    stop: AtomicBool,
    failures: Mutex<Vec<String>>,
}

/// The callers.
pub struct Load {
    shared: Arc<Shared>,
    callers: JoinSet<()>,
}

impl Load {
    /// Alice reads through two gates, and sue has payments pay back through three.
    pub async fn start(world: &World) -> Self {
        let (alice, sue) = (world.token("alice").await, world.token("sue").await);
        let shared = Arc::new(Shared::default());
        let mut callers = JoinSet::new();
        for (number, keeps) in CALLERS.into_iter().enumerate() {
            let client = reqwest::Client::builder()
                .no_proxy()
                .pool_max_idle_per_host(if keeps { 1 } else { 0 })
                .timeout(Duration::from_secs(20))
                .build()
                .unwrap();
            let read = client.get(format!("http://{}{ALICES}", world.web)).bearer_auth(&alice);
            let refund = client.post(format!("http://{}{REFUND}", world.web)).bearer_auth(&sue);
            callers.spawn(call(number, vec![read, refund], Arc::clone(&shared)));
        }
        Self { shared, callers }
    }

    /// How many requests were answered so far.
    pub fn answered(&self) -> usize {
        self.shared.answered.load(Ordering::Acquire)
    }

    /// Waits until that many more were answered.
    pub async fn more(&self, requests: usize) {
        let (enough, end) = (self.answered() + requests, Instant::now() + Duration::from_secs(120));
        while self.answered() < enough {
            assert!(Instant::now() < end, "the callers are stuck: {:?}", self.shared.failures);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Stops. Returns how many requests there were, and what became of those that were lost.
    pub async fn stop(mut self) -> (usize, Vec<String>) {
        self.shared.stop.store(true, Ordering::Release);
        while let Some(ended) = self.callers.join_next().await {
            ended.unwrap();
        }
        (self.answered(), std::mem::take(&mut self.shared.failures.lock().unwrap()))
    }

    /// Stops, and panics if a single request was lost. Returns how many there were.
    pub async fn end(self, what: &str) -> usize {
        let (answered, failures) = self.stop().await;
        let first: Vec<_> = failures.iter().take(12).collect();
        let lost = failures.len();
        assert_eq!(lost, 0, "{what}: {lost} of {answered} requests were lost: {first:#?}");
        answered
    }
}

async fn call(number: usize, requests: Vec<reqwest::RequestBuilder>, shared: Arc<Shared>) {
    for request in requests.iter().cycle() {
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        let failure = match request.try_clone().unwrap().send().await {
            Ok(answer) if answer.status() == 200 => answer.bytes().await.err().map(|e| told(&e)),
            Ok(answer) => {
                let status = answer.status();
                Some(format!("{status} {}", answer.text().await.unwrap_or_default()))
            }
            Err(error) => Some(told(&error)),
        };
        if let Some(failure) = failure {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            let line = format!("at {:.3}, caller {number}: {failure}", now.as_secs_f64());
            shared.failures.lock().unwrap().push(line);
        }
        shared.answered.fetch_add(1, Ordering::AcqRel);
        tokio::time::sleep(PAUSE).await;
    }
}

fn told(error: &reqwest::Error) -> String {
    format!("{error:?}")
}
