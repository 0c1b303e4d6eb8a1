//! Which workload calls: ways around the hops.

use std::net::SocketAddr;

use super::{NotTried, Seen, Steps, World};
use crate::demo::http::{Answer, send_raw};
use crate::demo::service::Name;
use crate::demo::wire::{Shows, knock};
use crate::identity::SpiffeId;

const REFUND: &str = "/payments/1001/refund";

pub(super) async fn walk(steps: &mut Steps<'_>, world: &World) {
    let doors = &world.fleet.site.doors;
    let payments = world.fleet.site.place(Name::Payments).inbound.address();

    let expected = "403 at payments";
    let row = ["past orders", "web calls payments with sue's token", expected];
    let step = async {
        let answer = refund_at(world, doors.web_to_payments.address()).await?;
        Ok(Seen::exactly(expected, answer.outcome(Name::Payments)))
    };
    steps.take(row, step).await;

    let expected = "503, payments never asked";
    let row = ["an impostor service", "web asks for orders, payments is there", expected];
    let step = async {
        let answer = refund_at(world, doors.impostor.address()).await?;
        let asked =
            if answer.hops().is_empty() { "payments never asked" } else { "payments answered" };
        Ok(Seen::exactly(expected, format!("{}, {asked}", answer.status)))
    };
    steps.take(row, step).await;

    let expected = "closed without an answer";
    let row = ["plaintext to the mTLS port", "GET http://payments", expected];
    let step = async {
        let seen = match send_raw(payments, "GET", "/", &[]).await {
            Ok(answer) => format!("{} over plaintext", answer.status),
            // Either way of closing: with or without bytes that are no HTTP.
            Err(_) => expected.to_owned(),
        };
        Ok(Seen::exactly(expected, seen))
    };
    steps.take(row, step).await;

    let row = ["no client certificate", "TLS to payments without one", "refused by TLS"];
    steps.take(row, turned_away(payments, Ok(Shows::Nothing))).await;

    let row = ["foreign certificate", "TLS as orders, signed by another CA", "refused by TLS"];
    let foreign = SpiffeId::parse("spiffe://demo.mesh/ns/shop/sa/orders");
    let foreign = foreign.map(Shows::ForeignCertificate).map_err(NotTried::from);
    steps.take(row, turned_away(payments, foreign)).await;
}

async fn refund_at(world: &World, listener: SocketAddr) -> Result<Answer, NotTried> {
    let token = world.token("sue").await?;
    let request = world.client.post(format!("http://{listener}{REFUND}")).bearer_auth(token);
    Ok(Answer::to(request).await?)
}

/// With TLS 1.3 the client's handshake ends before the server judges its certificate: the refusal comes as an alert
/// in place of the answer.
async fn turned_away(port: SocketAddr, shows: Result<Shows, NotTried>) -> Result<Seen, NotTried> {
    Ok(match knock(port, shows?).await?.answer {
        Err(why) => Seen::AsExpected(format!("refused by TLS: {why}")),
        Ok(bytes) if bytes.is_empty() => Seen::AsExpected("refused by TLS: closed".to_owned()),
        Ok(bytes) => Seen::Otherwise(format!("an answer of {} bytes", bytes.len())),
    })
}
