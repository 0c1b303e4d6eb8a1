//! What reaches the services: identity from the gate only, credentials only where the policy says so.

use super::{NotTried, Seen, Steps, World};
use crate::demo::http::{Answer, send_raw};
use crate::demo::service::{Name, Said};

pub(super) async fn walk(steps: &mut Steps<'_>, world: &World) {
    let expected = "alice, no peer > alice, sa/web";
    let row = ["spoofed identity headers", "alice claims to be sue, and orders", expected];
    steps.take(row, async { Ok(told(expected, &spoof_at_edge(world).await?)) }).await;

    let expected = "alice, sa/web";
    let row = ["the same from inside", "web sends them on to orders", expected];
    steps.take(row, async { Ok(told(expected, &spoof_inside(world).await?)) }).await;

    for spelling in ["X_Hopgate_User", "x_hopgate-peer"] {
        let row = ["a look-alike header", &format!("alice: {spelling}: sue"), "refused or gone"];
        steps.take(row, look_alike(world, spelling)).await;
    }

    let expected = "web yes, orders yes, payments no";
    let row = ["credentials", "which services see sue's token", expected];
    let step = async {
        let token = world.token("sue").await?;
        let answer = world.post("/orders/1001/refund", Some(&token)).await?;
        let seen = answer.hops().into_iter().map(|said| {
            let reached = if said.saw.authorization { "yes" } else { "no" };
            format!("{} {reached}", said.service.as_str())
        });
        Ok(Seen::exactly(expected, seen.collect::<Vec<_>>().join(", ")))
    };
    steps.take(row, step).await;

    for (name, target) in [
        ("path with dots", "/customers/alice/../bob/orders"),
        ("path with encoded dots", "/customers/alice/%2e%2e/bob/orders"),
        ("path with encoded slashes", "/customers/alice%2F..%2Fbob/orders"),
    ] {
        let expected = "refused";
        let row = [name, &format!("alice: GET {target}"), expected];
        steps.take(row, walk_up(world, target)).await;
    }
}

/// The gate's own headers, as a stranger would send them.
const SPOOFED: [(&str, &str); 3] = [
    ("x-hopgate-user", "sue"),
    ("X-Hopgate-User", "sue"),
    ("x-hopgate-peer", "spiffe://demo.mesh/ns/shop/sa/orders"),
];

async fn spoof_at_edge(world: &World) -> Result<Answer, NotTried> {
    let token = format!("Bearer {}", world.token("alice").await?);
    let mut headers = SPOOFED.to_vec();
    headers.push(("authorization", &token));
    Ok(send_raw(world.edge(), "GET", "/customers/alice/orders", &headers).await?)
}

/// Straight into the outbound listener of web's Envoy, as a web that was taken over could.
async fn spoof_inside(world: &World) -> Result<Answer, NotTried> {
    let token = format!("Bearer {}", world.token("alice").await?);
    let mut headers = SPOOFED.to_vec();
    headers.push(("authorization", &token));
    let door = world.fleet.site.doors.web_to_orders.address();
    Ok(send_raw(door, "GET", "/customers/alice/orders", &headers).await?)
}

/// Who each service was told is calling.
fn told(expected: &str, answer: &Answer) -> Seen {
    let hops = answer.hops();
    let each: Vec<_> = hops.iter().map(one).collect();
    if each.is_empty() {
        return Seen::Otherwise(answer.outcome(Name::Web));
    }
    Seen::exactly(expected, each.join(" > "))
}

fn one(said: &Said) -> String {
    let saw = &said.saw;
    let user = saw.user.as_deref().unwrap_or("no user");
    let peer = match saw.peer.as_deref() {
        Some(peer) => peer.strip_prefix("spiffe://demo.mesh/ns/shop/").unwrap_or(peer),
        None => "no peer",
    };
    let mut text = format!("{user}, {peer}");
    if !saw.look_alikes.is_empty() {
        text.push_str(&format!(" and look-alikes {}", saw.look_alikes.join(" ")));
    }
    text
}

/// Some frameworks read `X_Hopgate_User` as `X-Hopgate-User`. Envoy may refuse such a header, else the gate removes it.
async fn look_alike(world: &World, spelling: &str) -> Result<Seen, NotTried> {
    let token = format!("Bearer {}", world.token("alice").await?);
    let headers = [("authorization", token.as_str()), (spelling, "sue")];
    let answer = send_raw(world.edge(), "GET", "/customers/alice/orders", &headers).await?;
    let hops = answer.hops();
    let outcome = answer.outcome(Name::Web);
    Ok(match answer.status {
        400 if hops.is_empty() => Seen::AsExpected(format!("refused: {outcome}")),
        200 if hops.iter().all(|said| said.saw.look_alikes.is_empty()) => {
            Seen::AsExpected(format!("gone: {outcome}"))
        }
        _ => Seen::Otherwise(format!("it came through: {outcome}")),
    })
}

/// Bob's orders must not come back, whichever way the path is read.
async fn walk_up(world: &World, target: &str) -> Result<Seen, NotTried> {
    let token = format!("Bearer {}", world.token("alice").await?);
    let answer = send_raw(world.edge(), "GET", target, &[("authorization", &token)]).await?;
    let seen = format!("refused: {}", answer.outcome(Name::Web));
    let refused = matches!(answer.status, 400 | 403);
    Ok(if refused { Seen::AsExpected(seen) } else { Seen::Otherwise(answer.outcome(Name::Web)) })
}
