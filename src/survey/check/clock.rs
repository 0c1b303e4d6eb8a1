//! Clocks: certificates and tokens are good from one moment to another, and everybody must mean the same by it.

use std::time::Duration;

use super::name;
use crate::kube::Clocks;
use crate::survey::finding::Finding;
use crate::survey::seen::Plane;

/// Nobody notices less.
const CLOSE: Duration = Duration::from_secs(5);
/// Certificates are good from two minutes before they are signed; tokens often from one.
const FAR: Duration = Duration::from_secs(60);

pub(super) fn of_api_server(clocks: Option<Clocks>) -> Finding {
    judge("cluster/clock", "the API server's clock", clocks)
}

pub(super) fn of_control_plane(plane: &Plane) -> Vec<Finding> {
    let Ok(replicas) = &plane.replicas else { return Vec::new() };
    // Whoever was not reached is told of elsewhere.
    let reached = replicas.iter().filter(|replica| replica.metrics.is_ok());
    let worst = reached.max_by_key(|replica| replica.clocks.map(|clocks| clocks.apart().0));
    let worst = worst.map(|replica| {
        let whose = format!("the clock of {} (pod {})", name(plane), replica.pod);
        judge("control-plane/clock", &whose, replica.clocks)
    });
    worst.into_iter().collect()
}

fn judge(check: &'static str, whose: &str, clocks: Option<Clocks>) -> Finding {
    let next = "have both machines keep time by NTP; until then what is signed now may be refused as not yet good, or as over";
    let Some(clocks) = clocks else {
        let seen = format!("{whose} is not known: its answers bear no date");
        return Finding::warning(
            check,
            seen,
            "see what stands between this machine and the cluster",
        );
    };
    let (apart, ahead) = clocks.apart();
    let way = if ahead { "ahead of" } else { "behind" };
    let seen = format!("{whose} is {} s {way} this machine's", apart.as_secs());
    if apart >= FAR {
        Finding::error(check, seen, next)
    } else if apart >= CLOSE {
        Finding::warning(check, seen, next)
    } else {
        Finding::ok(check, format!("{whose} and this machine's agree"))
    }
}
