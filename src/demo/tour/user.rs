//! Who may do what: the everyday cases.

use super::{Seen, Steps, World};
use crate::demo::http::Answer;
use crate::demo::service::Name;

const ALICES: &str = "/customers/alice/orders";
const BOBS: &str = "/customers/bob/orders";
const REFUND: &str = "/orders/1001/refund";

pub(super) async fn walk(steps: &mut Steps<'_>, world: &World) {
    anonymous(steps, world).await;

    let expected = "200 web > orders";
    let row = ["own orders", "alice: GET /customers/alice/orders", expected];
    let step = async { Ok(Seen::exactly(expected, world.read("alice", ALICES).await?)) };
    steps.take(row, step).await;

    let expected = "403 at orders";
    let row = ["another's orders", "alice: GET /customers/bob/orders", expected];
    let step = async { Ok(Seen::exactly(expected, world.read("alice", BOBS).await?)) };
    steps.take(row, step).await;

    let row = ["refund by a customer", "alice: POST /orders/1001/refund", expected];
    let step = async {
        let token = world.token("alice").await?;
        let answer = world.post(REFUND, Some(&token)).await?;
        Ok(Seen::exactly(expected, answer.outcome(Name::Web)))
    };
    steps.take(row, step).await;

    let expected = "200 web > orders > payments";
    let row = ["refund by support", "sue: POST /orders/1001/refund", expected];
    let step = async {
        let token = world.token("sue").await?;
        let answer = world.post(REFUND, Some(&token)).await?;
        Ok(Seen::exactly(expected, answer.outcome(Name::Web)))
    };
    steps.take(row, step).await;

    let expected = "403 at web";
    let row = ["a machine without a role", "nightly-report: GET /customers/alice/orders", expected];
    let step = async { Ok(Seen::exactly(expected, world.read("nightly-report", ALICES).await?)) };
    steps.take(row, step).await;
}

async fn anonymous(steps: &mut Steps<'_>, world: &World) {
    let expected = "200 web";
    let row = ["a public page", "nobody: GET /", expected];
    let step =
        async { Ok(Seen::exactly(expected, world.get("/", None).await?.outcome(Name::Web))) };
    steps.take(row, step).await;

    let expected = "401 at web, asks for Bearer";
    let row = ["anonymous", "nobody: GET /customers/alice/orders", expected];
    let step = async {
        let answer = world.get(ALICES, None).await?;
        let asks = match answer.header("www-authenticate") {
            Some(challenge) if challenge.starts_with("Bearer") => ", asks for Bearer",
            Some(_) => ", asks for something else",
            None => ", asks for nothing",
        };
        Ok(Seen::exactly(expected, answer.outcome(Name::Web) + asks))
    };
    steps.take(row, step).await;

    let expected = "200 with grpc-status 16";
    let row = ["anonymous over gRPC", "nobody: POST, application/grpc", expected];
    let step = async {
        let request = world.client.post(format!("http://{}{REFUND}", world.edge()));
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        let answer = Answer::to(request).await?;
        let status = answer.header("grpc-status").unwrap_or("missing");
        Ok(Seen::exactly(expected, format!("{} with grpc-status {status}", answer.status)))
    };
    steps.take(row, step).await;
}
