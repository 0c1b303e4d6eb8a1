//! Policies edited on disk while everything runs.

use std::time::{Duration, Instant};

use super::{NotTried, Seen, Steps, World};
use crate::demo::service::Name;
use crate::demo::site::policy_yaml;
use crate::runtime::write_atomic;

/// A change takes effect in milliseconds; a busy machine may need longer.
const DEADLINE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);
const PATH: &str = "/customers/alice/orders";

/// The rule that the tour adds, as a person would append it.
const SUPPORT_READS: &str = "
    - name: support-reads-all-orders
      allow:
        peers: [ns/shop/sa/web]
        users: { providers: [demo], roles: [support] }
        requests: [{ methods: [GET], paths: [\"/customers/{customer}/orders\"] }]
";

/// One letter too many.
const TYPO: &str = "
    - name: anybody-does-anything
      allow:
        users: {}
        requests: [{ methodz: [GET] }]
";

pub(super) async fn walk(steps: &mut Steps<'_>, world: &World) {
    let expected = "403 at orders, then 200 web > orders";
    let row = ["a rule added", "sue reads alice's orders, before and after", expected];
    let step = async {
        let before = world.read("sue", PATH).await?;
        edit(world, SUPPORT_READS)?;
        let after = settle(world, "200 web > orders").await?;
        Ok(Seen::exactly(expected, format!("{before}, then {after}")))
    };
    steps.take(row, step).await;

    let expected = "403 at orders";
    let row = ["the rule taken away", "sue again", expected];
    let step = async {
        edit(world, "")?;
        Ok(Seen::exactly(expected, settle(world, expected).await?))
    };
    steps.take(row, step).await;

    let expected = "typo logged; alice 200, sue 403";
    let row = ["a broken policy", "methodz: in a rule that allows everything", expected];
    steps.take(row, broken(world, expected)).await;

    // What follows, and the reader who keeps it running, finds the files as they were.
    let row = ["the typo mended", "alice again", "200 web > orders"];
    let step = async {
        edit(world, "")?;
        Ok(Seen::exactly("200 web > orders", world.read("alice", PATH).await?))
    };
    steps.take(row, step).await;
}

/// Rewrites the policy of orders: as it was at the start, and `rule`.
fn edit(world: &World, rule: &str) -> Result<(), NotTried> {
    let text = format!("{}{rule}", policy_yaml(Name::Orders));
    let path = world.fleet.site.policy_file(Name::Orders);
    Ok(write_atomic(&path, text.as_bytes(), 0o644)?)
}

/// Lets sue ask until the outcome is the wanted one; gives the last outcome.
async fn settle(world: &World, wanted: &str) -> Result<String, NotTried> {
    let start = Instant::now();
    loop {
        let outcome = world.read("sue", PATH).await?;
        if outcome == wanted || start.elapsed() > DEADLINE {
            return Ok(outcome);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The sidecar says what is wrong and where, and goes on with what it had.
async fn broken(world: &World, expected: &str) -> Result<Seen, NotTried> {
    edit(world, TYPO)?;
    let start = Instant::now();
    let logged = loop {
        let log = world.fleet.sidecar_log(Name::Orders);
        if log.lines().any(|line| line.contains("orders.yaml") && line.contains("methodz")) {
            break "typo logged";
        }
        if start.elapsed() > DEADLINE {
            break "typo not logged";
        }
        tokio::time::sleep(POLL).await;
    };
    let status = |outcome: String| outcome.chars().take(3).collect::<String>();
    let alice = status(world.read("alice", PATH).await?);
    let sue = status(world.read("sue", PATH).await?);
    Ok(Seen::exactly(expected, format!("{logged}; alice {alice}, sue {sue}")))
}
