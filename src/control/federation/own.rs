//! This mesh's own bundle as others read it, with a number that grows with each change.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::identity::{Bundles, InvalidSpiffeBundle, JwtBundle, SpiffeBundle, TrustDomain};

use super::fetch::said;
use super::shelf::Shelf;
use super::store::StoreError;

/// What a control plane with this shelf published last. It need not run.
pub(in crate::control) fn published(
    shelf: &dyn Shelf,
    domain: &TrustDomain,
) -> Result<SpiffeBundle, OwnBundleError> {
    let place = shelf.place(NAME);
    let text = shelf.read(NAME)?.ok_or(OwnBundleError::Unpublished(place))?;
    read(shelf, &text, domain)
}

/// The directory of all that federation keeps, below that of the authority.
pub(in crate::control) const DIRECTORY: &str = "federation";
/// Not a trust domain: those have no capital letters.
const NAME: &str = "OWN.json";

/// The one writer of what is published.
pub(super) struct Own {
    shelf: Arc<dyn Shelf>,
    published: watch::Sender<Arc<SpiffeBundle>>,
}

/// The own bundle cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum OwnBundleError {
    /// The last number cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing was published yet.
    #[error("{0} is not there: the control plane has not run yet")]
    Unpublished(String),
    /// A key of this mesh has no form in the document.
    #[error("the bundle of this mesh cannot be published: {}", said(.0))]
    Bundle(InvalidSpiffeBundle),
    /// Which number was published last is not known, and none may come twice.
    #[error("{place} does not hold what was published last ({}); remove it once every reader has forgotten it", said(.source))]
    Damaged {
        /// The file, or the value of an object.
        place: String,
        /// What is wrong.
        source: Box<InvalidSpiffeBundle>,
    },
}

impl Own {
    /// Publishes these keys, under the last number if they are those of the last time. It may block.
    pub(super) fn open(
        shelf: Arc<dyn Shelf>,
        bundles: &Bundles,
        now: SystemTime,
    ) -> Result<Self, OwnBundleError> {
        let bundle = document(bundles)?;
        let numbered = keep(&*shelf, &bundle, now)?;
        Ok(Self { shelf, published: watch::Sender::new(Arc::new(numbered)) })
    }

    pub(super) fn follow(&self) -> watch::Receiver<Arc<SpiffeBundle>> {
        self.published.subscribe()
    }

    /// Publishes these keys from now on; the same ones are no change. It may block.
    pub(super) fn publish(&self, bundles: &Bundles, now: SystemTime) -> Result<(), OwnBundleError> {
        let bundle = document(bundles)?;
        if bundle.same_keys(&self.published.borrow()) {
            return Ok(());
        }
        // Kept before it is shown: a number must not come twice.
        let numbered = keep(&*self.shelf, &bundle, now)?;
        tracing::info!(sequence = numbered.sequence(), "the bundle that others read has changed");
        self.published.send_replace(Arc::new(numbered));
        Ok(())
    }
}

/// Gives the keys their number, and keeps both. Of several replicas all give them the same.
fn keep(
    shelf: &dyn Shelf,
    bundle: &SpiffeBundle,
    now: SystemTime,
) -> Result<SpiffeBundle, OwnBundleError> {
    let domain = bundle.domain().clone();
    let mut outcome = None;
    shelf.change(NAME, &mut |kept| {
        outcome = None;
        let last = match kept.map(|text| read(shelf, text, &domain)).transpose() {
            Ok(last) => last,
            Err(error) => {
                outcome = Some(Err(error));
                return Ok(None);
            }
        };
        let numbered = numbered(bundle.clone(), last.as_ref(), now);
        let text = (last.as_ref() != Some(&numbered)).then(|| numbered.to_json());
        outcome = Some(Ok(numbered));
        Ok(text)
    })?;
    outcome.unwrap_or_else(|| Err(OwnBundleError::Unpublished(shelf.place(NAME))))
}

fn read(
    shelf: &dyn Shelf,
    text: &str,
    domain: &TrustDomain,
) -> Result<SpiffeBundle, OwnBundleError> {
    SpiffeBundle::parse(domain, text).map_err(|source| OwnBundleError::Damaged {
        place: shelf.place(NAME),
        source: Box::new(source),
    })
}

fn document(bundles: &Bundles) -> Result<SpiffeBundle, OwnBundleError> {
    let own = bundles.own();
    let jwt = bundles.jwt_of(own.domain()).cloned();
    let jwt = jwt.unwrap_or_else(|| JwtBundle::empty(own.domain().clone()));
    SpiffeBundle::new(own.clone(), &jwt).map_err(OwnBundleError::Bundle)
}

/// The number is the time, so that it grows even where the last one was lost with its disk; and always one more than the
/// last.
fn numbered(bundle: SpiffeBundle, last: Option<&SpiffeBundle>, now: SystemTime) -> SpiffeBundle {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let number = match last.map(|last| (last, last.sequence().unwrap_or(0))) {
        Some((last, number)) if last.same_keys(&bundle) => number,
        Some((_, number)) => seconds.max(number.saturating_add(1)),
        None => seconds,
    };
    bundle.with_sequence(number)
}

#[cfg(test)]
mod tests {
    use super::super::shelf::DirectoryShelf;
    use super::super::tests::{Scratch, bundle_of, start};
    use super::*;

    fn bundles(name: &str) -> Bundles {
        Bundles::new(bundle_of("demo.mesh", name).x509().unwrap().clone())
    }

    #[test]
    fn the_number_grows_with_the_keys_and_with_nothing_else() {
        let scratch = Scratch::new("own-bundle");
        let shelf =
            || -> Arc<dyn Shelf> { Arc::new(DirectoryShelf::open(scratch.path()).unwrap()) };
        let (first, second, third) = (bundles("a"), bundles("b"), bundles("c"));
        let seconds = 1_790_000_000;
        let own = Own::open(shelf(), &first, start()).unwrap();
        let number = |own: &Own| own.follow().borrow().sequence().unwrap();
        assert_eq!(number(&own), seconds);
        own.publish(&first, start() + Duration::from_secs(9)).unwrap();
        assert_eq!(number(&own), seconds);
        own.publish(&second, start() + Duration::from_secs(9)).unwrap();
        assert_eq!(number(&own), seconds + 9);
        // A clock that went back.
        own.publish(&third, start()).unwrap();
        assert_eq!(number(&own), seconds + 10);
        drop(own);
        let again = Own::open(shelf(), &third, start()).unwrap();
        assert_eq!(number(&again), seconds + 10);
        drop(again);
        let changed = Own::open(shelf(), &first, start()).unwrap();
        assert_eq!(number(&changed), seconds + 11);
        drop(changed);
        std::fs::write(scratch.path().join("OWN.json"), "{").unwrap();
        assert!(matches!(Own::open(shelf(), &first, start()), Err(OwnBundleError::Damaged { .. })));
    }
}
