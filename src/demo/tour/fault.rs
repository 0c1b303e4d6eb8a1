//! What goes on underneath: certificates renewed under load, a sidecar that dies, what the logs hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{NotTried, Seen, Steps, World};
use crate::demo::http::Answer;
use crate::demo::service::Name;
use crate::demo::wire::{Shows, knock};

const ROUNDS: usize = 10;
const CALLERS: usize = 4;
const DEADLINE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);
const PATH: &str = "/customers/alice/orders";

pub(super) async fn walk(steps: &mut Steps<'_>, world: &mut World) {
    let expected = "10 rotations, 0 requests failed";
    let row = ["certificates rotated", "all three, ten times, under load", expected];
    steps.take(row, rotate_under_load(world)).await;

    let expected = "503 at orders";
    let row = ["a sidecar killed", "alice, without the gate of orders", expected];
    let step = async {
        world.fleet.kill_sidecar(Name::Orders).await?;
        Ok(Seen::exactly(expected, world.read("alice", PATH).await?))
    };
    steps.take(row, step).await;

    let expected = "200 web > orders";
    let row = ["the sidecar restarted", "alice again", expected];
    let step = async {
        world.fleet.restart_sidecar(Name::Orders).await?;
        Ok(Seen::exactly(expected, settle(world, expected).await?))
    };
    steps.take(row, step).await;

    let expected = "no token in them";
    let row = ["logs and decision logs", "alice's token, looked for in every file", expected];
    steps.take(row, search_logs(world, expected)).await;
}

/// Each rotation has to be lived through by that many requests that began after it.
const AFTER_EACH: usize = 20;

/// What the callers share.
#[derive(Debug, Default)]
struct Callers {
    answered: AtomicUsize,
    stop: AtomicBool,
}

/// What one of them met.
#[derive(Debug, Default)]
struct Failures {
    count: usize,
    first: Option<String>,
}

async fn rotate_under_load(world: &World) -> Result<Seen, NotTried> {
    let shared = Arc::new(Callers::default());
    let edge = world.edge();
    let mut callers = JoinSet::new();
    let (alice, sue) = (world.token("alice").await?, world.token("sue").await?);
    for _ in 0..CALLERS {
        let client = world.client.clone();
        let read = client.get(format!("http://{edge}{PATH}")).bearer_auth(&alice);
        let refund = client.post(format!("http://{edge}/orders/1001/refund")).bearer_auth(&sue);
        callers.spawn(call(vec![read, refund], Arc::clone(&shared)));
    }
    let mut rotations = 0;
    // The first that does not come to pass is enough to know.
    while rotations < ROUNDS && rotate(world).await? {
        rotations += 1;
        shared.more(AFTER_EACH).await;
    }
    shared.stop.store(true, Ordering::Release);
    let mut failures = Failures::default();
    while let Some(one) = callers.join_next().await {
        // A caller that panicked counts as a failure: its requests are not known to have passed.
        let one = one.unwrap_or(Failures { count: 1, first: Some("a panic".to_owned()) });
        failures.count += one.count;
        failures.first = failures.first.or(one.first);
    }
    let answered = shared.answered.load(Ordering::Acquire);
    let seen = format!("{rotations} rotations, {} of {answered} requests failed", failures.count);
    Ok(match failures.first {
        None if rotations == ROUNDS && answered >= ROUNDS * AFTER_EACH => Seen::AsExpected(seen),
        None => Seen::Otherwise(seen),
        Some(first) => Seen::Otherwise(format!("{seen}; the first: {first}")),
    })
}

impl Callers {
    /// Waits until that many more requests were answered, in good time.
    async fn more(&self, requests: usize) {
        let enough = self.answered.load(Ordering::Acquire) + requests;
        let start = Instant::now();
        while self.answered.load(Ordering::Acquire) < enough && start.elapsed() < DEADLINE {
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Asks again and again until told to stop.
async fn call(requests: Vec<reqwest::RequestBuilder>, shared: Arc<Callers>) -> Failures {
    let mut failures = Failures::default();
    for request in requests.iter().cycle() {
        if shared.stop.load(Ordering::Acquire) {
            break;
        }
        // None of these requests has a body that could be sent only once.
        let Some(request) = request.try_clone() else { break };
        let failure = match Answer::to(request).await {
            Ok(answer) if answer.status == 200 => None,
            Ok(answer) => Some(answer.outcome(Name::Web)),
            Err(error) => Some(error.to_string()),
        };
        shared.answered.fetch_add(1, Ordering::AcqRel);
        failures.count += usize::from(failure.is_some());
        failures.first = failures.first.or(failure);
    }
    failures
}

/// Renews all three certificates and waits until each Envoy presents its new one to whoever connects.
async fn rotate(world: &World) -> Result<bool, NotTried> {
    let mut before = Vec::new();
    for name in Name::ALL {
        before.push((name, serial(world, name).await?));
        let answer = world.fleet.renew(name).await?;
        if answer.status != 202 {
            return Err(NotTried::NotRenewed(answer.status));
        }
    }
    let start = Instant::now();
    for (name, old) in before {
        while serial(world, name).await? == old {
            if start.elapsed() > DEADLINE {
                return Ok(false);
            }
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(true)
}

/// The serial of the certificate on the wire.
async fn serial(world: &World, name: Name) -> Result<String, NotTried> {
    let address = world.fleet.site.place(name).inbound.address();
    Ok(knock(address, Shows::Nothing).await?.serial)
}

/// Lets alice ask until the outcome is the wanted one; gives the last outcome.
async fn settle(world: &World, wanted: &str) -> Result<String, NotTried> {
    let start = Instant::now();
    loop {
        let outcome = world.read("alice", PATH).await?;
        if outcome == wanted || start.elapsed() > DEADLINE {
            return Ok(outcome);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Sends a token through all gates that see it, then looks for its signature wherever something was written.
async fn search_logs(world: &World, expected: &str) -> Result<Seen, NotTried> {
    let token = world.token("alice").await?;
    world.get(PATH, Some(&token)).await?;
    world.get("/customers/bob/orders", Some(&token)).await?;
    let signature = token.rsplit('.').next().unwrap_or_default();
    let (mut found, mut searched) = (Vec::new(), 0);
    for name in Name::ALL {
        for file in ["decisions.log", "sidecar.log", "envoy.log"] {
            let path = world.fleet.site.home(name).join(file);
            let text = crate::runtime::read_limited(&path, 256 * 1024 * 1024)?;
            searched += usize::from(!text.is_empty());
            if text.contains(signature) {
                found.push(format!("{}/{file}", name.as_str()));
            }
        }
    }
    Ok(match (found.is_empty(), searched) {
        (true, 0) => Seen::Otherwise("nothing was logged".to_owned()),
        (true, _) => Seen::AsExpected(expected.to_owned()),
        (false, _) => Seen::Otherwise(format!("found in {}", found.join(", "))),
    })
}
