//! Why an authority cannot be used, or does not sign.

use crate::ca::csr::InvalidRequest;
use crate::ca::profile::ProfileError;
use crate::ca::state::IllegalStep;
use crate::ca::store::StoreError;
use crate::identity::{
    InvalidBundle, InvalidJwtBundle, InvalidKey, InvalidSpiffeId, InvalidSvid, TrustDomain,
};
use crate::runtime::FileError;

/// An authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its directory is at fault.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file is at fault.
    #[error(transparent)]
    File(#[from] FileError),
    /// One file does not hold what it should.
    #[error("{file}: {problem}")]
    Damaged {
        /// Which file.
        file: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A key cannot be used.
    #[error("{file}")]
    Key {
        /// Which file.
        file: String,
        /// Why.
        #[source]
        source: InvalidKey,
    },
    /// The authority was made for another trust domain.
    #[error("{file} is of trust domain {found:?}, not {expected}")]
    OtherDomain {
        /// Which file.
        file: String,
        /// What it names.
        found: String,
        /// What the configuration names.
        expected: TrustDomain,
    },
    /// The root is no trust anchor.
    #[error(transparent)]
    Bundle(#[from] InvalidBundle),
    /// The JWT-SVID keys make no bundle.
    #[error(transparent)]
    JwtBundle(#[from] InvalidJwtBundle),
    /// A certificate cannot be drawn up.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A certificate cannot be signed.
    #[error("cannot sign")]
    Sign(#[source] rcgen::Error),
    /// What was signed does not verify: the authority's certificates contradict each other.
    #[error("what this authority signs does not verify")]
    Unverifiable(#[source] InvalidSvid),
    /// The control plane's own name cannot stand in a SPIFFE ID.
    #[error("the control plane's own identity {0}")]
    OwnIdentity(#[source] InvalidSpiffeId),
    /// A step of a change of the root does not follow from where it is.
    #[error(transparent)]
    Step(#[from] IllegalStep),
    /// Another authority signs for this one.
    #[error(
        "another authority signs for this one, so its root changes when that one's does; `hopgate ca rotate` \
         asks it, without --within and --without-absent, which are for a change that is under way"
    )]
    Elsewhere,
    /// No other authority signs for this one.
    #[error("this authority has a root of its own, and no other authority signs for it")]
    Own,
    /// An answer to what was not asked.
    #[error("no certificate of that name is asked for any more")]
    NotOrdered,
    /// The root is not ours to change.
    #[error("the operator supplies this authority: its root changes when its files do")]
    Supplied,
}

/// Why nothing is signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The request contradicts what was proven.
    #[error(transparent)]
    Request(#[from] InvalidRequest),
    /// The authority fails.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

impl AuthorityError {
    /// The same, with where the file lies.
    pub(super) fn at(self, place: &str) -> Self {
        match self {
            Self::Damaged { file, problem } => {
                Self::Damaged { file: format!("{place}: {file}"), problem }
            }
            Self::Key { file, source } => Self::Key { file: format!("{place}: {file}"), source },
            other => other,
        }
    }
}
