//! This mesh's own bundle as others read it, with a number that grows with each change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::identity::{Bundles, InvalidSpiffeBundle, JwtBundle, SpiffeBundle, TrustDomain};
use crate::runtime::{FileError, read_limited, write_atomic};

use super::fetch::said;

const MAX: u64 = 4 * 1024 * 1024;

/// What a control plane with this directory published last. It need not run.
///
/// # Errors
/// When there is nothing, or it cannot be read.
pub fn published(directory: &Path, domain: &TrustDomain) -> Result<SpiffeBundle, OwnBundleError> {
    read(&directory.join(DIRECTORY).join(FILE), domain)
}

/// The directory of all that federation keeps, below that of the authority.
pub(in crate::control) const DIRECTORY: &str = "federation";
/// Not a trust domain: those have no capital letters.
const FILE: &str = "OWN.json";

/// The one writer of what is published.
pub(super) struct Own {
    file: PathBuf,
    published: watch::Sender<Arc<SpiffeBundle>>,
}

/// The own bundle cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum OwnBundleError {
    /// The file with the last number cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key of this mesh has no form in the document.
    #[error("the bundle of this mesh cannot be published: {}", said(.0))]
    Bundle(InvalidSpiffeBundle),
    /// Which number was published last is not known, and none may come twice.
    #[error("{path} does not hold what was published last ({}); remove it once every reader has forgotten it", said(.source))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<InvalidSpiffeBundle>,
    },
}

impl Own {
    /// Publishes these keys, under the last number if they are those of the last time.
    pub(super) fn open(
        directory: &Path,
        bundles: &Bundles,
        now: SystemTime,
    ) -> Result<Self, OwnBundleError> {
        let file = directory.join(FILE);
        let domain = bundles.own().domain();
        let last = if file.exists() { Some(read(&file, domain)?) } else { None };
        let bundle = document(bundles)?;
        let numbered = numbered(bundle, last.as_ref(), now);
        let own = Self { file, published: watch::Sender::new(Arc::new(numbered.clone())) };
        if last.as_ref() != Some(&numbered) {
            own.keep(&numbered)?;
        }
        Ok(own)
    }

    pub(super) fn follow(&self) -> watch::Receiver<Arc<SpiffeBundle>> {
        self.published.subscribe()
    }

    /// Publishes these keys from now on; the same ones are no change.
    pub(super) fn publish(&self, bundles: &Bundles, now: SystemTime) -> Result<(), OwnBundleError> {
        let bundle = document(bundles)?;
        let last = self.published.borrow().clone();
        if bundle.same_keys(&last) {
            return Ok(());
        }
        let numbered = numbered(bundle, Some(&last), now);
        // Kept before it is shown: a number must not come twice.
        self.keep(&numbered)?;
        tracing::info!(sequence = numbered.sequence(), "the bundle that others read has changed");
        self.published.send_replace(Arc::new(numbered));
        Ok(())
    }

    fn keep(&self, bundle: &SpiffeBundle) -> Result<(), FileError> {
        write_atomic(&self.file, bundle.to_json().as_bytes(), 0o600)
    }
}

fn read(path: &Path, domain: &TrustDomain) -> Result<SpiffeBundle, OwnBundleError> {
    let text = read_limited(path, MAX)?;
    SpiffeBundle::parse(domain, &text).map_err(|source| OwnBundleError::Damaged {
        path: path.to_path_buf(),
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
    use super::super::tests::{Scratch, bundle_of, start};
    use super::*;

    fn bundles(name: &str) -> Bundles {
        Bundles::new(bundle_of("demo.mesh", name).x509().unwrap().clone())
    }

    #[test]
    fn the_number_grows_with_the_keys_and_with_nothing_else() {
        let scratch = Scratch::new("own-bundle");
        let (first, second, third) = (bundles("a"), bundles("b"), bundles("c"));
        let seconds = 1_790_000_000;
        let own = Own::open(scratch.path(), &first, start()).unwrap();
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
        let again = Own::open(scratch.path(), &third, start()).unwrap();
        assert_eq!(number(&again), seconds + 10);
        drop(again);
        let changed = Own::open(scratch.path(), &first, start()).unwrap();
        assert_eq!(number(&changed), seconds + 11);
        drop(changed);
        std::fs::write(scratch.path().join("OWN.json"), "{").unwrap();
        assert!(matches!(
            Own::open(scratch.path(), &first, start()),
            Err(OwnBundleError::Damaged { .. })
        ));
    }
}
