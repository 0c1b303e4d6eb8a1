//! The `WWW-Authenticate` challenges of refusals (RFC 9110, section 11.6.1).
//!
//! A challenge names only schemes by which a credential could come here, and of what is wrong only what the scheme's own
//! specification has a word for.

use crate::authn::{AuthScheme, DPOP_ALGORITHMS};

const REALM: &str = "realm=\"hopgate\"";

/// Which challenge a refusal carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// None is due.
    None,
    /// A credential is missing: realms only.
    Missing,
    /// A credential was sent and is no good: `error="invalid_token"` (RFC 6750, section 3.1; RFC 9449, section 7.1).
    Invalid,
    /// A token that is bound to a key came under another scheme than `DPoP`.
    Scheme,
    /// The proof that the sender holds the key of the token is missing or no good: `error="invalid_dpop_proof"`.
    Proof,
    /// The proof needs this nonce: `error="use_dpop_nonce"` (RFC 9449, section 9).
    Nonce(String),
}

/// The challenges of one snapshot, written once.
#[derive(Debug)]
pub(super) struct Challenges {
    missing: String,
    invalid: String,
}

impl Challenge {
    /// True where a person who signs in anew brings what is missing. A proof of a key is for programs to make.
    pub(super) fn is_met_by_signing_in(&self) -> bool {
        match self {
            Self::None | Self::Missing | Self::Invalid => true,
            Self::Scheme | Self::Proof | Self::Nonce(_) => false,
        }
    }
}

impl Challenges {
    pub(super) fn new(schemes: &[AuthScheme]) -> Self {
        let write = |error: Option<&str>| {
            let each: Vec<String> = schemes.iter().map(|scheme| one(scheme, error)).collect();
            each.join(", ")
        };
        Self { missing: write(None), invalid: write(Some("invalid_token")) }
    }

    /// The value of `WWW-Authenticate`; nothing where no challenge is due.
    pub(super) fn value(&self, challenge: &Challenge) -> Option<String> {
        let dpop = |error| Some(one(&AuthScheme::Dpop, Some(error)));
        match challenge {
            Challenge::None => None,
            Challenge::Missing => Some(self.missing.clone()),
            Challenge::Invalid => Some(self.invalid.clone()),
            Challenge::Scheme => dpop("invalid_token"),
            Challenge::Proof => dpop("invalid_dpop_proof"),
            Challenge::Nonce(_) => dpop("use_dpop_nonce"),
        }
    }
}

fn one(scheme: &AuthScheme, error: Option<&str>) -> String {
    let error = error.map(|error| format!(", error=\"{error}\"")).unwrap_or_default();
    match scheme {
        AuthScheme::Bearer => format!("Bearer {REALM}{error}"),
        AuthScheme::Dpop => {
            format!("DPoP {REALM}{error}, algs=\"{DPOP_ALGORITHMS}\"")
        }
        // What else may stand in a challenge of theirs is not ours to say.
        AuthScheme::Other(name) => format!("{name} {REALM}"),
        AuthScheme::ApiKey => format!("ApiKey {REALM}"),
        AuthScheme::Cookie => format!("Cookie {REALM}"),
        AuthScheme::Certificate => format!("Certificate {REALM}"),
    }
}
