//! What the authority says goes to what is published.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::watch;

use crate::ca::Trust;
use crate::identity::JwtBundle;
use crate::runtime::Drain;
use crate::xds::own::ReissueOrder;

use super::{Published, Publisher};

/// Says what the authority says: the own roots, JWT keys and their sequence number, and the order to replace
/// certificates. All else stays.
pub(in crate::control) fn say(published: &mut Published, trust: &Trust) {
    let Trust { bundles, sequence, reissue, active_key_id: _ } = trust;
    let own = bundles.own();
    let keys = bundles.jwt_of(own.domain()).cloned();
    let keys = keys.unwrap_or_else(|| JwtBundle::empty(own.domain().clone()));
    published.bundles = published.bundles.clone().with_own(own.clone()).with_jwt(keys);
    published.sequences.insert(own.domain().clone(), *sequence);
    published.reissue = reissue
        .map(|order| ReissueOrder { issued_before: order.issued_before, within: order.within });
}

/// Follows the authority until the drain begins. What `trust` was last seen to hold is said already.
pub(in crate::control) async fn follow(
    mut trust: watch::Receiver<Arc<Trust>>,
    publisher: Publisher,
    drain: Drain,
) -> Result<(), Infallible> {
    loop {
        tokio::select! {
            () = drain.begun() => return Ok(()),
            changed = trust.changed() => if changed.is_err() {
                // There is no authority any more, which ends the process elsewhere. What was said stands.
                drain.begun().await;
                return Ok(());
            },
        }
        let now = Arc::clone(&trust.borrow_and_update());
        publisher.change(|published| say(published, &now));
    }
}
