//! Foreign bundles on their way to sidecars.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::watch;

use crate::control::discovery::Publisher;
use crate::identity::{Bundles, SpiffeBundle};
use crate::runtime::Drain;

use super::Foreign;

/// Tells sidecars of each change of the foreign bundles: a trust domain that is no longer believed is gone with the next
/// push.
///
/// # Errors
/// Never; it has the form of an essential task.
pub(in crate::control) async fn tell_all(
    publisher: Publisher,
    mut foreign: watch::Receiver<Arc<Foreign>>,
    drain: Drain,
) -> Result<(), Infallible> {
    loop {
        let now = Arc::clone(&foreign.borrow_and_update());
        tell(&publisher, &now);
        tokio::select! {
            () = drain.begun() => return Ok(()),
            changed = foreign.changed() => if changed.is_err() {
                // Nobody changes them any more.
                drain.begun().await;
                return Ok(());
            },
        }
    }
}

/// These foreign bundles and no others, beside what is told of this mesh itself.
pub(in crate::control) fn tell(publisher: &Publisher, foreign: &Foreign) {
    publisher.change(|published| {
        let own = published.bundles.own().clone();
        let domain = own.domain().clone();
        let bundles = Bundles::new(own);
        let bundles = match published.bundles.jwt_of(&domain) {
            Some(jwt) => bundles.with_jwt(jwt.clone()),
            None => bundles,
        };
        published.bundles = foreign.join(bundles);
        published.sequences.retain(|of, _| *of == domain);
        let numbered = |bundle: &SpiffeBundle| Some((bundle.domain().clone(), bundle.sequence()?));
        let others = foreign.iter().filter(|bundle| *bundle.domain() != domain);
        published.sequences.extend(others.filter_map(numbered));
    });
}

#[cfg(test)]
mod tests {
    use super::super::tests::bundle_of;
    use super::*;
    use crate::control::discovery::Published;

    #[test]
    fn a_trust_domain_that_is_no_longer_believed_is_gone_and_the_own_one_stays() {
        let own = bundle_of("demo.mesh", "own").x509().unwrap().clone();
        let mut published = Published::new(Bundles::new(own.clone()));
        published.sequences.insert(own.domain().clone(), 7);
        let publisher = Publisher::new(published);
        let partner = bundle_of("partner.example", "a").with_sequence(3);
        let impostor = bundle_of("demo.mesh", "impostor").with_sequence(9);
        let all = [&partner, &impostor].map(|one| (one.domain().clone(), Arc::new(one.clone())));
        tell(&publisher, &Foreign(all.into()));
        let told = publisher.current();
        assert_eq!((told.bundles.own(), told.bundles.foreign().count()), (&own, 1));
        assert_eq!(told.bundles.of(partner.domain()), partner.x509());
        let numbers: Vec<u64> = told.sequences.values().copied().collect();
        assert_eq!(numbers, [7, 3]);

        tell(&publisher, &Foreign::default());
        let told = publisher.current();
        assert_eq!((told.bundles.own(), told.bundles.foreign().count()), (&own, 0));
        assert_eq!(told.sequences.len(), 1);
    }
}
